"""Communication with the daemon, and starting it."""
