"""TorchRL's CEMPlanner as an independent oracle: with its settings, ours plans the same actions to the bit."""

import pytest
import torch
from pjepa_agent.planning import CEM, Continuous
from support.planned import Point
from tensordict import TensorDict
from tensordict.nn import TensorDictModule
from torch import nn
from torchrl.data import Bounded, Composite, Unbounded
from torchrl.envs import ModelBasedEnvBase
from torchrl.modules import CEMPlanner, WorldModelWrapper

HORIZON, ITERATIONS, SAMPLES, ELITES = 5, 4, 50, 7


class _Move(nn.Module):
    def forward(self, embedding, action):
        return embedding + action


class _Reward(nn.Module):
    """Minus the squared distance to a goal, which is different for each environment."""

    def __init__(self, goal):
        super().__init__()
        self.goal = goal

    def forward(self, embedding):
        return -(embedding - self.goal.unsqueeze(1)).square().sum(-1, keepdim=True)


class _World(ModelBasedEnvBase):
    def __init__(self, goal):
        model = WorldModelWrapper(
            TensorDictModule(_Move(), in_keys=["embedding", "action"], out_keys=["embedding"]),
            TensorDictModule(_Reward(goal), in_keys=["embedding"], out_keys=["reward"]),
        )
        super().__init__(model)
        self.state_spec = self.observation_spec = Composite(embedding=Unbounded((2,)))
        self.action_spec = Bounded(-1, 1, (2,))
        self.reward_spec = Unbounded((1,))

    def _reset(self, tensordict):
        raise NotImplementedError


@pytest.mark.parametrize("batch", [1, 3])
def test_with_the_settings_of_torchrl_the_plans_are_its_plans(batch):
    generator = torch.Generator().manual_seed(batch)
    embedding, goal = torch.randn(2, batch, 2, generator=generator)
    planner = CEM(
        Continuous([-1, -1], [1, 1]), HORIZON, SAMPLES, ELITES, ITERATIONS, 1.0, 5, momentum=0.0, execute="mean"
    )
    ours = planner.plan(
        Point(), embedding, lambda predicted, actions: (predicted - goal[:, None, None]).square().sum((2, 3))
    )
    with torch.random.fork_rng():
        torch.manual_seed(5)
        theirs = CEMPlanner(_World(goal), HORIZON, ITERATIONS, SAMPLES, ELITES)
        found = theirs(TensorDict({"embedding": embedding}, [batch]))["action"]
    torch.testing.assert_close(ours.first, found, rtol=1e-4, atol=1e-5)
