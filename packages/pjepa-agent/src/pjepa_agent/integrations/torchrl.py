"""A trained model as an environment of TorchRL, in which its planners plan."""

from typing import Any

import torch
from jaxtyping import Float
from numpy.typing import NDArray
from tensordict import TensorDict, TensorDictBase
from tensordict.nn import TensorDictModule
from torch import Tensor, nn
from torchrl.data import Bounded, Composite, Unbounded
from torchrl.envs import ModelBasedEnvBase

from pjepa_agent.model import PJEPA
from pjepa_agent.planning.base import PlanningError
from pjepa_agent.planning.costs import ValueCost
from pjepa_agent.planning.spaces import Continuous, Space


class PlanningEnv(ModelBasedEnvBase):  # type: ignore[misc]
    """The imagination of a model, for `CEMPlanner` and `MPPIPlanner`: its steps are those of T.

    States are ``embedding`` (d,) and ``weight`` (1,): the discount, times the share of not having arrived before. The
    rewards of a rollout sum up to minus the cost.

    Args:
        model: E and T.
        space: bounds of the actions, which the planners keep to.
        cost: values predicted embeddings, such as `RewardCost(model)`.

    Raises:
        PlanningError: the actions are choices.
    """

    def __init__(self, model: PJEPA, space: Space, cost: ValueCost) -> None:
        if not isinstance(space, Continuous):
            raise PlanningError(
                "TorchRL's planners sample normal distributions, and these actions are choices; plan with those of "
                "pjepa_agent.planning"
            )
        dynamics = TensorDictModule(
            _Imagination(model, cost), ["embedding", "weight", "action"], ["embedding", "weight", "reward"]
        )
        super().__init__(dynamics, device=model.device)
        self._encode = model.encode
        states = Composite(embedding=Unbounded((model.latent_dim,)), weight=Unbounded((1,)))
        self.observation_spec, self.state_spec = states, states.clone()
        self.action_spec = Bounded(space.low, space.high, (space.coordinates,))
        self.reward_spec = Unbounded((1,))

    def begin(self, observations: NDArray[Any] | Tensor) -> TensorDict:
        """Return the states of B observations, from which a planner plans."""
        return TensorDict(
            {"embedding": self._encode(observations), "weight": torch.ones(len(observations), 1)},
            [len(observations)],
            device=self.device,
        )

    def _reset(self, tensordict: TensorDictBase | None, **kwargs: Any) -> TensorDictBase:
        raise PlanningError("a model has no starts; `begin` makes them of observations")


class _Imagination(nn.Module):
    """One step: T, and the value of where it leads."""

    def __init__(self, model: PJEPA, cost: ValueCost) -> None:
        super().__init__()
        self.model, self.cost = model, cost

    @torch.no_grad()
    def forward(
        self,
        embedding: Float[Tensor, "*batch latent"],
        weight: Float[Tensor, "*batch 1"],
        action: Float[Tensor, "*batch action"],
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the next embeddings, their weights, and the rewards of having come there."""
        flat = self.model.rollout(embedding.flatten(0, -2), action.flatten(0, -2)[:, None])
        reached = flat[:, 0].unflatten(0, embedding.shape[:-1])
        # A cost has a row for each environment: the first dimension of a planner's batch, where the rest are samples.
        value = self.cost.value(reached.flatten(1, -2)[:, :, None]).reshape(weight.shape)
        if self.cost.ends:
            value = value.clamp(0, 1)
        going_on = 1 - value if self.cost.ends else torch.ones_like(value)
        return reached, weight * going_on * self.cost.discount, weight * value


class RolloutReturn(nn.Module):
    """Advantage for `MPPIPlanner`: the sum of a rollout's rewards, without a value network."""

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Add the sum over time as ``advantage`` (..., T, 1)."""
        reward: Tensor = tensordict["next", "reward"]
        return tensordict.set("advantage", reward.sum(-2, keepdim=True).expand_as(reward))
