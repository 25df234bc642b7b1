"""Run the programs of engine/programs for commands, and examine this machine."""
