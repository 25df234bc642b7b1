"""Charts in the terminal; only `plot` imports plotext."""
