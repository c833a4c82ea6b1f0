"""DeepMDP: reward and next embedding, predicted from embedding and action (Gelada et al., 2019).

    L = w_R E (R(E(o), a) - r)^2 + w_T E ||T(E(o), a) - sg E(o')||^2 / d

Source: Equations 6 and 7 of the paper, and `deepmdp_agent.py` of github.com/facebookresearch/deep_bisim4control, which
compares with it on pixels.

Deviations: the world is deterministic, so the distance of distributions is that of points. The norms are squared, as in
that code. As there, the target is detached; the paper's is not (``stop_gradient=false``). There is neither an agent
nor a decoder of o', both optional there. R is an MLP like the other heads, and predicts from the embedding as in the
paper, not from T's prediction. P learns beside it, on detached embeddings.
"""

import dataclasses
from typing import Any, ClassVar

from torch import nn

from pjepa_agent.config.schema import Weight
from pjepa_agent.model import WorldModel
from pjepa_agent.networks.mlp import mlp
from pjepa_agent.objectives.base import Batch, EncoderObjective, Setup, Terms
from pjepa_agent.objectives.losses import reached_embeddings, rollout_loss


@dataclasses.dataclass(frozen=True)
class DeepMDPSettings:
    """Settings of `DeepMDPObjective`."""

    reward_weight: Weight = 1.0
    """Weight of the squared error of the reward."""
    transition_weight: Weight = 1.0
    """Weight of the squared error of T, averaged over dimensions."""
    stop_gradient: bool = True
    """Detach the embeddings that T predicts."""


class DeepMDPObjective(EncoderObjective):
    """Predict the ``reward`` of a step and the embedding that it reaches (``transition``). Both reach the encoder."""

    Settings: ClassVar[type[Any]] = DeepMDPSettings
    needs = frozenset({"reward"})
    most_horizon = 1
    stochastic = False

    def __init__(self, setup: Setup, settings: Any = None) -> None:
        super().__init__(setup, settings)
        network = setup.config.network
        features = network.latent_dim + setup.spec.action_dim
        self.reward = mlp(features, network.hidden_dim, 3, 1, initialization=network.initialization)
        self.weights = {"reward": self.settings.reward_weight, "transition": self.settings.transition_weight}

    def terms(self, model: WorldModel, batch: Batch) -> Terms:
        """Compute both losses; see `Objective.terms`."""
        embedding = self.encode(model, batch)
        features = model.with_action(embedding[0], batch["action"][:, 0])
        predicted = self.reward(features).float().squeeze(-1)
        reached = reached_embeddings(embedding)
        if self.settings.stop_gradient:
            reached = reached.detach()
        losses = {
            "reward": nn.functional.mse_loss(predicted, batch["reward"][:, 0].float()),
            "transition": rollout_loss(model.rollout(embedding[0], batch["action"]), reached, batch["present"]),
        }
        return Terms(losses, embedding)
