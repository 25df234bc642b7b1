"""State and services shared by all screens."""
