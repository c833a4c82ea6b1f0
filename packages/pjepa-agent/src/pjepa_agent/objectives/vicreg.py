"""VICReg with a dynamics between the two views (Bardes et al., 2022): prediction, variance and covariance.

With v a hinge on the standard deviation of a dimension below 1, and c the squared covariances over d,

    L = 25 ||T(E(o), a) - E(o')||^2 / d + 25 (v(E(o)) + v(E(o'))) + 1 (c(E(o)) + c(E(o'))).

Source: Equation 6 of the paper and its weights. The two views of an image are there two augmentations.

Deviations: the views are an observation, through T, and the one that follows; the terms are on the embeddings, and not
on an expander's output. With a longer horizon v and c are averaged over the observations, and counted twice. P learns
beside it, on detached embeddings.
"""

import dataclasses
from typing import Any, ClassVar

import torch

from pjepa_agent.config.schema import Weight
from pjepa_agent.model import WorldModel
from pjepa_agent.objectives.base import Batch, EncoderObjective, Setup, Terms
from pjepa_agent.objectives.losses import reached_embeddings, rollout_loss
from pjepa_agent.objectives.regularizers import covariance_penalty, variance_hinge


@dataclasses.dataclass(frozen=True)
class VICRegSettings:
    """Settings of `VICRegObjective`."""

    transition_weight: Weight = 25.0
    """Weight of the squared error of T, averaged over dimensions."""
    variance_weight: Weight = 25.0
    """Weight of the hinge on the standard deviations."""
    covariance_weight: Weight = 1.0
    """Weight of the squared covariances."""


class VICRegObjective(EncoderObjective):
    """Predict the next embedding (``transition``), with ``variance`` and ``covariance`` against collapse."""

    Settings: ClassVar[type[Any]] = VICRegSettings
    stochastic = False

    def __init__(self, setup: Setup, settings: Any = None) -> None:
        super().__init__(setup, settings)
        names = ("transition", "variance", "covariance")
        self.weights = {name: getattr(self.settings, f"{name}_weight") for name in names}

    def terms(self, model: WorldModel, batch: Batch) -> Terms:
        """Compute the three losses; see `Objective.terms`."""
        embedding = self.encode(model, batch)
        predicted, reached = model.rollout(embedding[0], batch["action"]), reached_embeddings(embedding)
        losses = {
            "transition": rollout_loss(predicted, reached, batch["present"]),
            "variance": 2 * torch.stack([variance_hinge(step) for step in embedding]).mean(),
            "covariance": 2 * torch.stack([covariance_penalty(step) for step in embedding]).mean(),
        }
        return Terms(losses, embedding)
