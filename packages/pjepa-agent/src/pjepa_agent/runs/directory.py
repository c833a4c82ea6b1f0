"""The directory that a run leaves: enough to read, resume and evaluate it without the command line that made it."""

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

from bisim_theory.files import write_json
from bisim_theory.formats import REPRESENTATION, TRANSITIONS

from pjepa_agent.config.fields import ConfigError
from pjepa_agent.config.schema import Config


class RunError(ValueError):
    """A run directory that cannot be used; the message says why and what to do instead."""


class RunDirectory:
    """Names of what is inside a run directory.

    Args:
        path: the directory; it need not exist yet.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.config = self.path / "config.json"
        self.metrics = self.path / "metrics.csv"
        self.checkpoint = self.path / "checkpoints" / "last.pt"
        self.best = self.path / "checkpoints" / "best.pt"
        self.provenance = self.path / "provenance.json"
        self.lock = self.path / ".lock"
        self.transitions = self.path / TRANSITIONS
        self.representation = self.path / REPRESENTATION
        self.figures = self.path / "figures"
        self.report = self.path / "report.json"
        self.offending_batch = self.path / "offending_batch.npz"

    def checkpoints(self, number: int) -> list[Path]:
        """Where the last so many states are kept, newest first: ``last.pt``, ``last-1.pt`` and so on."""
        return [self.checkpoint, *(self.checkpoint.with_name(f"last-{age}.pt") for age in range(1, number))]

    def decoder(self, at: str = "last") -> Path:
        """Where a decoder that was fitted to the encoder of a checkpoint, ``last`` or ``best``, is kept."""
        return self.path / "checkpoints" / ("decoder.pt" if at == "last" else f"decoder-{at}.pt")

    @classmethod
    def create(cls, path: str | os.PathLike[str], config: Config) -> "RunDirectory":
        """Make a new run directory that holds `config`.

        Raises:
            RunError: there is something at `path` already, or it cannot be written to.
        """
        run = cls(path)
        used = RunError(f"{path}: is already used; continue it with --resume {path}, or give a new --run-dir")
        try:
            if run.path.exists() and (not run.path.is_dir() or any(run.path.iterdir())):
                raise used
            run.path.mkdir(parents=True, exist_ok=True)
            run.checkpoint.parent.mkdir()  # of two processes at once, one makes it
            run.figures.mkdir(exist_ok=True)
            write_json(run.config, config.to_dict())
        except FileExistsError:
            raise used from None
        except OSError as error:
            raise RunError(f"{path}: cannot be written to ({error.strerror}); give another --run-dir") from None
        return run

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> tuple["RunDirectory", Config]:
        """An existing run directory and its configuration.

        Raises:
            RunError: there is no run at `path`, or its configuration cannot be read.
        """
        run = cls(path)
        if not run.config.is_file():
            raise RunError(f"{path}: holds no run (there is no {run.config.name} in it)")
        run._check_inside()
        try:
            values = json.loads(run.config.read_text(encoding="utf-8"))
            return run, Config.from_dict(values)
        except (OSError, ValueError, TypeError, RecursionError) as error:
            reason = str(error).splitlines()[0] if isinstance(error, ConfigError) else "it is no configuration"
            raise RunError(f"{run.config}: cannot be read: {reason}") from None

    @contextlib.contextmanager
    def exclusive(self) -> Iterator[None]:
        """Have the directory for this process alone; the operating system gives it free however the process ends.

        Raises:
            RunError: another process has it.
        """
        from filelock import FileLock, Timeout

        try:
            lock = FileLock(self.lock).acquire(timeout=0)
        except Timeout:
            raise RunError(f"{self.path}: another process is training this run; wait until it ends") from None
        with lock:
            yield

    def _check_inside(self) -> None:
        """Raise `RunError` where a link leads out of the directory: a run from elsewhere must write nowhere else."""
        inside = self.path.resolve()
        for folder in (self.checkpoint.parent, self.figures, self.lock):
            try:
                within = folder.resolve().is_relative_to(inside)
            except (OSError, RuntimeError):  # a link that leads to itself, by way of others perhaps
                within = False
            if not within:
                raise RunError(f"{folder}: leads out of the run directory; put the folder itself there")
