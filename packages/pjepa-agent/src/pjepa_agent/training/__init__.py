"""The training loop, its optimiser, and its state on disk."""

from pjepa_agent.training.trainer import Interrupted, Training, TrainingError

__all__ = ["Interrupted", "Training", "TrainingError"]
