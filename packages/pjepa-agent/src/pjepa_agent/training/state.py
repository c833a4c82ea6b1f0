"""The state of a training: what a checkpoint holds, how it is saved, and how a run goes on from it."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pjepa_agent.collection.replay import Replay
from pjepa_agent.compute.processes import Processes
from pjepa_agent.config.fields import ConfigError
from pjepa_agent.model import PJEPA
from pjepa_agent.objectives.base import EncoderObjective
from pjepa_agent.runs.checkpoint import checkpoint_errors, newest_checkpoint, save_checkpoint
from pjepa_agent.runs.directory import RunDirectory, RunError
from pjepa_agent.runs.metrics import MetricsFile
from pjepa_agent.training.averaging import AveragedWeights
from pjepa_agent.training.optimizer import Optimizer


@dataclass
class TrainingState:
    """All that changes while a run trains. The rest follows from its configuration.

    Attributes:
        model: what is trained.
        optimizer: of E, T and P, and of the objective's own networks.
        readout_optimizer: of the readouts, None without any.
        averaged: the averaged weights, None where the configuration has none.
        replay: draws the batches, on every rank its own.
        objective: what trains the encoder, with networks of its own where it has any.
        update: updates that are done.
        seconds: that they took.
        recent: losses by name, one an update since the last evaluation.
    """

    model: PJEPA
    optimizer: Optimizer
    readout_optimizer: Optimizer | None
    averaged: AveragedWeights | None
    replay: Replay
    objective: EncoderObjective
    update: int = 0
    seconds: float = 0.0
    recent: defaultdict[str, list[Tensor]] = field(default_factory=lambda: defaultdict(list))

    def state_dict(self, processes: Processes) -> dict[str, Any]:
        """Return what a checkpoint holds. What every rank has of its own is a row per rank; all have to call this."""
        draws = torch.stack(processes.all_gather(self.replay.generator.get_state()))
        recent = {name: torch.stack(processes.all_gather(torch.stack(losses))) for name, losses in self.recent.items()}
        state = {
            "update": self.update,
            "seconds": self.seconds,
            "model": self.model.state_dict(),
            **self.optimizer.state_dict(),
            "sampler": draws,
            "ranks": processes.size,
            "recent": recent,
        }
        if collected := self.replay.state_dict():
            state["replay"] = {name: torch.stack(processes.all_gather(each)) for name, each in collected.items()}
        if self.averaged is not None:
            state["averaged"] = self.averaged.state_dict()
        if own := self.objective.state_dict():
            state["objective"] = own
        if self.readout_optimizer is not None:
            state["readouts"] = self.readout_optimizer.state_dict()
        return state

    def load_state_dict(self, state: Mapping[str, Any], processes: Processes) -> None:
        """Continue from a checkpoint of as many ranks; version 0.1 called the readouts ``beside``."""
        self.update, self.seconds = int(state["update"]), float(state["seconds"])
        self.model.load_state_dict(state["model"])
        self.objective.load_state_dict(state.get("objective", {}))
        self.optimizer.load_state_dict(state)
        if self.averaged is not None:
            self.averaged.load_state_dict(state["averaged"])
        if self.readout_optimizer is not None:
            self.readout_optimizer.load_state_dict(state["readouts" if "readouts" in state else "beside"])
        self.replay.load_state_dict({name: each[processes.rank] for name, each in state.get("replay", {}).items()})
        self.replay.collect_until(self.update)
        self.replay.generator.set_state(_row_of(processes, state["sampler"]).cpu())
        for name, losses in state.get("recent", {}).items():
            self.recent[name] = list(_row_of(processes, losses).unbind())


def _row_of(processes: Processes, rows: Tensor) -> Tensor:
    """Return this rank's row of what was saved for all. A single process may have saved it without that axis."""
    return rows.view(processes.size, -1)[processes.rank].clone()


class Checkpoints:
    """The checkpoints of a run: the latest states, and the model of the highest accuracy.

    Args:
        run: its directory.
        keep: latest states that are kept.
        device: that trains. A run goes on where it was saved.
        processes: the processes that train together, of which rank 0 writes and all read.
    """

    def __init__(self, run: RunDirectory, keep: int, device: torch.device, processes: Processes) -> None:
        self._run, self._device, self._processes = run, device, processes
        self._paths: list[Path] = run.checkpoints(keep)

    def restore(self, state: TrainingState) -> None:
        """Load the newest checkpoint that can be read, if there is any.

        Raises:
            RunError: none can be read, or it is of another device, number of processes or configuration.
        """
        with self._processes.main_process_first():  # since rank 0 renames those that are damaged
            if any(path.is_file() for path in self._paths):
                self._load(state)
        self._processes.barrier()  # until all have read what rank 0 then writes over

    def save(self, state: TrainingState) -> None:
        """Write the state; older ones are kept as configured."""
        values = {**state.state_dict(self._processes), "device": self._device.type}
        if self._processes.is_main:
            path, *older = self._paths
            save_checkpoint(path, values, older)

    def save_best(self, model: PJEPA, update: int) -> None:
        """Write the model of the highest accuracy so far (paper Section 2.3)."""
        save_checkpoint(self._run.best, {"update": update, "model": model.state_dict()})

    def _load(self, state: TrainingState) -> None:
        path, values = newest_checkpoint(self._paths, self._device)
        if values.get("device") not in (None, self._device.type):
            raise RunError(f"{path}: was saved on {values['device']}; go on with --device {values['device']}")
        with checkpoint_errors(path):
            ranks = int(values.get("ranks", 1))
        if ranks != self._processes.size:
            raise RunError(
                f"{path}: was trained by {ranks} processes, and these are {self._processes.size}; "
                "go on with as many, as torchrun --nproc-per-node starts them"
            )
        with checkpoint_errors(path):
            state.load_state_dict(values, self._processes)


def require_column(row: Mapping[str, float], best: str) -> None:
    """Raise `ConfigError` unless a row of metrics has the column that chooses the best state."""
    if best.removeprefix("-") not in row:
        offered = ", ".join(name for name in row if name.startswith(("eval/", "theorem/")))
        raise ConfigError(f"evaluation.best={best!r}: is no measure of this world; it has {offered}")


def open_metrics(run: RunDirectory, update: int, best: str) -> MetricsFile:
    """Open the metrics of a run that has done some updates. Later rows are dropped.

    Args:
        run: the run.
        update: updates that are done.
        best: the column that chooses the best state, with ``-`` before it if less is better.

    Raises:
        RunError: rows or that column are missing.
    """
    metrics = MetricsFile(run.metrics, until=update)
    if update and (not metrics.rows or metrics.rows[0]["update"] != 0):
        raise RunError(f"{run.metrics}: has lost the rows before update {update}; restore it, or begin a new run")
    column = best.removeprefix("-")
    if any(column not in row for row in metrics.rows):
        raise RunError(f"{run.metrics}: has lost the column {column}; restore it, or begin a new run")
    return metrics
