"""Operations on a whole store: check, repair, prune, back up, restore, copy."""
