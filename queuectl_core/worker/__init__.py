"""Running jobs: a supervisor hosts N workers, a shim beneath it is the jobs' parent."""
