"""Analysis of transitions that stay on disk: DuckDB reduces them to classes of behaviour, which fit into memory."""
