"""Metrics to Weights & Biases, imported only when asked for."""

import contextlib
import logging
import os
from typing import Any, Literal

from pjepa_agent.config.schema import Config
from pjepa_agent.runs.directory import RunDirectory, RunError

logger = logging.getLogger("pjepa_agent")

INIT_TIMEOUT = 30.0
"""Seconds after which training begins without a service that cannot be reached."""

WandbMode = Literal["disabled", "offline", "online"]


class NoLogger:
    """Takes rows and forgets them."""

    def __enter__(self) -> "NoLogger":
        return self

    def __exit__(self, *ignored: object) -> None:
        pass

    def log(self, row: dict[str, float]) -> None:
        """Forget one row."""


class WandbLogger:
    """A run of Weights & Biases beside the run directory, which has all of it too: where the service fails, training
    goes on without it, and says so once.

    Args:
        run: where the files of an offline run are kept.
        config: shown with the run.
        mode: ``"offline"`` touches no network; ``"online"`` needs an account.

    Raises:
        RunError: there is no account.
    """

    def __init__(self, run: RunDirectory, config: Config, mode: Literal["offline", "online"]) -> None:
        if mode == "offline":
            os.environ["WANDB_ERROR_REPORTING"] = "false"  # crash reports would go out in offline mode too
        import wandb

        self._metrics = run.metrics
        self._run: Any = None
        settings = wandb.Settings(silent=True, disable_git=True, console="off", init_timeout=INIT_TIMEOUT)
        try:
            self._run = wandb.init(
                project="pjepa", name=run.path.name, dir=str(run.path), mode=mode, config=config.to_dict(),
                settings=settings,
            )  # fmt: skip
        except (wandb.errors.UsageError, wandb.errors.AuthenticationError) as error:
            reason = str(error).splitlines()[0]
            raise RunError(f"--wandb {mode}: {reason}; use --wandb offline or disabled") from None
        except Exception as error:  # classes that differ between releases, and those of sockets
            self._go_on_without(error)

    def __enter__(self) -> "WandbLogger":
        return self

    def __exit__(self, kind: type[BaseException] | None, *ignored: object) -> None:
        if self._run is not None:
            try:
                self._run.finish(exit_code=0 if kind is None else 1)
            except Exception as error:
                self._go_on_without(error)

    def log(self, row: dict[str, float]) -> None:
        """Send one row."""
        if self._run is not None:
            try:
                self._run.log(row, step=int(row["update"]))
            except Exception as error:
                self._go_on_without(error)

    def _go_on_without(self, error: Exception) -> None:
        import wandb

        self._run = None
        with contextlib.suppress(Exception):  # else it is tried again when the interpreter ends
            wandb.teardown()
        reason = (str(error) or type(error).__name__).splitlines()[0]
        logger.warning("wandb: %s; training goes on without it, and all metrics are in %s", reason, self._metrics)


def make_logger(mode: WandbMode, run: RunDirectory, config: Config) -> NoLogger | WandbLogger:
    """The logger for a ``--wandb`` mode: disabled, offline or online."""
    return NoLogger() if mode == "disabled" else WandbLogger(run, config, mode)
