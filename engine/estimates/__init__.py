"""Estimates of a run's memory and duration, without torch."""
