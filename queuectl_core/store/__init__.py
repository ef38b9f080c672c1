"""The store keeps all data; it is one protocol with a package for each database."""
