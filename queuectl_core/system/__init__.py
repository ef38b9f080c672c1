"""What queuectl needs of the operating system: clocks, hosts, files, signals after a commit."""
