"""Programs that use torch, started by commands that print their output."""
