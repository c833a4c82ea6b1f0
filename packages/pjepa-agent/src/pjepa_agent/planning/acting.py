"""Acting with the model that is trained: by planning, or by its policy prior."""

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pjepa_agent.collection.acting import Actor, Seen, Values
from pjepa_agent.compute.random import random_stream
from pjepa_agent.config.fields import ConfigError
from pjepa_agent.config.schema import RANDOM_AUXILIARIES, Config
from pjepa_agent.envs.acting import Acting
from pjepa_agent.envs.actions import Numbers
from pjepa_agent.envs.base import Spec
from pjepa_agent.model import PJEPA
from pjepa_agent.networks.control import ControlHeads
from pjepa_agent.objectives.base import EncoderObjective
from pjepa_agent.objectives.registry import objective_class
from pjepa_agent.objectives.tdmpc2 import TDMPC2Objective
from pjepa_agent.planning.base import Cost, Dynamics, Plan
from pjepa_agent.planning.costs import STEP, ReturnCost, RewardCost
from pjepa_agent.planning.icem import ICEM
from pjepa_agent.planning.mppi import MPPI
from pjepa_agent.planning.question import no_reward, untrained_dynamics
from pjepa_agent.planning.registry import action_space, planner_settings
from pjepa_agent.planning.sampling import SamplingPlanner
from pjepa_agent.planning.spaces import Discrete, Space

MOST_CHOICES = 64
"""Most combinations of discrete actions whose values are compared where there is no policy prior."""

SETTINGS: Mapping[type[SamplingPlanner], Mapping[str, Any]] = {ICEM: {"horizon": 6}, MPPI: {"horizon": 3}}
"""Settings of the planners where `collection.planning` has no other, besides their own: TD-MPC2 plans three steps."""


def check_acting(config: Config, spec: Spec) -> None:
    """Raise `ConfigError` unless the model of a configuration can act while it trains, if it is to.

    Args:
        config: of a run.
        spec: shapes of the world.
    """
    if not config.collection.acts:
        return
    objective, policy = config.objective, f"collection.policy={config.collection.policy}"
    acting = Acting(config.collection, spec)
    if isinstance(acting.actions, Numbers) and acting.actions.low is None:
        raise ConfigError(
            f"{policy}: {acting.name} has actions without bounds, among which nothing can be chosen; name a "
            "module:function that returns the environment with gymnasium.wrappers.RescaleAction"
        )
    unfit = objective.auxiliary in RANDOM_AUXILIARIES or ":bins:" in objective.auxiliary
    if unfit or "reward:actions" in objective.auxiliary:
        raise ConfigError(
            f"{policy}: auxiliary {objective.auxiliary} is fitted to data that is whole, and this is collected while "
            "training; choose another --auxiliary"
        )
    if config.collection.policy == "prior":
        _check_prior(config, spec, policy)
        return
    _check_planning(config, policy)
    _make_planner(config, action_space(acting, lambda: np.zeros((0, spec.action_dim))))


def make_actor(config: Config, acting: Acting, model: PJEPA, objective: EncoderObjective, seed: int) -> Actor:
    """Make what acts as configured.

    Args:
        config: of the run.
        acting: the world.
        model: that is trained.
        objective: that trains it, with heads of its own where it has any.
        seed: fixes the random numbers.
    """
    heads = objective.heads if isinstance(objective, TDMPC2Objective) else model.control
    if config.collection.policy == "prior":
        assert heads is not None
        return PriorActor(model, heads, seed)
    space = action_space(acting, lambda: np.zeros((0, model.spec.action_dim)))
    planner = _make_planner(config, space)
    if isinstance(objective, TDMPC2Objective):
        return TDMPC2Actor(model, objective, planner, config.objective.discount, seed)
    arrives = True if acting.counting or config.objective.auxiliary.startswith("terminated") else None
    return PlanningActor(model, planner, config.objective.discount, seed, arrives)


