"""Short campaigns of ``chaos``, and proof that it finds bugs."""
