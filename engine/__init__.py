"""The engine: the daemon, its workers, and what both keep on disk."""
