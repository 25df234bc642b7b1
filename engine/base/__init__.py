"""Paths, locks, logs, units and errors, used by every other package; imports none of them."""
