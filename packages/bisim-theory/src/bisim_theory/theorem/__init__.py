"""Checks of a trained encoder against R_D* (Theorems 1 and 3)."""
