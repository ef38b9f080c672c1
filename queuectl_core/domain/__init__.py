"""The values and rules of queuectl, without I/O."""
