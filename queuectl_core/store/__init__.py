"""The store keeps all data, behind one protocol with a package for each database."""
