"""What an operator does to a whole store: check, repair, prune, back up, restore, copy."""
