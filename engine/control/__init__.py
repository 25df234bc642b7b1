"""Talking to the daemon, and starting it."""
