"""Run directories, and the workers that train in them."""
