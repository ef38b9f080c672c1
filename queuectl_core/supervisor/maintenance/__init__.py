"""What a supervisor does beside its work, one module for each service."""
