"""The form of config.json: its schema, the presets, and how fields are read. Imports no PyTorch."""

from pjepa_agent.config.fields import ConfigError
from pjepa_agent.config.presets import PRESETS, make_config
from pjepa_agent.config.schema import EXPERIMENTS, Config

__all__ = ["EXPERIMENTS", "PRESETS", "Config", "ConfigError", "make_config"]
