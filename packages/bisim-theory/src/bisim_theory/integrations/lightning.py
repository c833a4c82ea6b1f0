"""``TheoremCallback`` for the trainer of ``lightning``, so for those of stable-pretraining and stable-worldmodel too.

Its arguments are those of `bisim_theory.integrations.trainer_hooks.TheoremHooks`. The package is imported with the
class, not with this module.
"""

from typing import Any

from bisim_theory.integrations.trainer_hooks import callback_class


def __getattr__(name: str) -> Any:
    if name != "TheoremCallback":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return callback_class("lightning.pytorch", __name__)
