"""Mutation testing: ``python -m mutants``, or ``make mutants``.

A mutant is the code with one small fault. It is planted in a copy of the tree, and the tests run on
that copy. A mutant that no test finds shows a test that is missing, or code that is not needed.
"""
