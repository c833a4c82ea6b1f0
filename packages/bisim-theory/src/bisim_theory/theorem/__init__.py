"""R_D* against a trained encoder (Theorems 1 and 3)."""
