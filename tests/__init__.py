"""The tests of queuectl: a folder for each part, and what several of them share."""
