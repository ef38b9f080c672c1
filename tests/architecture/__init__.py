"""Rules for the code itself: who imports whom, names, tools and documents."""
