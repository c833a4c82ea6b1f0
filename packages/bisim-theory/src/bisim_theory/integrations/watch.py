"""Measure a PyTorch module with a monitor while it trains, and warn of a collapse in one line."""

import contextlib
import logging
from collections.abc import Callable, Iterator
from typing import Any

from bisim_theory.data.transitions import DatasetError
from bisim_theory.monitor.inputs import NotFiniteError
from bisim_theory.monitor.measures import Measures
from bisim_theory.monitor.theorem_monitor import TheoremMonitor

LOG = logging.getLogger("bisim_theory")


class Watch:
    """Measure modules with a monitor. The functions take and return tensors, on the device of the module.

    Args:
        monitor: the data that is watched.
        encode: E as a function of the module and observations (B, ...), as the data has them, to (B, d).
        predict: T as a function of the module, embeddings (B, d) and actions (B, A), as in `TheoremMonitor.actions`, to
            (B, d).
        auxiliary: P as a function of the module and embeddings (B, d) to (B,) or (B, k), in the units of p; None where
            there is no P.

    Attributes:
        measures: the latest measures; None before the first.

    Raises:
        DatasetError: something else than a monitor or a function is given.
    """

    def __init__(
        self,
        monitor: TheoremMonitor,
        encode: Callable[..., Any],
        predict: Callable[..., Any],
        auxiliary: Callable[..., Any] | None = None,
    ) -> None:
        if not isinstance(monitor, TheoremMonitor):
            raise DatasetError(f"monitor: must be a TheoremMonitor, is {type(monitor).__name__}")
        for name, value in (("encode", encode), ("predict", predict), ("auxiliary", auxiliary)):
            if not callable(value) and not (name == "auxiliary" and value is None):
                raise DatasetError(f"{name}: must be a function of the module and tensors, is {type(value).__name__}")
        self.monitor, self._functions = monitor, (encode, predict, auxiliary)
        self.measures: Measures | None = None

    def measure(self, module: Any, step: int, quiet: bool = False) -> Measures | None:
        """Measure a module in evaluation mode, without gradients, and warn as pairs begin to be collapsed.

        Args:
            module: the module, in whichever mode. Its modes stay as they are.
            step: the step of the training, for warnings.
            quiet: whether to warn of nothing.

        Returns:
            The measures; None, with a warning, where a number is not finite.

        Raises:
            DatasetError: a function returned another shape.
        """
        with evaluating(module):
            arguments = [None if each is None else _on_device(each, module) for each in self._functions]
            try:
                measures = self.monitor(*arguments)
            except NotFiniteError as error:
                if not quiet:
                    LOG.warning("step %d: nothing is measured, since %s", step, error)
                return None
        before, self.measures = self.measures, measures
        if measures.pair is not None and measures.collapsed and not quiet and not (before and before.collapsed):
            LOG.warning(
                "step %d: %s of %s distinguished pairs have collapsed, such as %s",
                step,
                f"{measures.collapsed_pairs:,}",
                f"{self.monitor.relation.distinguished_pairs:,}",
                measures.pair,
            )
        return measures


@contextlib.contextmanager
def evaluating(module: Any) -> Iterator[None]:
    """Put a module into evaluation mode without gradients; then every part of it is in the mode that it was in."""
    import torch

    training = [each for each in module.modules() if each.training]
    module.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for each in training:
            each.training = True


def _on_device(function: Callable[..., Any], module: Any) -> Callable[..., Any]:
    """Return a function of arrays that gives tensors to a function of a module."""
    import torch

    parameter = next(iter(module.parameters()), None)
    device = torch.device("cpu") if parameter is None else parameter.device
    return lambda *arrays: function(module, *(torch.as_tensor(array, device=device) for array in arrays))
