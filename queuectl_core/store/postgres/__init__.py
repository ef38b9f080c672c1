"""The PostgreSQL store is for queues that have outgrown one machine.

It needs the extra ``postgres``.
"""
