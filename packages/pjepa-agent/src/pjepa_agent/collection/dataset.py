"""The transitions of a run that are collected before training."""

import dataclasses
from collections.abc import Callable
from typing import Any

from bisim_theory import TransitionDataset

from pjepa_agent.auxiliary import Auxiliary
from pjepa_agent.compute.processes import SINGLE_PROCESS, Processes
from pjepa_agent.config.schema import Config
from pjepa_agent.envs.registry import collect_world, make_domain
from pjepa_agent.envs.splits import hold_out


def collect_dataset(
    config: Config, processes: Processes = SINGLE_PROCESS, prefetched: Callable[[], TransitionDataset] | None = None
) -> TransitionDataset:
    """Collect this process's transitions and attach p.

    Args:
        config: of the run.
        processes: the processes that train it.
        prefetched: returns this process's transitions, if they are being collected already.
    """
    seed, auxiliary = processes.seed(config.seed), Auxiliary(config, processes)
    if not config.counting:
        data = split_world(config, auxiliary, seed)[0]
    else:
        data = auxiliary.attach(prefetched() if prefetched else make_domain(config.collection).collect(seed))
    return dataclasses.replace(data, metadata={**data.metadata, **metadata(config, auxiliary)})


def split_world(config: Config, auxiliary: Auxiliary, seed: int) -> tuple[TransitionDataset, TransitionDataset]:
    """Collect from a world other than the counting one, with p: transitions to train on, and held-out ones.

    p is attached to all of them before they are divided, so that its bins are the same in both parts.

    Raises:
        ConfigError, DatasetError: see `make_domain` and `Auxiliary.attach`; or there are too few episodes.
    """
    data = auxiliary.attach(collect_world(config.collection, seed))
    return hold_out(data, config.collection.held_out, seed)


def metadata(config: Config, auxiliary: Auxiliary) -> dict[str, Any]:
    """Describe the world and p, for a run's ``transitions.npz``."""
    collection = config.collection
    world = {"dataset": collection.dataset} if collection.dataset else {"environment": collection.environment}
    return world | auxiliary.metadata
