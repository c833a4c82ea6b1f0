"""The joint objective L = L_dyn + c_p L_p (paper Section 2.1)."""

from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float, Real
from torch import Tensor, nn

from pjepa_agent.config.schema import ObjectiveConfig
from pjepa_agent.model import WorldModel
from pjepa_agent.objectives.base import Batch, Objective, Terms
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
            batch: ``source_image`` and ``successor_image`` (B, H, W, C) uint8 or (B, k) float32, ``action`` (B, A) and
                ``auxiliary`` (B,) or (B, k), the value p of the source. With a horizon h above 1 also ``later_image``
                (B, h - 1, ...), ``later_action`` (B, h - 1, A) and ``later_present`` (B, h - 1). Where p belongs to
                observations also ``auxiliary_known`` (B,), and both for the ``successor_`` and the ``later_`` ones.
        """
        encoded = self._encode(model, batch)
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

    def _encode(self, model: WorldModel, batch: Batch) -> Float[Tensor, "steps batch latent"]:
        """E of the source, its successor and what follows: (h + 1, B, d), in bfloat16 under autocast."""
        images = [batch["source_image"], batch["successor_image"]]
        if "later_image" in batch:
            images += batch["later_image"].unbind(1)
        batches = [torch.cat(images)] if self.joint_batch else images
        return torch.cat([model.encoder(each) for each in batches]).unflatten(0, (len(images), -1))

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
        actions = batch["action"].unsqueeze(1)
        if "later_action" in batch:
            actions = torch.cat([actions, batch["later_action"]], 1)
        if not self.config.transition_reaches_encoder:
            source, reached = source.detach(), reached.detach()
        error = (model.rollout(source, actions).float() - reached).square()
        if "later_present" not in batch:
            return error.mean()
        present = nn.functional.pad(batch["later_present"].float(), (1, 0), value=1.0)
        return (error.mean(-1) * present).sum() / present.sum()

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
        known: Tensor | None = None
        value = batch["auxiliary"]
        if "successor_auxiliary" in batch:
            value, known = _auxiliary_of_all(batch)
            noisy = [_with_noise(each, reached, self.latent_noise) for each in reached]
            source = torch.cat([source, *noisy])
        if not self.config.auxiliary_reaches_encoder:
            source = source.detach()
        return model.head.loss(model.head(source), value, known)


def _auxiliary_of_all(batch: Batch) -> tuple[Real[Tensor, "frames ..."], Bool[Tensor, " frames"]]:
    """Return p of all observations of a batch, one step after another, and where it is known."""
    values, known = [batch["auxiliary"], batch["successor_auxiliary"]], [batch["auxiliary_known"]]
    known.append(batch["successor_auxiliary_known"])
    if "later_auxiliary" in batch:
        values += batch["later_auxiliary"].unbind(1)
        known += (batch["later_auxiliary_known"] & batch["later_present"]).unbind(1)
    return torch.cat(values), torch.cat(known)


def _with_noise(
    source: Float[Tensor, "batch latent"], embedding: Float[Tensor, "steps batch latent"], share: float
) -> Float[Tensor, "batch latent"]:
    """Add normal noise to embeddings (B, d), of a share of the spread of all (h + 1, B, d), evenly over dimensions."""
    if not share:
        return source
    deviation = embedding.detach().flatten(0, 1).var(0).mean().sqrt()
    return source + share * deviation * torch.randn_like(source)
