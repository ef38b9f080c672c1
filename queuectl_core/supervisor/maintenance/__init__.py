"""Services that a supervisor runs in the background, one module for each."""
