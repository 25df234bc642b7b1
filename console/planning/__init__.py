"""From words to runs, what they will take, and what a deadline leaves."""
