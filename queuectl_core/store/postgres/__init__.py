"""The PostgreSQL store, for queues that have outgrown one machine. Needs ``queuectl[postgres]``."""
