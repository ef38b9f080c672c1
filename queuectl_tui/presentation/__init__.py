"""How values read in every front end: plain text and roles, without a UI library."""
