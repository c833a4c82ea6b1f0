"""The commands pjepa-train, pjepa-figure and pjepa-curves. Importing a command imports no PyTorch."""
