"""The world that a configuration names."""

from pjepa_agent.config.fields import ConfigError
from pjepa_agent.config.schema import COUNTING, CollectionConfig
from pjepa_agent.envs.base import Domain
from pjepa_agent.envs.counting import CountingDomain
from pjepa_agent.envs.gymnasium_domain import GymnasiumDomain


def make_domain(config: CollectionConfig) -> Domain:
    """Make the world that a configuration names.

    Raises:
        ConfigError: there is no such world.
    """
    if config.dataset:
        raise ConfigError(f"collection.dataset={config.dataset!r}: datasets cannot be trained on yet")
    if config.environment.rpartition(":")[2] == COUNTING:
        return CountingDomain(config)
    return GymnasiumDomain(config)
