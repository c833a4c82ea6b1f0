"""Check before training that the data has what the objective needs, and that an objective of the user's works."""

import logging
import math

import numpy as np
import torch
from bisim_theory import DatasetError, TransitionDataset
from bisim_theory.data.action_codes import ActionCodes
from bisim_theory.data.imported import describe_error
from bisim_theory.data.left_out import because_left_out
from bisim_theory.data.parts import take_frames, take_rows
from torch import Tensor

from pjepa_agent.collection.replay import DatasetReplay
from pjepa_agent.compute.processes import Processes
from pjepa_agent.config.fields import ConfigError
from pjepa_agent.config.schema import Config
from pjepa_agent.envs.base import Spec
from pjepa_agent.model import PJEPA
from pjepa_agent.networks.actions import GivenActions
from pjepa_agent.networks.encoders import EncoderFactory
from pjepa_agent.objectives.base import Batch, EncoderObjective, Setup, Terms, weighted_sum
from pjepa_agent.objectives.registry import CLASSES, check_horizon, make_objective, make_settings, objective_class
from pjepa_agent.runs.metrics import READOUT_LOSSES, TOTAL_LOSS

logger = logging.getLogger("pjepa_agent")

TRIED = 8
"""Transitions on which an objective of the user's is tried."""

MOST_CODES = 4_096
"""Most different codes of actions that an objective can be given."""

NO_ACTIONS = "holds a single action, which nothing can be learnt of; collect others too"


def action_codes(data: TransitionDataset | None, processes: Processes) -> tuple[int, ...]:
    """Return the codes of the actions of rank 0's transitions, sorted; the counting world's where none are given.

    An objective is given no more than `MOST_CODES`: of more, none.
    """
    if data is None:
        return 0, 1
    codes = torch.from_numpy(np.unique(data.action).astype(np.int64))
    count = int(processes.broadcast(torch.tensor([len(codes)])))
    if count > MOST_CODES:
        return ()
    of_rank_0 = torch.zeros(count, dtype=torch.int64)
    of_rank_0[: len(codes)] = codes[:count]
    return tuple(processes.broadcast(of_rank_0).tolist())


def check_data(config: Config, spec: Spec, data: TransitionDataset) -> None:
    """Raise `DatasetError` unless the data has what the configuration needs; warn where it can learn nothing.

    Args:
        config: of the run.
        spec: shapes of the world.
        data: the transitions of the training.

    Raises:
        ConfigError: the objective cannot be made.
    """
    needs, who = objective_class(config).needs, f"objective {config.objective.name}"
    for name in ("reward", "terminated"):
        if name in needs:
            _check_column(data, name, who, config.collection.dataset)
    reward = data.reward
    if "reward" in needs and reward is not None and (reward == reward[0]).all():
        logger.warning("reward: is %g in all %d transitions, so %s learns nothing of it", reward[0], len(reward), who)
    if "action" in needs:
        _check_actions(data, who)
    check_given_codes(config, spec, data)
    horizon = config.objective.horizon
    if horizon > 1 and longest_sequence(data) < horizon:
        raise DatasetError(
            f"{who}: needs sequences of {horizon} transitions (objective.horizon), and the longest here has "
            f"{longest_sequence(data)}; lower objective.horizon, or give longer episodes, in order"
        )


def check_given_codes(config: Config, spec: Spec, data: TransitionDataset) -> None:
    """Raise `DatasetError` unless T can be given the codes of the data's actions, where it shall be.

    Args:
        config: of the run.
        spec: shapes of the world.
        data: transitions with the numbers of their actions.
    """
    if config.network.action == "value" or data.action_value is None:
        return
    made = ActionCodes.of(data.metadata)
    if spec.action_codes is None and made is not None and made.bins is not None:
        raise DatasetError(
            "network.action=code: actions have no bounds, so their bins are not known before all are collected; choose "
            "collection.actions=sign, bound the environment's actions, or leave network.action=value"
        )
    values = torch.tensor(np.asarray(data.action_value, np.float32))
    given = GivenActions(spec.action_low, spec.action_high, spec.action_codes).given(values).numpy()
    _, first, which = np.unique(data.action, return_index=True, return_inverse=True)
    of_code = given[first]
    if (given != of_code[which]).any() or len(np.unique(of_code, axis=0)) < len(first):
        raise DatasetError(
            "network.action=code: the data does not say how its action codes are made of its action values "
            "(action_codes in the metadata), so T cannot be given them; leave network.action=value"
        )


def _check_column(data: TransitionDataset, name: str, who: str, file: str) -> None:
    if getattr(data, name) is None:
        raise DatasetError(
            f"{f'{file}: ' if file else ''}{name}: is missing, and {who} needs it; give data with it, or another "
            f"--objective{because_left_out(data.metadata, [name, f'{name}s'])}"
        )


