"""Training inside the worker: a small state and functions over it."""
