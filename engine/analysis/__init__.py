"""Analysis of finished and running runs: pure functions over their epochs."""
