"""Create and open run directories, which hold all that is needed to resume and evaluate a run."""

import contextlib
import dataclasses
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from bisim_theory import TransitionDataset, write_transitions
from bisim_theory.data.bins import Bins
from bisim_theory.files import write_json
from bisim_theory.formats import REPRESENTATION, TRANSITIONS

from pjepa_agent.config.fields import ConfigError
from pjepa_agent.config.schema import Config
from pjepa_agent.envs.base import Spec, SpecError
from pjepa_agent.envs.counting import SPEC


class RunError(ValueError):
    """Signal that a run directory cannot be used; the message says why and what to do instead."""


class RunDirectory:
    """Name the files of a run directory.

    Args:
        path: the directory, which need not exist yet.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.config = self.path / "config.json"
        self.spec = self.path / "spec.json"
        self.metrics = self.path / "metrics.csv"
        self.checkpoint = self.path / "checkpoints" / "last.pt"
        self.best = self.path / "checkpoints" / "best.pt"
        self.provenance = self.path / "provenance.json"
        self.wandb_id = self.path / "wandb_id.txt"
        self.lock = self.path / ".lock"
        self.transitions = self.path / TRANSITIONS
        self.held_out = self.path / "held_out.npz"
        self.frames = self.path / "frames.npy"
        self.representation = self.path / REPRESENTATION
        self.figures = self.path / "figures"
        self.report = self.path / "report.json"
        self.offending_batch = self.path / "offending_batch.npz"

    def checkpoints(self, number: int) -> list[Path]:
        """Return the paths of the last `number` checkpoints, newest first: ``last.pt``, ``last-1.pt`` and so on."""
        return [self.checkpoint, *(self.checkpoint.with_name(f"last-{age}.pt") for age in range(1, number))]

    def decoder(self, at: str = "last") -> Path:
        """Return the path of the decoder fitted to the encoder of a checkpoint, ``last`` or ``best``."""
        return self.path / "checkpoints" / ("decoder.pt" if at == "last" else f"decoder-{at}.pt")

    def dynamics(self, at: str = "last") -> Path:
        """Return the path of T fitted to the encoder of a checkpoint, ``last`` or ``best``."""
        return self.path / "checkpoints" / ("dynamics.pt" if at == "last" else f"dynamics-{at}.pt")

    @classmethod
    def create(
        cls,
        path: str | os.PathLike[str],
        config: Config,
        spec: Spec = SPEC,
        held_out: TransitionDataset | None = None,
    ) -> "RunDirectory":
        """Create a run directory with its ``config.json`` and ``spec.json``.

        Args:
            path: a new directory, or an empty one.
            config: of the run.
            spec: shapes of its world.
            held_out: transitions with p to measure with, where the configuration names no data; in ``held_out.npz``.

        Raises:
            RunError: `path` exists and is not an empty directory, or cannot be written to.
        """
        run = cls(path)
        used = RunError(f"{path}: is already used; continue it with --resume {path}, or give a new --run-dir")
        try:
            if run.path.exists() and (not run.path.is_dir() or any(run.path.iterdir())):
                raise used
            run.path.mkdir(parents=True, exist_ok=True)
            run.checkpoint.parent.mkdir()  # of two processes at once, one makes it
            run.figures.mkdir(exist_ok=True)
            write_json(run.spec, spec.to_dict())
            if held_out is not None:
                write_transitions(run.held_out, held_out)
            write_json(run.config, config.to_dict())  # last, since it makes the directory a run
        except FileExistsError:
            raise used from None
        except OSError as error:
            raise RunError(f"{path}: cannot be written to ({error.strerror}); give another --run-dir") from None
        return run

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> tuple["RunDirectory", Config]:
        """Open an existing run directory and read its configuration.

        Raises:
            RunError: `path` holds no run, its configuration is invalid, or a link leads out of it.
        """
        run = cls(path)
        if not run.config.is_file():
            raise RunError(f"{path}: holds no run (there is no {run.config.name} in it){run._seeds()}")
        run._check_inside()
        try:
            values = json.loads(run.config.read_text(encoding="utf-8"))
            return run, Config.from_dict(values)
        except (OSError, ValueError, TypeError, RecursionError) as error:
            reason = str(error).splitlines()[0] if isinstance(error, ConfigError) else "it is no configuration"
            raise RunError(f"{run.config}: cannot be read: {reason}") from None

    def _seeds(self) -> str:
        """Name a run of a seed in the directory, if there is one."""
        found = sorted(self.path.glob(f"seed-*/{self.config.name}")) if self.path.is_dir() else []
        return f"; runs of single seeds are in it, as {found[0].parent}" if found else ""

    def require_counting(self, config: Config) -> None:
        """Raise `RunError` unless the run is of the counting world, whose measures by count are asked for."""
        if not config.counting:
            raise RunError(
                f"{self.path}: is a run of another world than the counting one, of which this is not drawn yet; its "
                "figures/ and metrics.csv have its measures"
            )

    def read_spec(self) -> Spec:
        """Read the shapes of the run's world. Runs of version 0.1 have no such file and are of the counting world.

        Raises:
            RunError: the file cannot be used.
        """
        if not self.spec.exists():
            return SPEC
        try:
            return Spec.from_dict(json.loads(self.spec.read_text(encoding="utf-8")))
        except (OSError, ValueError, RecursionError) as error:
            reason = str(error).splitlines()[0] if isinstance(error, SpecError) else "it is no JSON"
            raise RunError(f"{self.spec}: cannot be read: {reason}; restore the file, or begin a new run") from None

    def keep_bins(self, bins: Mapping[str, Bins]) -> None:
        """Add the bins of p to ``spec.json``, once the training's transitions are there.

        Raises:
            RunError: the file cannot be used.
            OSError: it cannot be written.
        """
        spec = self.read_spec()
        if bins and not spec.auxiliary_bins:
            write_json(self.spec, dataclasses.replace(spec, auxiliary_bins=bins).to_dict())

    def discard(self) -> None:
        """Remove what `create` and a start have written, so that the path is free again, unless something is trained.

        Files of others stay, and so does the directory then.
        """
        if self.metrics.exists() or any(self.checkpoint.parent.glob("*")):
            return
        for file in (self.config, self.spec, self.held_out, self.transitions, self.frames, self.provenance, self.lock):
            file.unlink(missing_ok=True)
        for folder in (self.checkpoint.parent, self.figures, self.path):
            with contextlib.suppress(OSError):  # it holds something else
                folder.rmdir()

    @contextlib.contextmanager
    def exclusive(self) -> Iterator[None]:
        """Lock the directory for this process. The lock is released even if the process is killed.

        Raises:
            RunError: another process holds the lock.
        """
        from filelock import FileLock, Timeout

        try:
            lock = FileLock(self.lock).acquire(timeout=0)
        except Timeout:
            raise RunError(f"{self.path}: another process is training this run; wait until it ends") from None
        with lock:
            yield

    def _check_inside(self) -> None:
        """Raise `RunError` if a folder or the lock is a link out of the directory.

        Runs are exchanged, so a run directory may come from a stranger. Resuming or drawing it writes checkpoints and
        figures, which must not land elsewhere, and a lock elsewhere would not guard the run.
        """
        inside = self.path.resolve()
        for folder in (self.checkpoint.parent, self.figures, self.lock):
            try:
                within = folder.resolve().is_relative_to(inside)
            except (OSError, RuntimeError):  # a link to itself, perhaps through others
                within = False
            if not within:
                raise RunError(f"{folder}: leads out of the run directory; put the folder itself there")
