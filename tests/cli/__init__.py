"""The verbs of the command line: options, output, messages and exit codes."""
