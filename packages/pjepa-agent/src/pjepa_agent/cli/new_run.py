"""The directory of a new run of `pjepa-train`. Imports PyTorch."""

import itertools
import time
from pathlib import Path

from pjepa_agent.compute.processes import SINGLE_PROCESS, Processes
from pjepa_agent.config.schema import Config
from pjepa_agent.envs.base import Spec
from pjepa_agent.runs.directory import RunDirectory


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
