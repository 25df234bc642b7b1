"""The effect of depth: groups of runs, their tables and the verdict."""
