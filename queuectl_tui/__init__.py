"""The front ends of queuectl: the headless verbs and the operator console."""