def _check_actions(data: TransitionDataset, who: str) -> None:
    codes = len(np.unique(data.action))
    if codes == 1:
        raise DatasetError(f"action: {who} needs at least two, and this data {NO_ACTIONS}")
    if codes > MOST_CODES:
        raise DatasetError(
            f"action: {who} tells codes apart, and these are {codes}, more than {MOST_CODES}; use fewer bins, as with "
            "collection.actions=sign"
        )


def longest_sequence(data: TransitionDataset) -> int:
    """Return the most transitions, one after the other in the data, of which each begins where the last one ended."""
    breaks = np.flatnonzero(data.source[1:] != data.successor[:-1]) + 1
    return int(np.diff(np.concatenate([[0], breaks, [len(data)]])).max())


def check_objective(config: Config, spec: Spec, data: TransitionDataset, encoder: EncoderFactory | None = None) -> None:
    """Check that the configured objective can be used, before anything is written.

    One of the user's is computed on a few transitions, and a gradient of it.

    Args:
        config: of the run.
        spec: shapes of the world.
        data: transitions with p, at least two, of which the first are used.
        encoder: makes E, where the configuration does not name it.

    Raises:
        ConfigError: it cannot be imported, made or computed, its names or shapes are wrong, or it trains no encoder.
        DatasetError: the data lacks a column that it needs.
    """
    found = objective_class(config)
    make_settings(config)
    check_horizon(config, found)
    for name in sorted(set(found.needs) - {"action"}):
        _check_column(data, name, f"objective {config.objective.name}", config.collection.dataset)
    if config.objective.name in CLASSES:
        return
    few = take_frames(take_rows(data, np.arange(min(len(data), TRIED))))
    with torch.random.fork_rng(devices=[]):
        model = PJEPA.untrained(config, spec, encoder).train()
        objective = make_objective(Setup(config, spec, model.core, tuple(np.unique(few.action).tolist())))
        batch = DatasetReplay(few, len(few), 0, torch.device("cpu"), config.objective.horizon).sample()
        _try(objective, model, dict(batch.items()), f"objective {config.objective.name}")


def _try(objective: EncoderObjective, model: PJEPA, batch: Batch, who: str) -> None:
    unknown = sorted(set(objective.trains) - {"dynamics", "head"})
    if unknown:
        raise ConfigError(f"{who}: trains {', '.join(unknown)}; T is called dynamics, P is called head")
    try:
        terms = objective.terms(model.with_parts({"encoder", *objective.trains}), batch)
        weights = objective.weights_at(1.0)
    except (Exception, SystemExit) as error:  # code of the user's can raise anything
        raise ConfigError(f"{who}: fails on its first batch: {describe_error(error)}") from error
    if not isinstance(terms, Terms) or not isinstance(terms.losses, dict) or not terms.losses:
        raise ConfigError(f"{who}: terms must return Terms(losses, embedding), the losses a dictionary by name")
    _check_losses(terms.losses, who)
    shape = (*batch["observation"].shape[1::-1], model.latent_dim)
    if not isinstance(terms.embedding, Tensor) or terms.embedding.shape != shape:
        found = tuple(getattr(terms.embedding, "shape", ()))
        raise ConfigError(
            f"{who}: embedding is {found}, must be {tuple(shape)}: that of every observation of the batch"
        )
    try:
        total = weighted_sum(terms.losses, weights)
    except ValueError as error:
        raise ConfigError(f"{who}: {error}") from None
    if not total.requires_grad:
        raise ConfigError(f"{who}: no gradient reaches anything; detach less")
    total.backward()
    if all(p.grad is None for p in model.encoder.parameters()):
        raise ConfigError(f"{who}: no gradient reaches the encoder; detach fewer of the embeddings")
    try:
        objective.after_step(model)
    except (Exception, SystemExit) as error:
        raise ConfigError(f"{who}: after_step raised {describe_error(error)}") from error


def _check_losses(losses: dict[str, Tensor], who: str) -> None:
    for name, loss in losses.items():
        if f"losses/{name}" in {TOTAL_LOSS, *READOUT_LOSSES}:
            raise ConfigError(f"{who}: loss {name!r} has the name of a loss of this package; choose another")
        if not isinstance(loss, Tensor) or loss.shape != () or not loss.is_floating_point():
            raise ConfigError(f"{who}: loss {name!r} must be one floating-point number, a tensor of shape ()")
        if not math.isfinite(value := float(loss.detach())):
            raise ConfigError(f"{who}: loss {name!r} is {value} on the first batch")
