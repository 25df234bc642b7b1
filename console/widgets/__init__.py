"""Parts of screens; they render and fetch nothing."""
