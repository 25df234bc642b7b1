"""Pure functions over the epochs of runs."""
