"""The engine: the daemon, its workers, and the files both keep."""
