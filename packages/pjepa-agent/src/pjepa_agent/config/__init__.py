"""Schema, presets and reading of config.json. Imports no PyTorch."""

from pjepa_agent.config.fields import ConfigError
from pjepa_agent.config.presets import PRESETS, make_config
from pjepa_agent.config.schema import EXPERIMENTS, Config

__all__ = ["EXPERIMENTS", "PRESETS", "Config", "ConfigError", "make_config"]
