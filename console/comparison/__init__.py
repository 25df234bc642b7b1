"""What depth did: groups of runs, their tables and the verdict."""
