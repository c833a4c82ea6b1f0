"""The transitions of a run that are collected before training."""

import dataclasses
from collections.abc import Callable
from typing import Any

from bisim_theory import TransitionDataset

from pjepa_agent.auxiliary import Auxiliary
from pjepa_agent.compute.processes import SINGLE_PROCESS, Processes
from pjepa_agent.config.schema import Config
from pjepa_agent.envs.registry import collect_world, make_domain


def collect_dataset(
    config: Config, processes: Processes = SINGLE_PROCESS, prefetched: Callable[[], TransitionDataset] | None = None
) -> TransitionDataset:
    """Collect this process's transitions and attach p.

    Args:
        config: of the run.
        processes: the processes that train it.
        prefetched: returns this process's transitions, if they are being collected already.
    """
    seed = processes.seed(config.seed)
    if not config.counting:
        data = collect_world(config.collection, seed)[0]
    else:
        data = prefetched() if prefetched else make_domain(config.collection).collect(seed)
    auxiliary = Auxiliary(config, processes)
    data = auxiliary.attach(data)
    return dataclasses.replace(data, metadata={**data.metadata, **metadata(config, auxiliary)})


def metadata(config: Config, auxiliary: Auxiliary) -> dict[str, Any]:
    """Describe the world and p, for a run's ``transitions.npz``."""
    collection = config.collection
    world = {"dataset": collection.dataset} if collection.dataset else {"environment": collection.environment}
    return world | auxiliary.metadata
