"""Latent dynamics T along several actions."""

import torch
from jaxtyping import Float
from torch import Tensor

from pjepa_agent.networks.actions import GivenActions


class LatentDynamics(GivenActions):
    """A module that predicts the embeddings along actions, a step at a time."""

    def transition(
        self, embedding: Float[Tensor, "batch latent"], action: Float[Tensor, "batch action"]
    ) -> Float[Tensor, "batch latent"]:
        """Apply T once: embeddings (B, d) and actions (B, A) in the units of the data -> embeddings (B, d)."""
        raise NotImplementedError

    def rollout(
        self, embedding: Float[Tensor, "batch latent"], actions: Float[Tensor, "batch horizon action"]
    ) -> Float[Tensor, "batch horizon latent"]:
        """Apply T along h actions: embeddings (B, d) and actions (B, h, A) -> predicted embeddings (B, h, d)."""
        predicted = []
        for action in actions.unbind(1):
            embedding = self.transition(embedding, action)
            predicted.append(embedding)
        return torch.stack(predicted, 1)
