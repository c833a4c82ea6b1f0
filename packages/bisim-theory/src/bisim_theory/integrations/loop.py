"""A callback for a training loop of your own in PyTorch."""

from collections.abc import Callable, Mapping
from typing import Any

from bisim_theory.data.transitions import DatasetError
from bisim_theory.integrations.watch import Watch
from bisim_theory.monitor.measures import Measures
from bisim_theory.monitor.theorem_monitor import TheoremMonitor


class TheoremCallback(Watch):
    """Measure a module every few steps of a loop, log the measures, and warn as pairs begin to be collapsed.

    Args:
        monitor: the data that is watched.
        module: the module that is trained.
        encode, predict, auxiliary: E, T and P as functions of the module and tensors; see `Watch`.
        every: number of steps from one measurement to the next.
        log: called with the measures by name and the step, as the ``log`` of a run of Weights & Biases is.
    """

    def __init__(
        self,
        monitor: TheoremMonitor,
        module: Any,
        encode: Callable[..., Any],
        predict: Callable[..., Any],
        auxiliary: Callable[..., Any] | None = None,
        *,
        every: int = 200,
        log: Callable[[Mapping[str, float], int], Any] | None = None,
    ) -> None:
        super().__init__(monitor, encode, predict, auxiliary)
        if every < 1:
            raise DatasetError(f"every={every}: must be a number of steps, at least 1")
        self.module, self.every, self.log = module, every, log

    def __call__(self, step: int) -> Measures | None:
        """Measure if the step is a multiple of `every`; return the measures, else None."""
        if step % self.every:
            return None
        measures = self.measure(self.module, step)
        if measures is not None and self.log is not None:
            self.log(measures.numbers, step)
        return measures
