"""The joint objective L = L_dyn + c_p L_p (paper Section 2.1)."""

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from pjepa_agent.model import WorldModel
from pjepa_agent.objectives.base import Batch, EncoderObjective, Setup, Terms
from pjepa_agent.objectives.losses import auxiliary_values, reached_embeddings, rollout_loss
from pjepa_agent.objectives.regularizers import REGULARIZERS


class PJEPAObjective(EncoderObjective):
    """L_dyn (``transition``) and L_p (``auxiliary``) with no stop-gradient and no target network.

    A configured ``regularizer`` is a third term. It is no part of the paper's objective. Weights, horizon, and which of
    the losses reach the encoder (both but in the ablations) are fields of the configuration.
    """

    def __init__(self, setup: Setup, settings: Any = None) -> None:
        super().__init__(setup, settings)
        self.objective = setup.config.objective
        noise = self.objective.latent_noise or self.objective.frozen_noise
        self.stochastic = bool(noise) or self.objective.regularizer == "sigreg"

    @property
    def trains(self) -> frozenset[str]:
        """Name T and P: it trains both."""
        return frozenset({"dynamics", "head"})

    @property
    def detached(self) -> frozenset[str]:
        """Name T or P where the configuration keeps its loss from the encoder."""
        reach = {
            "dynamics": self.objective.transition_reaches_encoder,
            "head": self.objective.auxiliary_reaches_encoder,
        }
        return frozenset(name for name, reaches in reach.items() if not reaches)

    def terms(self, model: WorldModel, batch: Batch) -> Terms:
        """Encode all observations of a batch and compute the losses on their embeddings.

        Args:
            model: in training mode.
            batch: ``observation``, ``action``, ``present``, ``auxiliary`` and, where p belongs to observations,
                ``auxiliary_known``; see `collection.replay.Replay.sample`.
        """
        encoded = self.encode_raw(model, batch)
        embedding = encoded.float()
        noise = self.objective.latent_noise if model.encoder.training else self.objective.frozen_noise
        start = _with_noise(embedding[0], embedding, noise)
        losses = {
            "transition": self._transition_loss(model, batch, start, reached_embeddings(embedding)),
            "auxiliary": self._auxiliary_loss(model, batch, start, embedding[1:], noise),
        }
        if self.objective.regularizer != "none":
            losses["regularizer"] = REGULARIZERS[self.objective.regularizer](encoded.flatten(0, 1))
        return Terms(losses, embedding)

    def weights_at(self, progress: float) -> Mapping[str, float]:
        """Return the configured weights. That of L_dyn rises with the cube of the share of its warm-up that is done."""
        config, warmup = self.objective, self.objective.transition_warmup
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
        if not self.objective.transition_reaches_encoder:
            source, reached = source.detach(), reached.detach()
        return rollout_loss(model.rollout(source, batch["action"]), reached, batch["present"])

    def _auxiliary_loss(
        self,
        model: WorldModel,
        batch: Batch,
        source: Float[Tensor, "batch latent"],
        reached: Float[Tensor, "horizon batch latent"],
        noise: float,
    ) -> Float[Tensor, ""]:
        """L_p: loss of P on embeddings (B, d) against the values p of the sources.

        Where p belongs to observations, those that are reached (h, B, d) count as much as the sources, and all those
        without a known p do not.
        """
        if "auxiliary_known" in batch:
            noisy = [_with_noise(each, reached, noise) for each in reached]
            source = torch.cat([source, *noisy])
        if not self.objective.auxiliary_reaches_encoder:
            source = source.detach()
        value, known = auxiliary_values(batch)
        return model.head.loss(model.head(source), value, known)


def _with_noise(
    source: Float[Tensor, "batch latent"], embedding: Float[Tensor, "steps batch latent"], share: float
) -> Float[Tensor, "batch latent"]:
    """Add normal noise to embeddings (B, d), of a share of the spread of all (h + 1, B, d), evenly over dimensions."""
    if not share:
        return source
    deviation = embedding.detach().flatten(0, 1).var(0).mean().sqrt()
    return source + share * deviation * torch.randn_like(source)
