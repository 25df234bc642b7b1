"""What every other room stands on: paths, locks, logs, units, errors. Imports nothing of ours."""
