"""Planners by name, for the actions of an environment."""

import dataclasses
import logging
from collections.abc import Callable, Iterable
from typing import Any

import torch
from numpy.typing import NDArray

from pjepa_agent.config.fields import ConfigError, parse_value
from pjepa_agent.envs.acting import Acting
from pjepa_agent.envs.actions import Choices
from pjepa_agent.planning.base import Planner
from pjepa_agent.planning.cem import CEM
from pjepa_agent.planning.exhaustive import Exhaustive
from pjepa_agent.planning.icem import ICEM
from pjepa_agent.planning.mppi import MPPI
from pjepa_agent.planning.spaces import Continuous, Discrete, Space

logger = logging.getLogger("pjepa_agent")

PLANNERS: dict[str, Callable[..., Planner]] = {"icem": ICEM, "cem": CEM, "mppi": MPPI, "exhaustive": Exhaustive}
"""Planners by name."""

ACTIONS = ("space", "choices")
"""Fields of planners that an environment's actions decide."""


def make_planner(
    name: str,
    acting: Acting,
    taken: Callable[[], NDArray[Any]],
    horizon: int,
    seed: int,
    settings: Iterable[str] = (),
) -> Planner:
    """Make the planner of a name for the actions of a world.

    Args:
        name: in `PLANNERS`.
        acting: the world.
        taken: returns actions (N, A) of the run, for ranges that the world leaves open.
        horizon: steps that are predicted.
        seed: of the samples.
        settings: ``NAME=VALUE`` of the planner.

    Raises:
        ConfigError: a setting has another form, or cannot be used.
    """
    kind = PLANNERS[name]
    given = {"horizon": horizon, "seed": seed} | _read_settings(kind, settings)
    if kind is Exhaustive:
        return kind(torch.from_numpy(acting.choices(taken())), **given)
    return kind(action_space(acting, taken), **given)


def action_space(acting: Acting, taken: Callable[[], NDArray[Any]]) -> Space:
    """Return the space of a world's actions, within the range of the actions (N, A) taken where it has no bounds."""
    actions = acting.actions
    if isinstance(actions, Choices):
        return Discrete(actions.counts.tolist(), actions.one_hot)
    if actions.low is not None and actions.high is not None:
        return Continuous(actions.low, actions.high)
    logger.info("actions have no bounds; they are planned within the range of the run's transitions")
    values = taken()
    return Continuous(values.min(0).tolist(), values.max(0).tolist())


def planner_settings(planner: Planner) -> dict[str, Any]:
    """Return the settings of a planner by name."""
    fields = dataclasses.fields(planner)  # type: ignore[arg-type]
    return {each.name: getattr(planner, each.name) for each in fields if each.name not in ACTIONS}


def _read_settings(kind: Any, settings: Iterable[str]) -> dict[str, Any]:
    fields = [each.name for each in dataclasses.fields(kind) if each.name not in (*ACTIONS, "horizon", "seed")]
    given = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not equals or name not in fields:
            raise ConfigError(f"--set {setting}: must be NAME=VALUE, the name one of {', '.join(fields) or 'none'}")
        given[name] = parse_value(text)
    return given