class PriorActor:
    """Sample the policy prior.

    Args:
        model: E.
        heads: with the policy prior.
        seed: fixes the samples.
    """

    def __init__(self, model: PJEPA, heads: ControlHeads, seed: int) -> None:
        self._model, self._heads, self._seed = model, heads, seed

    def act(self, observations: NDArray[Any], fresh: NDArray[np.bool_], step: int, seen: Seen) -> Values:
        """Sample an action for every observation."""
        with _deciding(self._seed, step, self._model, self._heads):
            embedding = self._model.encode(observations).to(self._model.device)
            return _array(self._heads.unscaled(self._heads.act(embedding)[0]))

    def state_dict(self) -> dict[str, Tensor]:
        """Return nothing: each decision is one of its own."""
        return {}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Do nothing."""


class PlanningActor:
    """Plan in all environments at once, for what P decodes; each plan starts from that of the step before.

    Args:
        model: E, T and P.
        planner: plans.
        discount: of a step.
        seed: fixes the samples.
        arrives: p is the probability that an episode ends in success; None where the rewards have to say so: they are
            then summed up, unless each reward above 0 has ended its episode.
    """

    def __init__(
        self, model: PJEPA, planner: SamplingPlanner, discount: float, seed: int, arrives: bool | None = None
    ) -> None:
        self._model, self._planner, self._discount, self._seed = model, planner, discount, seed
        self._arrives = arrives
        self._plan: Plan | None = None

    def act(self, observations: NDArray[Any], fresh: NDArray[np.bool_], step: int, seen: Seen) -> Values:
        """Plan from every observation."""
        with _deciding(self._seed, step, self._model, *self._modules):
            embedding = self._model.encode(observations).to(self._model.device)
            previous = None if self._plan is None else self._planner.forget(self._plan, torch.from_numpy(fresh))
            planner = dataclasses.replace(self._planner, seed=_decision_seed(self._seed, step))
            self._plan = planner.plan(self._dynamics, embedding, self._cost(embedding, seen), previous)
            return _array(self._plan.first)

    @property
    def _modules(self) -> tuple[nn.Module, ...]:
        return ()

    @property
    def _dynamics(self) -> Dynamics:
        return self._model

    def _cost(self, embedding: Tensor, seen: Seen) -> Cost:
        arrives = seen.ends and seen.within if self._arrives is None else self._arrives
        return RewardCost(self._model, self._discount, STEP, arrives)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the plan of the last step."""
        if self._plan is None:
            return {}
        plan = self._plan
        memory = {f"memory.{name}": value.cpu() for name, value in plan.memory.items()}
        return {"actions": plan.actions.cpu(), "predicted": plan.predicted.cpu(), "cost": plan.cost.cpu()} | memory

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Start from a plan, if there is one."""
        if not state:
            return
        own = {name: value.to(self._model.device) for name, value in state.items()}
        memory = {name.removeprefix("memory."): own[name] for name in own if name.startswith("memory.")}
        self._plan = Plan(own["actions"], own["predicted"], own["cost"], 0, memory)


class TDMPC2Actor(PlanningActor):
    """Plan as TD-MPC2 does: for predicted rewards and Q at the end of the horizon, with the policy prior's sequences.

    Discrete actions have no policy prior: Q is then the largest of all choices, or of some drawn ones where these are
    more than `MOST_CHOICES`.

    Args:
        model: E and T.
        objective: with the heads.
        planner: plans.
        discount: of a step.
        seed: fixes the samples.
    """

    def __init__(
        self, model: PJEPA, objective: TDMPC2Objective, planner: SamplingPlanner, discount: float, seed: int
    ) -> None:
        super().__init__(model, planner, discount, seed)
        self._objective, self._heads = objective, objective.heads

    def rollout(self, embedding: Tensor, actions: Tensor) -> Tensor:
        """Predict as T does."""
        return self._model.rollout(embedding, actions)

    def given(self, action: Tensor) -> Tensor:
        """Return what T is given of actions."""
        return self._model.given(action)

    def propose(self, embedding: Tensor, sequences: int, horizon: int) -> Tensor:
        """Act by the policy prior along its own predictions."""
        latent, taken = embedding.repeat_interleave(sequences, 0), []
        for _ in range(horizon):
            taken.append(self._heads.unscaled(self._heads.act(latent)[0]))
            latent = self._model.transition(latent, taken[-1])
        return torch.stack(taken, 1).unflatten(0, (len(embedding), sequences))

    @property
    def _modules(self) -> tuple[nn.Module, ...]:
        return (self._objective,)

    @property
    def _dynamics(self) -> Dynamics:
        return self if self._objective.has_policy else self._model

    def _cost(self, embedding: Tensor, seen: Seen) -> Cost:
        return ReturnCost(self._reward, self._value, embedding, self._discount)

    def _reward(self, embedding: Tensor, action: Tensor) -> Tensor:
        heads = self._heads
        return heads.reward.decode(heads.reward(heads.joined(embedding, action)))

    def _value(self, embedding: Tensor) -> Tensor:
        heads = self._heads
        if self._objective.has_policy:
            return heads.value(embedding, heads.act(embedding)[0])
        choices = _choices(self._planner.space).to(embedding)
        of_each = embedding.repeat_interleave(len(choices), 0)
        value = heads.value(of_each, choices.repeat(len(embedding), 1))
        return value.view(-1, len(choices)).amax(1)


def _choices(space: Space) -> Tensor:
    """Return discrete actions (K, A), scaled as the heads are given them."""
    assert isinstance(space, Discrete)
    if space.combinations <= MOST_CHOICES:
        samples = space.all_choices()
    else:
        samples = space.uniform(1, MOST_CHOICES, 1, torch.Generator().manual_seed(0))[0, :, 0]
    return space.values(samples)


def _make_planner(config: Config, space: Space) -> SamplingPlanner:
    """Make the planner of a configuration: MPPI of the objective of TD-MPC2, iCEM of the others.

    Raises:
        ConfigError: a setting is unknown, of another type or out of bounds.
    """
    kind = MPPI if issubclass(objective_class(config), TDMPC2Objective) else ICEM
    allowed = planner_settings(kind(space))
    given, where = config.collection.planning, "collection.planning: "
    for name, value in given.items():
        if name not in allowed or name == "seed":
            raise ConfigError(f"{where}{name}: is no setting; choose of {', '.join(sorted(set(allowed) - {'seed'}))}")
        wanted = type(allowed[name])
        if isinstance(value, bool) or not isinstance(value, (int, float) if wanted is float else wanted):
            raise ConfigError(f"{where}{name}={value!r}: must be of type {wanted.__name__}")
    try:
        return kind(space, **{**SETTINGS[kind], **given})
    except ConfigError as error:
        raise ConfigError(f"{where}{error}") from None


def _check_prior(config: Config, spec: Spec, policy: str) -> None:
    if not issubclass(objective_class(config), TDMPC2Objective) and not config.network.control_heads:
        raise ConfigError(
            f"{policy}: objective {config.objective.name} has no policy prior; choose --objective tdmpc2, or "
            "network.control_heads=true"
        )
    if not config.counting and spec.action_low is None:
        raise ConfigError(f"{policy}: discrete actions have no policy prior; choose collection.policy=planner")


def _check_planning(config: Config, policy: str) -> None:
    if untrained := untrained_dynamics(config.objective):
        raise ConfigError(f"{policy}: {untrained}=0, so that nothing trains T, with which it plans")
    if issubclass(objective_class(config), TDMPC2Objective):
        if config.objective.arguments.get("reward_weight") == 0:
            raise ConfigError(f"{policy}: objective.arguments.reward_weight=0, so that no reward is learnt")
        return
    if reason := no_reward(config.objective):
        raise ConfigError(f"{policy}: P predicts {reason}; choose --auxiliary reward or terminated")


@contextlib.contextmanager
def _deciding(seed: int, step: int, *modules: nn.Module) -> Iterator[None]:
    """Decide in evaluation mode, without gradients, with random numbers that the step fixes."""
    device = next(modules[0].parameters()).device
    modes = [module.training for module in modules]
    for module in modules:
        module.eval()
    try:
        with random_stream(seed, "acting", step, device=device), torch.no_grad():
            yield
    finally:
        for module, training in zip(modules, modes, strict=True):
            module.train(training)


def _decision_seed(seed: int, step: int) -> int:
    """Return the seed of the planner's samples at a step."""
    return int(np.random.SeedSequence([seed, 6, step]).generate_state(1)[0] >> 1)


def _array(actions: Tensor) -> Values:
    return actions.float().cpu().numpy()
