"""The promises of queuectl, tested on whole commands with real processes."""
