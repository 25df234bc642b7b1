"""Run specifications, devices and the engine's settings."""
