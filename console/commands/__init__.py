"""Commands, one module for each group; slow imports stay inside the functions."""
