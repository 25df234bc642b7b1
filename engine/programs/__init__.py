"""Programs with torch that a command starts and whose output it prints."""
