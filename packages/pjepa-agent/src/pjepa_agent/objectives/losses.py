"""Losses that several objectives share: of T along a rollout, and of P on the observations of which p is known."""

import torch
from jaxtyping import Bool, Float, Real
from torch import Tensor

from pjepa_agent.objectives.base import Batch


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


def reached_embeddings(embedding: Float[Tensor, "steps batch latent"]) -> Float[Tensor, "batch horizon latent"]:
    """Return the embeddings (B, h, d) that the h transitions of sequences reach, of those (h + 1, B, d) of all."""
    return embedding[1:].transpose(0, 1)


def auxiliary_values(batch: Batch) -> tuple[Real[Tensor, "frames ..."], Bool[Tensor, " frames"] | None]:
    """Return p of the observations of a batch that it belongs to, one step after another, and where it is known."""
    known = batch.get("auxiliary_known")
    values = batch["auxiliary"].transpose(0, 1).flatten(0, 1)
    return values, None if known is None else known.transpose(0, 1).flatten()


def with_auxiliary(batch: Batch, embedding: Float[Tensor, "steps batch latent"]) -> Float[Tensor, "frames latent"]:
    """Return the embeddings of the observations that p belongs to, in the order of `auxiliary_values`."""
    return embedding[: batch["auxiliary"].shape[1]].flatten(0, 1)


def decayed_mean(
    values: Float[Tensor, "batch horizon"], present: Bool[Tensor, "batch horizon"], decay: float
) -> Float[Tensor, ""]:
    """Average over steps t = 0, 1, ... decay^t times the mean over the batch of what is present at t."""
    weights = decay ** torch.arange(values.shape[1], device=values.device)
    means = (values * present).sum(0) / present.sum(0).clamp(min=1)
    return (weights * means).mean()
