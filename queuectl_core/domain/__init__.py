"""Values and rules: what a job is and what may become of it, without I/O."""
