"""Settings that make a run of any preset so small that it trains in a second."""

from typing import Any

from pjepa_agent.config import presets

SMALL = (
    "collection.transitions=200", "network.width=4", "network.latent_dim=16", "network.hidden_dim=32",
    "optimization.batch_size=16", "evaluation.reference_per_count=4", "evaluation.scored_per_count=30",
    "evaluation.transitions=120", "evaluation.probe_per_count=0", "evaluation.batch_norm_samples=0",
)  # fmt: skip

SMALL_OPTIONS = [part for each in SMALL for part in ("--set", each)]
"""The same as options of a command."""


def make_laptop_small(monkeypatch: Any, *more: str) -> None:
    """Make the laptop preset small for a test, in all worlds: in others it has a budget of its own."""
    small = presets.PRESETS["laptop"].override([*SMALL, *more])
    world = dict(presets.WORLD_LAPTOP)
    world["optimization"] = {name: each for name, each in world["optimization"].items() if name not in presets.LONGER}
    monkeypatch.setattr(presets, "PRESETS", {"laptop": small})
    monkeypatch.setattr(presets, "WORLD_LAPTOP", world)
