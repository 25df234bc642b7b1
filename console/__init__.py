"""The console: everything a user sees, types and reads."""
