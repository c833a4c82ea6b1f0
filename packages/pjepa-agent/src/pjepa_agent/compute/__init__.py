"""Processes that train together, precision of numbers, and random streams."""
