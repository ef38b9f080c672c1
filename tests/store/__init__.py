"""Both stores, held against the same promises, and what is special to each."""
