"""Checks for NaN and infinity that do not wait for the device at every update."""

from typing import NamedTuple

import numpy as np
import torch
from bisim_theory.files import atomic_write
from tensordict import TensorDictBase
from torch import Tensor

from pjepa_agent.compute.processes import Processes
from pjepa_agent.runs.directory import RunDirectory


class TrainingError(RuntimeError):
    """Training cannot go on; the message says why."""


class PendingCheck(NamedTuple):
    """An optimiser step whose loss and gradient have not been checked for NaN or infinity yet.

    Attributes:
        update: counted from 1.
        name: of what was minimised.
        loss: scalar on the device.
        finite: scalar on the device, whether the loss and its gradient are finite.
        batch: that the loss is of.
    """

    update: int
    name: str
    loss: Tensor
    finite: Tensor
    batch: TensorDictBase


class FiniteCheck:
    """Collects steps and checks all of them at once. The optimiser has changed nothing in steps that fail.

    Args:
        run: where the batch of a failed step is written.
        processes: the processes that train together; all have to check at the same updates.
    """

    def __init__(self, run: RunDirectory, processes: Processes) -> None:
        self._run, self._processes = run, processes
        self.pending: list[PendingCheck] = []

    def add(self, update: int, name: str, loss: Tensor, finite: Tensor, batch: TensorDictBase) -> None:
        """Add a step to the pending ones; see `PendingCheck`."""
        self.pending.append(PendingCheck(update, name, loss.detach(), finite, batch))

    def check(self) -> None:
        """Raise `TrainingError` unless all pending steps were finite on every rank. Called before anything is saved.

        Waits for the device. The batch of the first failed step is written to the run directory.
        """
        if not self.pending:
            return
        steps, self.pending = self.pending, []
        finite = self._processes.all_true(torch.stack([step.finite for step in steps]).cpu())
        if finite.all():
            return
        first = steps[int(finite.int().argmin())]
        if self._processes.is_main or not first.loss.isfinite():
            self._write_batch(first)
        raise TrainingError(
            f"{first.name}: loss {float(first.loss):g} or its gradient is not finite at update {first.update}; "
            f"the batch is in {self._run.offending_batch}, the last checkpoint is {self._run.checkpoint}"
        )

    def _write_batch(self, step: PendingCheck) -> None:
        arrays = {name: value.cpu().numpy() for name, value in step.batch.items()}
        with atomic_write(self._run.offending_batch) as file:
            np.savez_compressed(file, update=step.update, **arrays)
