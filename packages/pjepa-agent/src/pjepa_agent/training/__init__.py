"""The training loop, its optimiser, and its state on disk."""

from typing import Any

from bisim_theory._aliases import moved

from pjepa_agent import _aliases
from pjepa_agent.training.finite import TrainingError
from pjepa_agent.training.trainer import Interrupted, Trainer

__all__ = ["Interrupted", "Trainer", "TrainingError"]


def __getattr__(name: str) -> Any:
    return moved(__name__, name, _aliases.NAMES)
