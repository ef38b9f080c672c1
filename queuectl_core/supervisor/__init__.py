"""A supervisor runs jobs with N workers, and a shim below it is the parent of the jobs."""
