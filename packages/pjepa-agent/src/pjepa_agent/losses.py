"""What is minimised, L = L_dyn + c_p L_p (paper Section 2.1), and what is detached."""

from typing import NamedTuple

import torch
from tensordict import TensorDictBase
from torch import Tensor

from pjepa_agent.config import ObjectiveConfig
from pjepa_agent.model import PJEPA


class Losses(NamedTuple):
    """Scalars of one batch: the weighted sum and its two unweighted terms."""

    total: Tensor
    transition: Tensor
    auxiliary: Tensor


def joint_loss(model: PJEPA, batch: TensorDictBase, objective: ObjectiveConfig) -> Losses:
    """The joint objective on a batch of transitions, with no stop-gradient and no target network.

    Args:
        model: the model in training mode.
        batch: ``source_image`` and ``successor_image`` (B, H, W, 3) uint8, ``action`` (B, A), ``auxiliary`` (B,) or
            (B, k), the value p of the source.
        objective: weights, and which losses reach the encoder (all but in the ablations).
    """
    # One batch through the encoder for both observations of each pair: with batch normalisation they share statistics.
    embeddings = model.encoder(torch.cat([batch["source_image"], batch["successor_image"]]))
    source, successor = embeddings.float().chunk(2)

    into_transition = (source, successor)
    if not objective.transition_reaches_encoder:
        into_transition = (source.detach(), successor.detach())
    predicted = model.transition(into_transition[0], batch["action"])
    transition = (predicted.float() - into_transition[1]).square().mean()

    into_auxiliary = source if objective.auxiliary_reaches_encoder else source.detach()
    auxiliary = model.head.loss(model.head(into_auxiliary), batch["auxiliary"])

    total = objective.transition_weight * transition + objective.auxiliary_weight * auxiliary
    return Losses(total, transition, auxiliary)
