"""P-JEPA: encoder, latent dynamics and an auxiliary head, trained jointly with TorchRL and TensorDict.

>>> from pjepa_agent import load
>>> model = load("runs/NAME")                 # doctest: +SKIP
>>> z = model.encode(images)                  # doctest: +SKIP

>>> from pjepa_agent import fit
>>> model = fit(data, auxiliary="reward")     # doctest: +SKIP
"""

import importlib
from typing import TYPE_CHECKING, Any

from bisim_theory._aliases import install

from pjepa_agent import _aliases

if TYPE_CHECKING:
    from pjepa_agent.config.presets import make_config
    from pjepa_agent.config.schema import Config
    from pjepa_agent.fitting import fit
    from pjepa_agent.model import PJEPA
    from pjepa_agent.run import train_run as train
    from pjepa_agent.runs.checkpoint import load
    from pjepa_agent.runs.directory import RunDirectory

__version__ = "0.1.0"

__all__ = ["PJEPA", "Config", "RunDirectory", "fit", "load", "make_config", "train"]

_HOMES = {
    "PJEPA": "pjepa_agent.model.PJEPA",
    "Config": "pjepa_agent.config.schema.Config",
    "RunDirectory": "pjepa_agent.runs.directory.RunDirectory",
    "fit": "pjepa_agent.fitting.fit",
    "load": "pjepa_agent.runs.checkpoint.load",
    "make_config": "pjepa_agent.config.presets.make_config",
    "train": "pjepa_agent.run.train_run",
}


def __getattr__(name: str) -> Any:
    # PyTorch takes seconds to import, and `pjepa-train --help` need not wait for it.
    if name in _HOMES:
        module, _, attribute = _HOMES[name].rpartition(".")
        return getattr(importlib.import_module(module), attribute)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


install(__name__, _aliases.MODULES)
