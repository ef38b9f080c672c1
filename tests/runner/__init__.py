"""The shim: its protocol, its journal, its output, and faults around it."""
