"""Random command lines: whatever is typed, the answer is clear."""
