"""Tests of the driver of ``make mutants``."""
