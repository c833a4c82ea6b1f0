"""The world that a configuration names."""

from pjepa_agent.config.schema import CollectionConfig
from pjepa_agent.envs.base import Domain
from pjepa_agent.envs.counting import CountingDomain


def make_domain(config: CollectionConfig) -> Domain:
    """Make the world that a configuration names."""
    return CountingDomain(config)
