"""From options to runs, their estimates and deadlines."""
