"""Pure functions and single modules, without a store or a process."""
