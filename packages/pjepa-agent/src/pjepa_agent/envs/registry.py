"""The world that a configuration names."""

import dataclasses
import functools
import json

from bisim_theory import DatasetError, TransitionDataset

from pjepa_agent.config.schema import COUNTING, GIVEN, CollectionConfig
from pjepa_agent.envs.base import Domain
from pjepa_agent.envs.counting import CountingDomain
from pjepa_agent.envs.dataset import DatasetDomain
from pjepa_agent.envs.gymnasium_domain import GymnasiumDomain

WorldDomain = GymnasiumDomain | DatasetDomain
"""A world other than the counting one, of which whole episodes are held out."""


def make_domain(config: CollectionConfig) -> CountingDomain | WorldDomain:
    """Return the world that a configuration names, the same one for equal configurations, which is read once.

    Raises:
        ConfigError: there is no such world.
        DatasetError: the dataset was given as an object.
    """
    return _make_domain(_text(config))


def _text(config: CollectionConfig) -> str:
    """Return the text of a configuration, the same one for all that differ in what a dataset has nothing of."""
    if config.dataset:  # which is taken whole
        config = dataclasses.replace(config, transitions=CollectionConfig.transitions)
    return json.dumps(dataclasses.asdict(config))


@functools.lru_cache(maxsize=4)
def _make_domain(text: str) -> CountingDomain | WorldDomain:
    config = CollectionConfig(**json.loads(text))
    if config.dataset == GIVEN:
        raise DatasetError(
            "collection.dataset: was given as an object, which cannot be found again by a name, and the run does not "
            "hold all of it; give it once more, to fit(data, ..., run=RUN)"
        )
    if config.dataset:
        return DatasetDomain(config)
    if config.environment.rpartition(":")[2] == COUNTING:
        return CountingDomain(config)
    return GymnasiumDomain(config)


def collect_world(config: CollectionConfig, seed: int) -> TransitionDataset:
    """Collect from a world other than the counting one, all of it, with the episodes that will be held out.

    The latest is remembered, since training and measuring ask one after the other.

    Raises:
        ConfigError, DatasetError: see the domain.
    """
    return _collect_world(_text(config), seed)


@functools.lru_cache(maxsize=1)
def _collect_world(text: str, seed: int) -> TransitionDataset:
    domain: Domain = _make_domain(text)
    return domain.collect(seed)
