"""What queuectl uses of the operating system: clocks, hosts, files, signals."""
