"""Metrics to Weights & Biases, imported only when asked for."""

import os
from typing import Any, Literal

from pjepa_agent.config import Config
from pjepa_agent.run_directory import RunDirectory, RunError

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
    """A run of Weights & Biases beside the run directory.

    Args:
        run: where the files of an offline run are kept.
        config: shown with the run.
        mode: ``"offline"`` touches no network; ``"online"`` needs an account.

    Raises:
        RunError: the service cannot be reached or there is no account.
    """

    def __init__(self, run: RunDirectory, config: Config, mode: Literal["offline", "online"]) -> None:
        if mode == "offline":
            os.environ["WANDB_ERROR_REPORTING"] = "false"  # crash reports would go out in offline mode too
        import wandb

        settings = wandb.Settings(silent=True, disable_git=True, console="off")
        try:
            self._run: Any = wandb.init(
                project="pjepa", name=run.path.name, dir=str(run.path), mode=mode, config=config.to_dict(),
                settings=settings,
            )  # fmt: skip
        except Exception as error:  # wandb raises classes of its own, which differ between releases
            reason = str(error).splitlines()[0]
            raise RunError(f"--wandb {mode}: {reason}; use --wandb offline or disabled") from None

    def __enter__(self) -> "WandbLogger":
        return self

    def __exit__(self, kind: type[BaseException] | None, *ignored: object) -> None:
        self._run.finish(exit_code=0 if kind is None else 1)

    def log(self, row: dict[str, float]) -> None:
        """Send one row."""
        self._run.log(row, step=int(row["update"]))


def make_logger(mode: WandbMode, run: RunDirectory, config: Config) -> NoLogger | WandbLogger:
    """The logger for a ``--wandb`` mode: disabled, offline or online."""
    return NoLogger() if mode == "disabled" else WandbLogger(run, config, mode)
