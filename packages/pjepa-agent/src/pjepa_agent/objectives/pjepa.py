"""The joint objective L = L_dyn + c_p L_p (paper Section 2.1)."""

from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float, Real
from torch import Tensor

from pjepa_agent.config.schema import ObjectiveConfig
from pjepa_agent.model import WorldModel
from pjepa_agent.objectives.base import Batch, Objective, Terms, encode_sequences
from pjepa_agent.objectives.regularizers import REGULARIZERS


class PJEPAObjective(Objective[WorldModel]):
    """L_dyn (``transition``) and L_p (``auxiliary``) with no stop-gradient and no target network.

    A configured ``regularizer`` is a third term. It is no part of the paper's objective.

    Args:
        config: weights, horizon, and which of the losses reach the encoder (both but in the ablations).
        joint_batch: encode all observations of a batch of transitions as one batch; with batch normalisation they then
            share statistics.
        latent_noise: noise on the embeddings that T and P are given, as a share of their spread in the batch.
    """

    def __init__(self, config: ObjectiveConfig, joint_batch: bool = True, latent_noise: float = 0.0) -> None:
        super().__init__()
        self.config, self.joint_batch, self.latent_noise = config, joint_batch, latent_noise
        self.stochastic = bool(latent_noise) or config.regularizer == "sigreg"

    def terms(self, model: WorldModel, batch: Batch) -> Terms:
        """Encode all observations of a batch and compute the losses on their embeddings.

        Args:
            model: in training mode.
            batch: ``observation``, ``action``, ``present``, ``auxiliary`` and, where p belongs to observations,
                ``auxiliary_known``; see `collection.replay.Replay.sample`.
        """
        encoded = encode_sequences(model.encoder, batch["observation"], self.joint_batch, batch.get("content"))
        embedding = encoded.float()
        source, *reached = embedding.unbind(0)
        start = _with_noise(source, embedding, self.latent_noise)
        losses = {
            "transition": self._transition_loss(model, batch, start, torch.stack(reached, 1)),
            "auxiliary": self._auxiliary_loss(model, batch, start, embedding[1:]),
        }
        if self.config.regularizer != "none":
            losses["regularizer"] = REGULARIZERS[self.config.regularizer](encoded.flatten(0, 1))
        return Terms(losses, embedding)

    def weights_at(self, progress: float) -> Mapping[str, float]:
        """Return the configured weights. That of L_dyn rises with the cube of the share of its warm-up that is done."""
        config, warmup = self.config, self.config.transition_warmup
        share = 1.0 if progress >= warmup else (progress / warmup) ** 3
        weights = {"transition": config.transition_weight * share, "auxiliary": config.auxiliary_weight}
        return weights if config.regularizer == "none" else weights | {"regularizer": config.regularizer_weight}

    def _transition_loss(
        self,
        model: WorldModel,
        batch: Batch,
        source: Float[Tensor, "batch latent"],
        reached: Float[Tensor, "batch horizon latent"],
    ) -> Float[Tensor, ""]:
        """L_dyn: mean squared error of a rollout of T from (B, d) against the embeddings (B, h, d) that are reached.

        Steps beyond the end of an episode are masked.
        """
        if not self.config.transition_reaches_encoder:
            source, reached = source.detach(), reached.detach()
        return rollout_loss(model.rollout(source, batch["action"]), reached, batch["present"])

    def _auxiliary_loss(
        self,
        model: WorldModel,
        batch: Batch,
        source: Float[Tensor, "batch latent"],
        reached: Float[Tensor, "horizon batch latent"],
    ) -> Float[Tensor, ""]:
        """L_p: loss of P on embeddings (B, d) against the values p of the sources.

        Where p belongs to observations, those that are reached (h, B, d) count as much as the sources, and all those
        without a known p do not.
        """
        if "auxiliary_known" in batch:
            noisy = [_with_noise(each, reached, self.latent_noise) for each in reached]
            source = torch.cat([source, *noisy])
        if not self.config.auxiliary_reaches_encoder:
            source = source.detach()
        value, known = auxiliary_values(batch)
        return model.head.loss(model.head(source), value, known)


def rollout_loss(
    predicted: Float[Tensor, "batch horizon latent"],
    reached: Float[Tensor, "batch horizon latent"],
    present: Bool[Tensor, "batch horizon"],
) -> Float[Tensor, ""]:
    """Average the squared error of predicted embeddings over dimensions and the transitions that are present."""
    error = (predicted.float() - reached).square()
    if present.shape[1] == 1:  # the first transition of a sequence always is
        return error.mean()
    return (error.mean(-1) * present).sum() / present.sum()


def auxiliary_values(batch: Batch) -> tuple[Real[Tensor, "frames ..."], Bool[Tensor, " frames"] | None]:
    """Return p of the observations of a batch that it belongs to, one step after another, and where it is known."""
    known = batch.get("auxiliary_known")
    values = batch["auxiliary"].transpose(0, 1).flatten(0, 1)
    return values, None if known is None else known.transpose(0, 1).flatten()


def _with_noise(
    source: Float[Tensor, "batch latent"], embedding: Float[Tensor, "steps batch latent"], share: float
) -> Float[Tensor, "batch latent"]:
    """Add normal noise to embeddings (B, d), of a share of the spread of all (h + 1, B, d), evenly over dimensions."""
    if not share:
        return source
    deviation = embedding.detach().flatten(0, 1).var(0).mean().sqrt()
    return source + share * deviation * torch.randn_like(source)
