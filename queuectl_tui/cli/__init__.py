"""The headless front end: one file for each verb or noun, found by name in ``main.VERBS``.

``output`` is the only module that writes standard output, ``diagnostics`` the only one that
writes standard error and decides exit codes.
"""
