"""What is asked for, on which device, under which settings."""
