"""Commands about the machine rather than runs: its engine, configuration, health and speed."""
