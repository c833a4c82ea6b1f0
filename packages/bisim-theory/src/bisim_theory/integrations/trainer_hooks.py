"""The hooks of a Lightning callback, for whichever of its two packages the trainer is of."""

import functools
import importlib
from collections.abc import Callable
from typing import Any

from bisim_theory.console import install_extra
from bisim_theory.data.transitions import DatasetError
from bisim_theory.integrations.watch import Watch
from bisim_theory.monitor.theorem_monitor import TheoremMonitor


class TheoremHooks(Watch):
    """Measure the module of a trainer, log into its loggers, and warn as pairs begin to be collapsed.

    Measures are logged at ``trainer.global_step``, and are there for ``ModelCheckpoint(monitor=...)`` and the like.
    Every process measures, so that a sharded module can; the first one logs and warns.

    Args:
        monitor: the data that is watched.
        encode, predict, auxiliary: E, T and P as functions of the LightningModule and tensors; see `Watch`.
        every_n_train_steps: steps of the optimisers from one measurement to the next, from 0; None measures at the end
            of every validation.
    """

    def __init__(
        self,
        monitor: TheoremMonitor,
        encode: Callable[..., Any],
        predict: Callable[..., Any],
        auxiliary: Callable[..., Any] | None = None,
        *,
        every_n_train_steps: int | None = 200,
    ) -> None:
        super().__init__(monitor, encode, predict, auxiliary)
        if every_n_train_steps is not None and every_n_train_steps < 1:
            raise DatasetError(f"every_n_train_steps={every_n_train_steps}: must be at least 1, or None")
        self.every_n_train_steps = every_n_train_steps
        self._measured = -1

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Measure what the training begins with."""
        if self.every_n_train_steps is not None:
            self._log(trainer, pl_module)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any, **__: Any) -> None:
        """Measure where a multiple of `every_n_train_steps` was reached or passed, as by several optimisers."""
        every = self.every_n_train_steps
        if every is not None and trainer.global_step // every > self._measured // every:
            pl_module.log_dict(self._log(trainer, pl_module), logger=False, on_step=True, on_epoch=False, batch_size=1)

    def on_validation_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Measure at the end of a validation, if so chosen."""
        if self.every_n_train_steps is None and not trainer.sanity_checking:
            pl_module.log_dict(self._log(trainer, pl_module), logger=False, batch_size=1)

    def _log(self, trainer: Any, pl_module: Any) -> dict[str, float]:
        """Measure, and write into the loggers of the trainer."""
        step = self._measured = trainer.global_step
        measures = self.measure(pl_module, step, quiet=not trainer.is_global_zero)
        if measures is None:
            return {}
        for logger in trainer.loggers:
            logger.log_metrics(measures.numbers, step=step)
        return measures.numbers


@functools.cache
def callback_class(package: str, module: str) -> type:
    """Make the class of a callback for the trainer of a package.

    Args:
        package: the module that has its ``Callback``.
        module: where the class is found, for pickling.

    Raises:
        ImportError: the package is not installed; the message names the extra.
    """
    try:
        base = importlib.import_module(package).Callback
    except ModuleNotFoundError:
        raise ImportError(
            f"{module}.TheoremCallback needs {package}, which an extra installs: {install_extra('lightning')}"
        ) from None
    return type("TheoremCallback", (TheoremHooks, base), {"__module__": module, "__doc__": TheoremHooks.__doc__})
