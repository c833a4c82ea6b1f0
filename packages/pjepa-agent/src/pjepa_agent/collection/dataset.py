"""The transitions of a run that are collected before training."""

import dataclasses
from collections.abc import Callable
from typing import Any

from bisim_theory import TransitionDataset

from pjepa_agent.auxiliary import Auxiliary
from pjepa_agent.compute.processes import SINGLE_PROCESS, Processes
from pjepa_agent.config.schema import Config
from pjepa_agent.envs.base import Spec
from pjepa_agent.envs.registry import collect_world, make_domain
from pjepa_agent.envs.splits import hold_out


def collect_dataset(
    config: Config,
    processes: Processes = SINGLE_PROCESS,
    prefetched: Callable[[], TransitionDataset] | None = None,
    spec: Spec | None = None,
) -> TransitionDataset:
    """Collect this process's transitions and attach p.

    Args:
        config: of the run.
        processes: the processes that train it.
        prefetched: returns this process's transitions, if they are being collected already.
        spec: of the run, whose bins p has if they are known; else they are of these transitions, and in the metadata.
    """
    auxiliary = Auxiliary(config, processes, (spec.auxiliary_bins if spec else None) or None)
    seed = processes.seed(config.seed)
    if not config.counting:
        data = auxiliary.attach(split_world(config, seed)[0])
    else:
        data = auxiliary.attach(prefetched() if prefetched else make_domain(config.collection).collect(seed))
    return dataclasses.replace(data, metadata={**data.metadata, **metadata(config, auxiliary)})


def split_world(config: Config, seed: int) -> tuple[TransitionDataset, TransitionDataset]:
    """Collect from a world other than the counting one, without p: transitions to train on, and held-out ones.

    p is attached to each part by itself, so that its bins are of the transitions that are trained on.

    Raises:
        ConfigError, DatasetError: see `make_domain`; or there are too few episodes.
    """
    return hold_out(collect_world(config.collection, seed), config.collection.held_out, seed)


def metadata(config: Config, auxiliary: Auxiliary) -> dict[str, Any]:
    """Describe the world and p, for a run's ``transitions.npz``."""
    collection = config.collection
    world = {"dataset": collection.dataset} if collection.dataset else {"environment": collection.environment}
    return world | auxiliary.metadata
