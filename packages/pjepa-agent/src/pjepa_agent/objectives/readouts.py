"""The losses of readouts: control heads and decoder, which learn on detached embeddings (paper Appendix D)."""

import torch
from torch import Tensor, nn

from pjepa_agent.config.schema import ObjectiveConfig
from pjepa_agent.model import PJEPA
from pjepa_agent.networks.control import ControlHeads
from pjepa_agent.networks.decoder import Decoder
from pjepa_agent.objectives.base import Batch


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
