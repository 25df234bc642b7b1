"""Reports, their figures, and exports."""
