"""Training, inside the worker process."""
