"""Attacks on queuectl's promises: ``python -m chaos``, or ``make chaos``.

A campaign runs jobs that write down when they start and end, and meanwhile kills, stops and
damages whatever it can reach. What the jobs wrote is then held against what the store says.
"""
