"""SQLite: the index over all run directories, and the only SQL."""
