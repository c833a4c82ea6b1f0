"""Draw figures of runs."""
