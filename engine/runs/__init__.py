"""The run directory and whoever works in it."""
