"""The SQLite store keeps everything in one file, and needs nothing installed."""
