"""Memory and time that a run will take, estimated without torch."""
