"""The console, driven by keys and read from its screen."""
