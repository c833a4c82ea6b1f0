"""Loggers that receive the rows of metrics.csv as a run trains: none, or Weights & Biases."""

import contextlib
import logging
import os
import re
import secrets
from pathlib import Path
from typing import Any, Literal, Protocol, Self

from bisim_theory.files import atomic_write

from pjepa_agent.config.schema import Config
from pjepa_agent.runs.directory import RunDirectory, RunError

logger = logging.getLogger("pjepa_agent")

INIT_TIMEOUT = 30.0
"""Seconds to wait for the service before training starts without it."""

WandbMode = Literal["disabled", "offline", "online"]


class Logger(Protocol):
    """Receive every row of metrics of a run; a context manager that is open while the run trains."""

    def __enter__(self) -> Self: ...

    def __exit__(self, kind: type[BaseException] | None, *ignored: object) -> None: ...

    def log(self, row: dict[str, float]) -> None:
        """Log one row of metrics, whose names may differ from row to row; ``update`` is always there."""


class NoLogger:
    """Log nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *ignored: object) -> None:
        pass

    def log(self, row: dict[str, float]) -> None:
        """Discard the row."""


class WandbLogger:
    """Log to a run of Weights & Biases, in addition to the run directory.

    Where the service fails, one warning is given and training goes on without it. wandb is imported here alone. A run
    that is resumed goes on in the same run of Weights & Biases, whose id the run directory keeps.

    Args:
        run: the run directory, which keeps the files of an offline run.
        config: the configuration to show with the run.
        mode: ``"offline"`` touches no network; ``"online"`` needs an account.

    Raises:
        RunError: there is no account, or the id that is kept is none.
    """

    def __init__(self, run: RunDirectory, config: Config, mode: Literal["offline", "online"]) -> None:
        if mode == "offline":
            os.environ["WANDB_ERROR_REPORTING"] = "false"  # crash reports would go out in offline mode too
        import wandb

        identifier = _read_id(run.wandb_id) or secrets.token_hex(4)
        self._metrics = run.metrics
        self._run: Any = None
        settings = wandb.Settings(silent=True, disable_git=True, console="off", init_timeout=INIT_TIMEOUT)
        try:
            self._run = wandb.init(
                project="pjepa", name=run.path.name, dir=str(run.path), mode=mode, config=config.to_dict(),
                settings=settings, id=identifier, resume="allow" if mode == "online" else None,
            )  # fmt: skip
        except (wandb.errors.UsageError, wandb.errors.AuthenticationError) as error:
            reason = (str(error) or type(error).__name__).splitlines()[0]
            raise RunError(f"--wandb {mode}: {reason}; use --wandb offline or disabled") from None
        except Exception as error:  # its classes differ between releases, and sockets raise their own
            self._give_up(error)
        else:
            with atomic_write(run.wandb_id, "w") as file:
                file.write(f"{identifier}\n")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *ignored: object) -> None:
        if self._run is not None:
            try:
                self._run.finish(exit_code=0 if kind is None else 1)
            except Exception as error:
                self._give_up(error)

    def log(self, row: dict[str, float]) -> None:
        """Send one row of metrics."""
        if self._run is not None:
            try:
                self._run.log(row, step=int(row["update"]))
            except Exception as error:
                self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        """Disconnect from the service and warn once."""
        import wandb

        self._run = None
        with contextlib.suppress(Exception):  # else it is tried again when the interpreter ends
            wandb.teardown()
        reason = (str(error) or type(error).__name__).splitlines()[0]
        logger.warning("wandb: %s; training goes on without it, and all metrics are in %s", reason, self._metrics)


def _read_id(path: Path) -> str | None:
    """Return the id of the run of Weights & Biases that a run directory keeps, or None where it keeps none.

    Raises:
        RunError: the file holds something else.
    """
    try:
        identifier = path.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError):
        identifier = ""
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", identifier):
        raise RunError(f"{path}: holds no id of a wandb run; remove it to begin another one")
    return identifier


def make_logger(mode: WandbMode, run: RunDirectory, config: Config) -> Logger:
    """Return the logger of a ``--wandb`` mode."""
    return NoLogger() if mode == "disabled" else WandbLogger(run, config, mode)
