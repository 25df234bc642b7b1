"""Decisions inside the daemon: which run starts where, and what becomes of it."""
