"""Engines that compute classes of identical behaviour outside of NumPy's memory, from one set of SQL statements."""
