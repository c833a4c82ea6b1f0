"""The objective of the readouts: control heads and decoder, on detached embeddings (paper Appendix D)."""

from collections.abc import Mapping

import torch
from jaxtyping import Float, Real
from torch import Tensor, nn

from pjepa_agent.config.schema import ObjectiveConfig
from pjepa_agent.model import Readouts
from pjepa_agent.networks.control import ControlHeads
from pjepa_agent.networks.decoder import Decoder, VectorDecoder
from pjepa_agent.objectives.base import Batch, Objective, Terms


class ReadoutObjective(Objective[Readouts]):
    """The losses of TD-MPC2 for the control heads, and the squared error of the decoder. Neither reaches the encoder.

    Each loss trains one of the readouts' parts and nothing else.

    Args:
        readouts: what will be trained; there is a loss for each of its parts.
        config: weights, discount and Polyak share.
    """

    def __init__(self, readouts: Readouts, config: ObjectiveConfig) -> None:
        super().__init__()
        self.config = config
        self._weights: dict[str, float] = {}
        if readouts.control is not None:
            self._weights |= {
                "action_conditioned_reward": config.action_reward_weight,
                "termination": config.termination_weight,
                "q": config.value_weight,
                "policy": config.policy_weight,
            }
        if readouts.decoder is not None:
            self._weights["decoder"] = 1.0  # which nothing competes with

    def terms(self, model: Readouts, batch: Batch) -> Terms:
        """Compute the losses on embeddings that are detached here.

        Args:
            model: in training mode.
            batch: that of `PJEPAObjective.terms` with its ``embedding`` (h + 1, B, d), and for the control heads
                ``reward`` and ``terminated`` (B, h).
        """
        embedding = batch["embedding"].detach()
        source, successor = embedding[0], embedding[1]
        losses: dict[str, Tensor] = {}
        if model.control is not None:
            losses |= control_losses(model.control, batch, source, successor, self.config)
        if model.decoder is not None:
            losses["decoder"] = decoder_loss(model.decoder, batch["observation"][:, 0], source)
        return Terms(losses, embedding)

    def weights_at(self, progress: float) -> Mapping[str, float]:
        """Return the configured weights, which are the same throughout."""
        return self._weights

    def after_step(self, model: Readouts) -> None:
        """Move the target network of Q by the configured share of its distance to Q."""
        if model.control is not None:
            model.control.update_target(self.config.polyak)


def control_losses(
    heads: ControlHeads,
    batch: Batch,
    source: Float[Tensor, "batch latent"],
    successor: Float[Tensor, "batch latent"],
    config: ObjectiveConfig,
) -> dict[str, Float[Tensor, ""]]:
    """Compute the losses of the control heads on the first transitions against the targets of TD-MPC2, by name.

    The reward is that of the step. Termination is predicted from the observation that the step leaves, not from the one
    that it reaches as in TD-MPC2: with the one-step grace of Appendix D the former decides whether the step ends the
    episode.

    Args:
        heads: in training mode.
        batch: ``action`` (B, h, A), ``reward`` and ``terminated`` (B, h).
        source: (B, d) embeddings.
        successor: (B, d) embeddings.
        config: discount, and weight of the policy's entropy.
    """
    action = heads.scaled(batch["action"][:, 0].float())
    reward, terminated = batch["reward"][:, 0].float(), batch["terminated"][:, 0].float()
    features = torch.cat([source, action], -1)
    reward_loss = heads.reward.loss(heads.reward(features), reward)

    ends = heads.termination(source).float().squeeze(-1)
    termination_loss = nn.functional.binary_cross_entropy_with_logits(ends, terminated)

    target = heads.td_target(reward, terminated, successor, config.discount)
    logits = heads.q(features)
    q_loss = heads.two_hot.loss(logits, target.expand(len(logits), -1))

    proposed, log_density = heads.act(source)
    policy_loss = (config.entropy_weight * log_density - heads.value(source, proposed)).mean()
    return {
        "action_conditioned_reward": reward_loss,
        "termination": termination_loss,
        "q": q_loss,
        "policy": policy_loss,
    }


def decoder_loss(
    decoder: Decoder | VectorDecoder,
    observations: Real[Tensor, "batch ..."],
    embedding: Float[Tensor, "batch latent"],
) -> Float[Tensor, ""]:
    """Compute the mean squared error of decoded embeddings (B, d) against observations (B, ...).

    Images are in [-1, 1], vectors standardised.
    """
    return nn.functional.mse_loss(decoder(embedding).float(), decoder.targets(observations))
