"""The console: what a person sees, types and reads."""
