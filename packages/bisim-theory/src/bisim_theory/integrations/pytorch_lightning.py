"""``TheoremCallback`` for the trainer of ``pytorch_lightning``, which is Lightning under its other name.

Its arguments are those of `bisim_theory.integrations.trainer_hooks.TheoremHooks`. The package is imported with the
class, not with this module.
"""

from typing import Any

from bisim_theory.integrations.trainer_hooks import callback_class


def __getattr__(name: str) -> Any:
    if name != "TheoremCallback":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return callback_class("pytorch_lightning", __name__)
