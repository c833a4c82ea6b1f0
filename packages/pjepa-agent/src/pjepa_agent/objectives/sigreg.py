"""LeWorldModel's: prediction, and embeddings kept from collapse by a normal distribution (Maes et al., 2026).

    L = ||T(E(o), a) - E(o')||^2 / d + 0.1 SIGReg(E(o_t)), the latter averaged over the steps t of the sequences

SIGReg compares random projections of a batch with a standard normal distribution (`objectives.regularizers`). Nothing
is detached, and there is neither a target network nor a reward.

Source: LeJEPA (Balestriero and LeCun, 2025) for SIGReg, LeWorldModel for the two terms and their weights.

Deviations: encoder and T are the configured ones, theirs transformers; there is no projector. P learns beside it, on
detached embeddings.
"""

import dataclasses
from typing import Any, ClassVar

import torch

from pjepa_agent.config.schema import Weight
from pjepa_agent.model import WorldModel
from pjepa_agent.objectives.base import Batch, EncoderObjective, Setup, Terms
from pjepa_agent.objectives.losses import reached_embeddings, rollout_loss
from pjepa_agent.objectives.regularizers import sigreg


@dataclasses.dataclass(frozen=True)
class SIGRegSettings:
    """Settings of `SIGRegObjective`."""

    transition_weight: Weight = 1.0
    """Weight of the squared error of T, averaged over dimensions."""
    sigreg_weight: Weight = 0.1
    """Weight of SIGReg."""


class SIGRegObjective(EncoderObjective):
    """Predict the next embedding (``transition``), with embeddings of a normal distribution (``sigreg``)."""

    Settings: ClassVar[type[Any]] = SIGRegSettings

    def __init__(self, setup: Setup, settings: Any = None) -> None:
        super().__init__(setup, settings)
        self.weights = {"transition": self.settings.transition_weight, "sigreg": self.settings.sigreg_weight}

    def terms(self, model: WorldModel, batch: Batch) -> Terms:
        """Compute both losses; see `Objective.terms`."""
        embedding = self.encode(model, batch)
        predicted, reached = model.rollout(embedding[0], batch["action"]), reached_embeddings(embedding)
        losses = {
            "transition": rollout_loss(predicted, reached, batch["present"]),
            "sigreg": torch.stack([sigreg(step) for step in embedding]).mean(),
        }
        return Terms(losses, embedding)
