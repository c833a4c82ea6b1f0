"""Settings that make a run of any preset so small that it trains in a second."""

SMALL = (
    "collection.transitions=200", "network.width=4", "network.latent_dim=16", "network.hidden_dim=32",
    "optimization.batch_size=16", "evaluation.reference_per_count=4", "evaluation.scored_per_count=30",
    "evaluation.transitions=120", "evaluation.probe_per_count=0", "evaluation.batch_norm_samples=0",
)  # fmt: skip

SMALL_OPTIONS = [part for each in SMALL for part in ("--set", each)]
"""The same as options of a command."""
