"""What several tests share: oracles, datasets, faults, and how commands are run."""
