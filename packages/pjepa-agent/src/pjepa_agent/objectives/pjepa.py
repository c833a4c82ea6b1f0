"""The joint objective L = L_dyn + c_p L_p (paper Section 2.1), and what of it is detached."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from pjepa_agent.config.schema import ObjectiveConfig
from pjepa_agent.model import PJEPA
from pjepa_agent.objectives.base import Batch
from pjepa_agent.objectives.regularizers import REGULARIZERS


class Losses(NamedTuple):
    """Unweighted scalars of one batch, those that are minimised jointly, and the embeddings (B, d) they are of."""

    transition: Tensor
    auxiliary: Tensor
    regularizer: Tensor
    source: Tensor
    successor: Tensor

    def total(self, objective: ObjectiveConfig) -> Tensor:
        """L = L_dyn + c_p L_p, and the regularizer where there is one."""
        total = objective.transition_weight * self.transition + objective.auxiliary_weight * self.auxiliary
        return total if objective.regularizer == "none" else total + objective.regularizer_weight * self.regularizer


def joint_losses(
    model: PJEPA, batch: Batch, objective: ObjectiveConfig, joint_batch: bool = True, latent_noise: float = 0.0
) -> Losses:
    """The terms of the joint objective on a batch of transitions, with no stop-gradient and no target network.

    Args:
        model: the model in training mode.
        batch: ``source_image`` and ``successor_image`` (B, H, W, 3) uint8, ``action`` (B, A), ``auxiliary`` (B,) or
            (B, k), the value p of the source, and what follows where the horizon is above 1;
            see `Replay.sample`.
        objective: which losses reach the encoder (all but in the ablations); not the weights.
        joint_batch: whether all observations go through the encoder as one batch.
        latent_noise: noise on what T and P are given, as a share of the embeddings' spread in the batch.
    """
    images = [batch["source_image"], batch["successor_image"], *_later_images(batch)]
    if joint_batch:  # with batch normalisation they then share statistics
        images = [torch.cat(images)]
    embeddings = torch.cat([model.encoder(each) for each in images])
    source, *reached = embeddings.float().split(len(batch["action"]))
    given = _noisy(source, embeddings, latent_noise)

    transition = _transition_loss(model, batch, given, reached, objective.transition_reaches_encoder)
    into_auxiliary = given if objective.auxiliary_reaches_encoder else given.detach()
    auxiliary = model.head.loss(model.head(into_auxiliary), batch["auxiliary"])

    regularizer = embeddings.new_zeros(())
    if objective.regularizer != "none":
        regularizer = REGULARIZERS[objective.regularizer](embeddings)
    return Losses(transition, auxiliary, regularizer, source, reached[0])


def _later_images(batch: Batch) -> Sequence[Tensor]:
    return batch["later_image"].unbind(1) if "later_image" in batch else ()


def _noisy(source: Tensor, embeddings: Tensor, share: float) -> Tensor:
    """Embeddings (B, d) with normal noise of a share of the spread of all embeddings, split evenly over dimensions."""
    if not share:
        return source
    deviation = embeddings.detach().float().var(0).mean().sqrt()
    return source + share * deviation * torch.randn_like(source)


def _transition_loss(
    model: PJEPA, batch: Batch, source: Tensor, reached: Sequence[Tensor], reaches_encoder: bool
) -> Tensor:
    """Mean squared error of T, applied over and over, against each of the observations that are reached."""
    if not reaches_encoder:
        source, reached = source.detach(), [each.detach() for each in reached]
    predicted = model.transition(source, batch["action"])
    if len(reached) == 1:
        return (predicted.float() - reached[0]).square().mean()
    errors = [(predicted.float() - reached[0]).square().mean(-1)]
    for action, target in zip(batch["later_action"].unbind(1), reached[1:], strict=True):
        predicted = model.transition(predicted, action)
        errors.append((predicted.float() - target).square().mean(-1))
    present = nn.functional.pad(batch["later_present"].float(), (1, 0), value=1.0)
    return (torch.stack(errors, 1) * present).sum() / present.sum()
