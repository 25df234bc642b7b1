"""Datasets: sources, checks and the cache."""
