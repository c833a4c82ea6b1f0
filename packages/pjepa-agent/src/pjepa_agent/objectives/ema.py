"""Prediction of a slow encoder's embedding, as BYOL (Grill et al., 2020) and V-JEPA (Bardes et al., 2024) do.

    L = |T(E(o), a) - sg Em(o')| averaged over dimensions, Em <- m Em + (1 - m) E after every step, m = 0.99

Em begins as a copy of E. There is no auxiliary task: T's weights and the slow target alone keep embeddings from
collapsing, which they need not.

Source: Equation 1 of V-JEPA for the loss; ``loss=squared`` is BYOL's without its normalisation of both vectors.

Deviations: T predicts through the action, where BYOL has a predictor between two augmentations and V-JEPA one of masked
regions. Targets are not normalised, so that T predicts embeddings. m is constant, there it rises to 1. Em normalises
batches by their own statistics, as BYOL's target does. P learns beside it, on detached embeddings.
"""

import dataclasses
from typing import Annotated, Any, ClassVar, Literal

import torch

from pjepa_agent.config.fields import Between
from pjepa_agent.model import WorldModel
from pjepa_agent.networks.heads import masked_mean
from pjepa_agent.networks.mlp import frozen_copy
from pjepa_agent.objectives.base import Batch, EncoderObjective, Setup, Terms, encode_sequences


@dataclasses.dataclass(frozen=True)
class EMASettings:
    """Settings of `EMAObjective`."""

    momentum: Annotated[float, Between(0, 1)] = 0.99
    """Weight m of the slow encoder's own parameters."""
    loss: Literal["absolute", "squared"] = "absolute"
    """Error of a dimension."""


class EMAObjective(EncoderObjective):
    """Predict the embedding that a slow copy of E gives the next observation (``transition``)."""

    Settings: ClassVar[type[Any]] = EMASettings
    stochastic = False
    after_step_on_device = True

    def __init__(self, setup: Setup, settings: Any = None) -> None:
        super().__init__(setup, settings)
        self.target = frozen_copy(setup.model.encoder).train()
        self.weights = {"transition": 1.0}

    def terms(self, model: WorldModel, batch: Batch) -> Terms:
        """Compute the loss; see `Objective.terms`."""
        embedding = self.encode(model, batch)
        with torch.no_grad():
            slow = encode_sequences(self.target, batch["observation"][:, 1:], self.config.compute.joint_batch).float()
        error = model.rollout(embedding[0], batch["action"]).float() - slow.transpose(0, 1)
        error = error.abs() if self.settings.loss == "absolute" else error.square()
        return Terms({"transition": masked_mean(error.mean(-1), batch["present"])}, embedding)

    @torch.no_grad()
    def after_step(self, model: WorldModel) -> None:
        """Move the slow encoder's parameters towards those of E."""
        online = dict(model.encoder.named_parameters())
        slow = [self.target.get_buffer(name) for name in online]
        torch._foreach_lerp_(slow, list(online.values()), 1 - self.settings.momentum)
