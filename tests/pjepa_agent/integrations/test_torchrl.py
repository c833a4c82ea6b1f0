"""TorchRL's planners in the imagination of a model whose best actions are known."""

import pytest
import torch
from pjepa_agent.envs.registry import make_domain
from pjepa_agent.integrations.torchrl import PlanningEnv, RolloutReturn
from pjepa_agent.model import PJEPA
from pjepa_agent.planning import CEM, Continuous, Discrete, GoalCost, PlanningError, RewardCost
from support.planned import TARGET, ExactModel
from support.trainings import tiny
from torchrl.modules import CEMPlanner, MPPIPlanner

SIGNED = Continuous([-1], [1])
BATCH, SAMPLES, HORIZON = 2, 5, 6


@pytest.fixture(scope="module")
def images():
    """Images of the counts 0 to 8."""
    return make_domain(tiny().collection).balanced_observations(1, 7)[0]


@pytest.fixture
def model():
    return PJEPA.untrained(tiny()).eval()


class _Share:
    """A model whose P decodes a share between 0 and 1: the sigmoid of an embedding's first number."""

    def __init__(self):
        self.head = self

    def __call__(self, embedding):
        return embedding[:, 0]

    def decode(self, output):
        return torch.sigmoid(output)


@pytest.mark.parametrize("kind", ["arrival", "rounded", "sum", "goal"])
def test_the_rewards_of_a_rollout_sum_up_to_minus_the_cost(model, images, kind):
    embedding = model.encode(images[:BATCH])
    actions = SIGNED.uniform(BATCH, SAMPLES, HORIZON, torch.Generator().manual_seed(0))
    predicted = model.rollout(embedding.repeat_interleave(SAMPLES, 0), actions.flatten(0, 1)).detach()
    cost = {
        "arrival": lambda: RewardCost(_Share(), discount=0.9, step=0),
        "rounded": lambda: RewardCost(_Share(), discount=0.9),
        "sum": lambda: RewardCost(_Share(), discount=0.8, step=0, ends=False),
        "goal": lambda: GoalCost(embedding.flip(0), tau=float(torch.cdist(predicted[:, 0], embedding).mean())),
    }[kind]()
    env = PlanningEnv(model, SIGNED, cost)
    state = env.begin(images[:BATCH]).unsqueeze(-1).expand(BATCH, SAMPLES).to_tensordict()
    steps = iter(actions.unbind(2))
    found = env.rollout(HORIZON, lambda td: td.set("action", next(steps)), auto_reset=False, tensordict=state)
    expected = cost(predicted.unflatten(0, (BATCH, SAMPLES)), actions)
    assert expected.std() > 1e-3
    torch.testing.assert_close(-found["next", "reward"].sum((2, 3)), expected, rtol=1e-4, atol=1e-5)


def test_cem_plans_there_what_ours_plans_with_its_settings(model, images):
    cost = RewardCost(_Share(), step=0)
    ours = CEM(SIGNED, HORIZON, 40, 8, 3, deviation=1.0, seed=5, momentum=0.0, execute="mean")
    plan = ours.plan(model, model.encode(images), cost)
    planner = CEMPlanner(PlanningEnv(model, SIGNED, cost), HORIZON, 3, 40, 8)
    with torch.random.fork_rng():
        torch.manual_seed(5)
        found = planner(planner.env.begin(images))["action"]
    torch.testing.assert_close(plan.first, found, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("kind", ["cem", "mppi"])
def test_exact_dynamics_lead_to_the_reward(images, kind):
    env = PlanningEnv(ExactModel(), SIGNED, RewardCost(ExactModel()))
    if kind == "cem":
        planner = CEMPlanner(env, planning_horizon=5, optim_steps=4, num_candidates=200, top_k=20)
    else:
        planner = MPPIPlanner(
            env, RolloutReturn(), 20.0, planning_horizon=5, optim_steps=4, num_candidates=200, top_k=20
        )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        action = planner(env.begin(images))["action"][:, 0]
    assert action.shape == (9,)
    assert (action[:TARGET] > 0).all()
    assert (action[TARGET + 1 :] < 0).all()


def test_choices_are_refused(model):
    with pytest.raises(PlanningError, match="sample normal distributions, and these actions are choices"):
        PlanningEnv(model, Discrete([2]), RewardCost(model))
    with pytest.raises(PlanningError, match="a model has no starts"):
        PlanningEnv(model, SIGNED, RewardCost(model)).reset()
