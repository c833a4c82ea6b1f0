"""The run that `pjepa-train` begins or goes on with. Imports PyTorch."""

import itertools
import time
from pathlib import Path
from typing import NamedTuple

import torch
from bisim_theory.data.transitions import DatasetError

from pjepa_agent.compute.processes import SINGLE_PROCESS, Processes
from pjepa_agent.config.fields import ConfigError
from pjepa_agent.config.schema import Config
from pjepa_agent.envs.base import Spec
from pjepa_agent.envs.registry import make_domain
from pjepa_agent.run import choose_device, prepare
from pjepa_agent.runs.directory import RunDirectory, RunError
from pjepa_agent.training import TrainingError

ONE_LINE = (RunError, TrainingError, ConfigError, DatasetError, OSError, MemoryError, torch.OutOfMemoryError)
"""Errors of which a command says the message and nothing else."""


class Opened(NamedTuple):
    """A run that is to be trained.

    Attributes:
        run: its directory.
        config: its configuration.
        device: where it trains.
        new: whether the directory was made for it just now.
    """

    run: RunDirectory
    config: Config
    device: torch.device
    new: bool


def open_run(
    config: Config | None, path: str | None, device: str | None = None, processes: Processes = SINGLE_PROCESS
) -> Opened:
    """Begin the run of a configuration, or open the one at a path where there is no configuration.

    Args:
        config: of a new run.
        path: of the run; None for a new one under runs/.
        device: where to train; None takes that of the configuration.
        processes: that train together.

    Raises:
        RunError: the directory, the device or the run cannot be used.
        ConfigError: the configuration cannot be used.
        DatasetError: the dataset or the environment cannot be used.
    """
    if config is None:
        assert path is not None
        run, config = RunDirectory.open(path)
        return Opened(run, config, choose_device(device or config.compute.device), False)
    on = choose_device(device or config.compute.device)
    config = prepare(config)
    processes.local_batch_size(config.optimization.batch_size)
    return Opened(begin_run(config, make_domain(config.collection).spec, path, processes), config, on, True)


def begin_run(config: Config, spec: Spec, path: str | None, processes: Processes = SINGLE_PROCESS) -> RunDirectory:
    """Create the directory of a run on rank 0, and open it on all ranks."""
    made = None
    if processes.is_main:
        made = RunDirectory.create(_new_name(config) if path is None else path, config, spec).path
    return RunDirectory(processes.broadcast_path(made))


def _new_name(config: Config) -> Path:
    """Make a path under runs/ that does not exist yet."""
    stamp = time.strftime("%Y%m%d-%H%M%S")
    kind: str = config.experiment if config.objective.name == "pjepa" else config.objective.name.replace(":", "-")
    if config.objective.auxiliary not in (kind, "reward"):
        kind = f"{kind}-{config.objective.auxiliary.replace(':', '-')}"
    name = Path("runs") / f"{config.preset}-{kind}-seed{config.seed}-{stamp}"
    # The clock can show one second twice.
    numbered = (name.with_name(f"{name.name}-{number}") for number in itertools.count(2))
    return next(path for path in itertools.chain([name], numbered) if not path.exists())
