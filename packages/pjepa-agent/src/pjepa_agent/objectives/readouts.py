"""The objective of the readouts: control heads and decoder, on detached embeddings (paper Appendix D)."""

from collections.abc import Mapping

from jaxtyping import Float, Real
from torch import Tensor, nn

from pjepa_agent.config.schema import ObjectiveConfig
from pjepa_agent.model import Absent, Readouts, WorldModel
from pjepa_agent.networks.control import ControlHeads
from pjepa_agent.networks.decoder import Decoder, VectorDecoder
from pjepa_agent.objectives.base import Batch, Objective, Terms
from pjepa_agent.objectives.losses import auxiliary_values, reached_embeddings, rollout_loss, with_auxiliary


class ReadoutObjective(Objective[Readouts]):
    """The losses of TD-MPC2 for the control heads, and the squared error of the decoder. Neither reaches the encoder.

    Each loss trains one of the readouts' parts and nothing else.

    Args:
        readouts: what will be trained; there is a loss for each of its parts.
        config: weights, discount and Polyak share.
    """

    after_step_on_device = True

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
        own = {"decoder": "decoder", "dynamics": "transition_readout", "head": "auxiliary_readout"}
        self._weights |= {own[name]: 1.0 for name in readouts.parts if name in own}  # each alone on its parameters

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
        if model.beside is not None:
            losses |= losses_beside(model.beside, batch, embedding)
        return Terms(losses, embedding)

    def weights_at(self, progress: float) -> Mapping[str, float]:
        """Return the configured weights, which are the same throughout."""
        return self._weights

    def after_step(self, model: Readouts) -> None:
        """Move the target network of Q by the configured share of its distance to Q."""
        if model.control is not None:
            model.control.update_target(self.config.polyak)


def losses_beside(
    model: WorldModel, batch: Batch, embedding: Float[Tensor, "steps batch latent"]
) -> dict[str, Float[Tensor, ""]]:
    """Compute L_dyn and L_p of T and P beside an objective that has none of its own, on detached embeddings.

    Args:
        model: T and P, or one of them.
        batch: that of `PJEPAObjective.terms`.
        embedding: of all observations, detached.
    """
    losses = {}
    if not isinstance(model.dynamics, Absent):
        predicted = model.rollout(embedding[0], batch["action"])
        losses["transition_readout"] = rollout_loss(predicted, reached_embeddings(embedding), batch["present"])
    if not isinstance(model.head, Absent):
        value, known = auxiliary_values(batch)
        losses["auxiliary_readout"] = model.head.loss(model.head(with_auxiliary(batch, embedding)), value, known)
    return losses


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
    reward, terminated = batch["reward"][:, 0].float(), batch["terminated"][:, 0].float()
    features = heads.joined(source, batch["action"][:, 0])
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
