"""Decisions inside the daemon: which run starts where, and its outcome."""
