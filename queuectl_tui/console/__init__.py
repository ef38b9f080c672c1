"""The operator console: a full-screen program on Textual."""
