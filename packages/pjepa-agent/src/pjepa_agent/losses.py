"""What is minimised, L = L_dyn + c_p L_p (paper Section 2.1), what is minimised beside it, and what is detached."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from pjepa_agent.config.schema import ObjectiveConfig
from pjepa_agent.model import PJEPA
from pjepa_agent.networks.control import ControlHeads
from pjepa_agent.networks.decoder import Decoder
from pjepa_agent.regularizers import REGULARIZERS

Batch = Mapping[str, Tensor]
"""Tensors of a batch by name: plain, for a compiler to see through."""


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


def joint_losses(model: PJEPA, batch: Batch, objective: ObjectiveConfig, joint_batch: bool = True) -> Losses:
    """The terms of the joint objective on a batch of transitions, with no stop-gradient and no target network.

    Args:
        model: the model in training mode.
        batch: ``source_image`` and ``successor_image`` (B, H, W, 3) uint8, ``action`` (B, A), ``auxiliary`` (B,) or
            (B, k), the value p of the source, and what follows where the horizon is above 1; see `buffer.Sampler`.
        objective: which losses reach the encoder (all but in the ablations); not the weights.
        joint_batch: whether all observations go through the encoder as one batch.
    """
    images = [batch["source_image"], batch["successor_image"], *_later_images(batch)]
    if joint_batch:  # with batch normalisation they then share statistics
        images = [torch.cat(images)]
    embeddings = torch.cat([model.encoder(each) for each in images])
    source, *reached = embeddings.float().split(len(batch["action"]))
    given = _noisy(source, embeddings, objective.latent_noise)

    transition = _transition_loss(model, batch, given, reached, objective.transition_reaches_encoder)
    into_auxiliary = given if objective.auxiliary_reaches_encoder else given.detach()
    auxiliary = model.head.loss(model.head(into_auxiliary), batch["auxiliary"])

    regularizer = embeddings.new_zeros(())
    if objective.regularizer != "none":
        regularizer = REGULARIZERS[objective.regularizer](embeddings)
    return Losses(transition, auxiliary, regularizer, source, reached[0])


class Objective(nn.Module):
    """A loss of a model as the forward pass of a module, which has those parts of the model that the loss trains.

    Args:
        loss: `joint_losses` or `beside_losses`.
        model: its first argument.
        parts: of the model, by name.
        constants: arguments by name that are the same in every forward pass; the others are those of the pass.
    """

    def __init__(
        self, loss: Callable[..., Any], model: PJEPA, parts: Mapping[str, nn.Module], **constants: Any
    ) -> None:
        super().__init__()
        self.parts = nn.ModuleDict(parts)
        # In here the model is no submodule, with parts of other losses.
        self._loss = functools.partial(loss, model, **constants)

    def forward(self, *arguments: Any) -> Any:
        """What the loss returns."""
        return self._loss(*arguments)


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


def beside_losses(
    model: PJEPA, batch: Batch, source: Tensor, successor: Tensor, objective: ObjectiveConfig
) -> dict[str, Tensor]:
    """The losses of whatever learns on the embeddings without training the encoder (paper Appendix D).

    Args:
        model: the model in training mode.
        batch: as of `joint_losses`, and with control heads ``reward`` and ``terminated`` (B,) of the step.
        source: (B, d) embeddings, detached here.
        successor: (B, d) likewise.
        objective: discount, and weight of the entropy.

    Returns:
        An unweighted scalar for every name in `model.beside`, which trains that part and nothing else.
    """
    source, successor = source.detach(), successor.detach()
    losses: dict[str, Tensor] = {}
    if model.control is not None:
        losses |= control_losses(model.control, batch, source, successor, objective)
    if model.decoder is not None:
        losses["decoder"] = decoder_loss(model.decoder, batch["source_image"], source)
    return losses


def control_losses(
    heads: ControlHeads, batch: Batch, source: Tensor, successor: Tensor, objective: ObjectiveConfig
) -> dict[str, Tensor]:
    """The losses of the control heads against the targets of TD-MPC2, by name.

    The reward is that of the step. Whether the step ends the episode is asked of the observation it leaves: with the
    one-step grace of Appendix D that one decides, and the one reached, of which TD-MPC2 asks it, does not know.
    """
    action, reward, terminated = batch["action"].float(), batch["reward"].float(), batch["terminated"].float()
    features = torch.cat([source, action], -1)
    reward_loss = heads.reward.loss(heads.reward(features), reward)

    ends = heads.termination(source).float().squeeze(-1)
    termination_loss = nn.functional.binary_cross_entropy_with_logits(ends, terminated)

    target = heads.td_target(reward, terminated, successor, objective.discount)
    logits = heads.q(features)
    q_loss = heads.two_hot.loss(logits, target.expand(len(logits), -1))

    proposed, log_density = heads.act(source)
    policy_loss = (objective.entropy_weight * log_density - heads.value(source, proposed)).mean()
    return {"reward": reward_loss, "termination": termination_loss, "q": q_loss, "policy": policy_loss}


def decoder_loss(decoder: Decoder, images: Tensor, embedding: Tensor) -> Tensor:
    """Mean squared error of decoded embeddings (B, d) against images (B, H, W, 3) uint8, scaled to [-1, 1]."""
    return nn.functional.mse_loss(decoder(embedding).float(), images.float() / 127.5 - 1)


def beside_total(losses: dict[str, Tensor], objective: ObjectiveConfig) -> Tensor:
    """The weighted sum of what `beside_losses` returned; the decoder, which nothing competes with, has weight 1."""
    weights = {
        "reward": objective.action_reward_weight,
        "termination": objective.termination_weight,
        "q": objective.value_weight,
        "policy": objective.policy_weight,
        "decoder": 1.0,
    }
    return torch.stack([weights[name] * loss for name, loss in losses.items()]).sum()
