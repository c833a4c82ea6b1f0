"""Commands pjepa-train, pjepa-figure and pjepa-curves. Importing one imports no PyTorch."""
