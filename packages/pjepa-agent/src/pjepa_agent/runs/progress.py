"""What a person sees of a run while it trains: a live bar on a terminal, plain lines elsewhere."""

import logging
import math
import sys
from types import TracebackType
from typing import Any, TextIO

from tqdm import tqdm

logger = logging.getLogger("pjepa_agent")


class TrainingProgress:
    """A progress bar with losses, accuracy, speed and time left; a log line an evaluation when there is no terminal.

    Args:
        total: updates of the whole run.
        done: updates done before.
        stream: where the bar goes; standard error by default.
    """

    def __init__(self, total: int, done: int, stream: TextIO | None = None) -> None:
        self.total = total
        stream = stream or sys.stderr
        self._bar: Any = None
        if stream.isatty():
            self._bar = tqdm(
                total=total, initial=done, file=stream, unit=" updates", dynamic_ncols=True, smoothing=0.05,
                bar_format="{percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} [{rate_fmt}, {remaining} left{postfix}]",
            )  # fmt: skip

    def __enter__(self) -> "TrainingProgress":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()

    def update(self, update: int) -> None:
        """Say that `update` updates are done."""
        if self._bar is not None:
            self._bar.update(update - self._bar.n)

    def metrics(self, row: dict[str, float]) -> None:
        """Show a row of metrics."""
        accuracy = f"accuracy {row['eval/nearest_centroid_accuracy']:.3f}"
        losses = ""
        if not math.isnan(row["losses/total"]):
            losses = f"L_dyn {row['losses/transition']:.4f}, L_p {row['losses/auxiliary']:.4f}, "
        if self._bar is not None:
            self._bar.set_postfix_str(losses + accuracy)
            return
        rate = row["charts/updates_per_second"]
        speed = f", {rate:.1f} updates/s, {_clock((self.total - row['update']) / rate)} left" if rate else ""
        logger.info("update %d/%d: %s%s%s", row["update"], self.total, losses, accuracy, speed)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"
