"""The transitions of a run that are collected before training."""

import dataclasses
from collections.abc import Callable
from typing import Any

from bisim_theory import TransitionDataset

from pjepa_agent.auxiliary import Auxiliary
from pjepa_agent.compute.processes import SINGLE_PROCESS, Processes
from pjepa_agent.config.schema import Config
from pjepa_agent.envs.registry import make_domain


def collect_dataset(
    config: Config, processes: Processes = SINGLE_PROCESS, prefetched: Callable[[], TransitionDataset] | None = None
) -> TransitionDataset:
    """Collect this process's transitions and attach p of every source.

    Args:
        config: of the run.
        processes: the processes that train it.
        prefetched: returns this process's transitions, if they are being collected already.
    """
    data = prefetched() if prefetched else make_domain(config.collection).collect(processes.seed(config.seed))
    assert data.observation is not None
    auxiliary = Auxiliary(config, processes)
    values = auxiliary(data.observation, data.labels)
    return dataclasses.replace(data, auxiliary=values[data.source], metadata=metadata(config, auxiliary))


def metadata(config: Config, auxiliary: Auxiliary) -> dict[str, Any]:
    """Describe the environment and p, for a run's ``transitions.npz``."""
    return {"environment": config.collection.environment} | auxiliary.metadata
