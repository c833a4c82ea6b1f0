"""Show the progress of training: a bar on a terminal, log lines elsewhere."""

import logging
import math
import sys
from types import TracebackType
from typing import Any, TextIO

from bisim_theory.theorem.check import EXPLAINED
from tqdm import tqdm

from pjepa_agent.runs.metrics import ACCURACY, LEAST_EXPLAINED, objective_losses

logger = logging.getLogger("pjepa_agent")


SYMBOLS = {"losses/transition": "L_dyn", "losses/auxiliary": "L_p", ACCURACY: "accuracy"}
"""Measures with a symbol or a shorter name; others are shown with their own."""


SHORT = {LEAST_EXPLAINED: "explained"}
"""Names on the bar, which has the width of the terminal for all of them."""


class TrainingProgress:
    """Show losses, accuracy, speed and remaining time: in a bar on a terminal, else in one log line per evaluation.

    Args:
        total: updates of the whole run.
        done: updates done before this start.
        best: the column by which the best state is chosen, shown beside the losses; see `Config.best_column`.
        stream: the stream to draw the bar on, standard error by default.
        bar: draw one, if the stream is a terminal.
    """

    def __init__(
        self, total: int, done: int, best: str = ACCURACY, stream: TextIO | None = None, bar: bool = True
    ) -> None:
        self.total, self._best = total, best.removeprefix("-")
        stream = stream or sys.stderr
        self._bar: Any = None
        if bar and stream.isatty():
            self._bar = tqdm(
                total=total, initial=done, file=stream, unit="", dynamic_ncols=True, smoothing=0.05,
                bar_format="{percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt}, {rate_fmt}, {remaining} left{postfix}",
            )  # fmt: skip

    def __enter__(self) -> "TrainingProgress":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()

    def update(self, update: int) -> None:
        """Move the bar to `update` updates."""
        if self._bar is not None:
            self._bar.update(update - self._bar.n)

    def metrics(self, row: dict[str, float]) -> None:
        """Show a row of metrics: its best column and those losses of the objective that are numbers."""
        losses = {SYMBOLS.get(name, name.removeprefix("losses/")): row[name] for name in objective_losses(row)}
        losses = {name: value for name, value in losses.items() if not math.isnan(value)}
        name = SYMBOLS.get(self._best, self._best.rpartition("/")[2].replace("_", " "))
        best = row[self._best]
        if self._bar is not None:  # the best column first, since a narrow terminal cuts the end
            short = [f"{SHORT.get(self._best, name)} {best:.3f}", *(f"{each} {losses[each]:.3g}" for each in losses)]
            self._bar.set_postfix_str(", ".join(short))
            return
        asked = f" (asked: {EXPLAINED})" if self._best == LEAST_EXPLAINED else ""
        shown = ", ".join([*(f"{each} {losses[each]:.4f}" for each in losses), f"{name} {best:.3f}{asked}"])
        rate = row["charts/updates_per_second"]
        speed = f", {rate:.1f} updates/s, {_clock((self.total - row['update']) / rate)} left" if rate else ""
        logger.info("update %d/%d: %s%s", row["update"], self.total, shown, speed)


def _clock(seconds: float) -> str:
    """Format seconds as minutes:seconds."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"
