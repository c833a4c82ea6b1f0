"""PLDM: prediction without reward, kept from collapse by variance and covariance (Sobal et al., 2025).

With z_t = E(o_t) and zh_t the rollout of T from z_0, v a hinge on the standard deviation below 1 and c the mean squared
covariance of two dimensions,

    L = 1 ||zh_t - z_t||^2 / d + 3.98 v(z_0) + 6.92 c(z_0) + 0.245 v_t(z_1..z_h) + 0.742 ||z_{t+1} - z_t||^2 / d
      + 1.07 ||I(z_t, z_{t+1}) - a_t||^2 / A.

v and c are over the batch, v_t over the time of each sequence. Nothing is detached.

Source: `objectives/` and `configs/wall/icml/ds_1500k.yaml` of github.com/vladisai/PLDM, whose weights these are.

Deviations: sequences have 3 transitions, since episodes of the counting world have 4; theirs have 16
(``objective.horizon``). The inverse dynamics I is an MLP of one hidden layer, and actions are scaled to [-1, 1]. v_t is
over sequences that do not reach beyond an episode's end. P learns beside it, on detached embeddings.
"""

import dataclasses
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from pjepa_agent.config.schema import Weight
from pjepa_agent.model import WorldModel
from pjepa_agent.networks.heads import masked_mean
from pjepa_agent.networks.mlp import mlp
from pjepa_agent.objectives.base import Batch, EncoderObjective, Setup, Terms
from pjepa_agent.objectives.losses import reached_embeddings, rollout_loss
from pjepa_agent.objectives.regularizers import covariance_penalty, deviation_hinge, variance_hinge


@dataclasses.dataclass(frozen=True)
class PLDMSettings:
    """Settings of `PLDMObjective`."""

    transition_weight: Weight = 1.0
    """Weight of the squared error of T."""
    variance_weight: Weight = 3.98
    """Weight of the hinge on the standard deviations over the batch."""
    covariance_weight: Weight = 6.92
    """Weight of the squared covariances."""
    time_variance_weight: Weight = 0.245
    """Weight of the hinge on the standard deviations over time."""
    smoothness_weight: Weight = 0.742
    """Weight of the squared change in a step."""
    inverse_weight: Weight = 1.07
    """Weight of the squared error of the inverse dynamics."""


class PLDMObjective(EncoderObjective):
    """Six terms by the names of their weights. None uses a reward."""

    Settings: ClassVar[type[Any]] = PLDMSettings
    least_horizon = 2
    stochastic = False

    def __init__(self, setup: Setup, settings: Any = None) -> None:
        super().__init__(setup, settings)
        network = setup.config.network
        self.inverse = mlp(
            2 * network.latent_dim, network.hidden_dim, 2, setup.spec.action_dim, initialization=network.initialization
        )
        names = ("transition", "variance", "covariance", "time_variance", "smoothness", "inverse")
        self.weights = {name: getattr(self.settings, f"{name}_weight") for name in names}

    def terms(self, model: WorldModel, batch: Batch) -> Terms:
        """Compute all losses; see `Objective.terms`."""
        embedding, present = self.encode(model, batch), batch["present"]
        before, after = embedding[:-1].transpose(0, 1), reached_embeddings(embedding)
        predicted = self.inverse(torch.cat([before, after], -1)).float()
        wrong = (predicted - model.scaled(batch["action"].float())).square().mean(-1)
        losses = {
            "transition": rollout_loss(model.rollout(embedding[0], batch["action"]), after, present),
            "variance": variance_hinge(embedding[0]),
            "covariance": covariance_penalty(embedding[0]) / (embedding.shape[-1] - 1),
            "time_variance": _time_variance(after, present),
            "smoothness": rollout_loss(before, after, present),
            "inverse": masked_mean(wrong, present),
        }
        return Terms(losses, embedding)


def _time_variance(
    embedding: Float[Tensor, "batch horizon latent"], present: Bool[Tensor, "batch horizon"]
) -> Float[Tensor, ""]:
    """Average the hinge on the standard deviation over time, over the sequences that are present as a whole."""
    return masked_mean(deviation_hinge(embedding.var(1)).mean(-1), present.all(1))
