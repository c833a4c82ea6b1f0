"""The observed transitions D, auxiliary functions p, and a model's representation of them."""
