"""Supervisors, shims and jobs as real processes, also when they fail."""
