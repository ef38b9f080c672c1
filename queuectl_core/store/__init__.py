"""Where everything is kept: one protocol, one package for each database."""
