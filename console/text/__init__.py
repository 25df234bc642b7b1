"""Numbers, runs and progress as text."""
