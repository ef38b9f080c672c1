"""The PostgreSQL store, for queues that have outgrown one machine. Needs the extra ``postgres``."""
