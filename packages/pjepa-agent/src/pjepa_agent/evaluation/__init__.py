"""Measure what a trained model has kept, on held-out observations and transitions."""
