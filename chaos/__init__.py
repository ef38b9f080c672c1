"""Attacks on queuectl's promises: ``python -m chaos``, or ``make chaos``.

A campaign runs jobs that write down when they start and end. Meanwhile it kills, stops and damages
what it can reach. At the end, what the jobs wrote is compared with what the store says.
"""
