"""Worlds to train on. Nothing here imports PyTorch, so that collecting can begin while that is imported."""
