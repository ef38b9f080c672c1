"""The PostgreSQL store keeps a queue on a server that several hosts share.

It needs the extra ``postgres``.
"""
