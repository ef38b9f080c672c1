"""The store keeps all data. It is one protocol, with a package for each database."""
