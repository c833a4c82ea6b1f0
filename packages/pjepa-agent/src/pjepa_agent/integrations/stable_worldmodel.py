"""A trained model as the solvers of stable-worldmodel take it. That package itself is not imported."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pjepa_agent.model import PJEPA
from pjepa_agent.planning.base import Cost, PlanningError, checked_cost
from pjepa_agent.planning.costs import GoalCost
from pjepa_agent.planning.spaces import Continuous, Space

EMBEDDING = "emb"
"""Key of embeddings, as world models of stable-worldmodel have it."""

Information = dict[str, Any]
"""What an environment says, by name: arrays or tensors (B, S, T, ...) of B environments, S samples and T past steps."""


class SolverModel(nn.Module):
    """A model with a cost, for the solvers of stable-worldmodel: `CEMSolver`, `ICEMSolver`, `MPPISolver` and others.

    Their candidates are clipped to the bounds, beyond which T has learnt nothing. Of theirs, `ICEMSolver` alone clips.

    Args:
        model: E and T.
        space: actions: `Continuous`, or `Discrete` for the one-hot candidates of `CategoricalCEMSolver`.
        cost: is minimised, such as `RewardCost(model)`. With None, it is the first arrival at the observation that the
            environment names as its goal.
        tau: of `GoalCost`, in latent units; needed without a cost, see `planning.goals.arrival_scale`.
        observation: key of the observations (B, S, T, ...), of which the last is planned from.
        goal: key of the goals (B, S, T, ...).

    Raises:
        PlanningError: neither a cost nor tau is given.
    """

    def __init__(
        self,
        model: PJEPA,
        space: Space,
        cost: Cost | None = None,
        tau: float | None = None,
        observation: str = "pixels",
        goal: str = "goal",
    ) -> None:
        super().__init__()
        if cost is None and tau is None:
            raise PlanningError("needs a cost, or tau for the arrival at the goal that the environment names")
        self.model = model
        self._space, self._cost, self._tau, self._keys = space, cost, tau, (observation, goal)

    def encode(self, info: Information) -> Information:
        """Add the embeddings (B, T, d) of observations (B, T, ...) under `EMBEDDING`."""
        observations = _tensor(info, self._keys[0])
        embedding = self.model.encode(observations.flatten(0, 1)).to(self.model.device)
        info[EMBEDDING] = embedding.unflatten(0, observations.shape[:2])
        return info

    def rollout(self, info: Information, candidates: Float[Tensor, "batch samples horizon action"]) -> Information:
        """Add the embeddings (B, S, 1 + H, d) along candidates, from the last observation, as ``predicted_emb``."""
        start = self._last(info, self._keys[0])[:, None].expand(-1, candidates.shape[1], -1)
        predicted = self.model.rollout(start.flatten(0, 1), self._actions(candidates).flatten(0, 1))
        info["predicted_emb"] = torch.cat([start[:, :, None], predicted.unflatten(0, candidates.shape[:2])], 2)
        return info

    def criterion(
        self, info: Information, candidates: Float[Tensor, "batch samples horizon action"]
    ) -> Float[Tensor, "batch samples"]:
        """Return the cost of candidates whose embeddings are predicted.

        Raises:
            PlanningError: the cost is NaN, or of a wrong shape.
        """
        cost = self._cost
        if cost is None:
            assert self._tau is not None
            cost = GoalCost(self._last(info, self._keys[1]), self._tau)
        return checked_cost(cost, info["predicted_emb"][:, :, 1:], self._actions(candidates))

    def get_cost(
        self, info: Information, candidates: Float[Tensor, "batch samples horizon action"]
    ) -> Float[Tensor, "batch samples"]:
        """Predict along candidates, and return their cost.

        Raises:
            PlanningError: the candidates are no actions of the model, or the cost is NaN or of a wrong shape.
        """
        return self.criterion(self.rollout(info, candidates), candidates)

    def _last(self, info: Information, key: str) -> Float[Tensor, "batch latent"]:
        """Return the embeddings of the last observations, computed once for all iterations of a decision."""
        known = f"{key}_last_{EMBEDDING}"
        if known not in info:
            info[known] = self.model.encode(_tensor(info, key)[:, 0, -1]).to(self.model.device)
        embedding: Tensor = info[known]
        return embedding

    def _actions(self, candidates: Tensor) -> Float[Tensor, "batch samples steps action"]:
        """Return actions of the model: those of a block one after the other, clipped to the bounds."""
        size, space = candidates.shape[-1], self._space
        if size % space.coordinates:
            raise PlanningError(f"candidates with {size} numbers a step: must be blocks of {space.coordinates}")
        steps = candidates.unflatten(-1, (-1, space.coordinates)).flatten(2, 3)
        if isinstance(space, Continuous):
            return steps.clamp(space.low.to(steps), space.high.to(steps))
        return space.values(steps)


def _tensor(info: Information, key: str) -> Tensor:
    if key not in info:
        raise PlanningError(f"the environment says no {key!r}; it says {', '.join(map(str, info))}")
    return torch.as_tensor(info[key])
