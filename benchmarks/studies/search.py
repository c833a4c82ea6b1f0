"""Choose settings by successive halving: all are trained a little, the best half more, on seeds of the search alone."""

import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import NamedTuple

from benchmarks.studies.records import UPDATE, Table
from benchmarks.studies.workers import last_evaluation

WORST = -1.0
"""Score of a training that stopped at numbers that are not finite, below every other."""

SCORE, SECONDS = "score", "seconds"


class Rung(NamedTuple):
    """One round: how many settings are trained, for how many updates, with which seed."""

    settings: int
    updates: int
    seed: int


RUNGS = (Rung(8, 300, 100), Rung(4, 600, 101))
"""The budget of every objective: 4,800 updates."""

Scores = Mapping[tuple[str, int], float]
"""Scores by the name of the setting and the number of the rung."""


class Halving:
    """Decide which settings are trained on each rung, from the scores so far alone.

    Args:
        names: of the settings, as many as the first rung trains.
        rungs: the rounds.

    Raises:
        ValueError: the numbers do not fit.
    """

    def __init__(self, names: Sequence[str], rungs: Sequence[Rung] = RUNGS) -> None:
        sizes = [rung.settings for rung in rungs]
        if len(names) != sizes[0] or len(set(names)) < len(names) or sizes != sorted(sizes, reverse=True):
            raise ValueError(f"{len(names)} settings, {sizes} on the rungs: must begin with all, and grow fewer")
        self.names, self.rungs = list(names), list(rungs)

    def entrants(self, rung: int, scores: Scores) -> list[str] | None:
        """Return the settings that a rung trains, best first; None while an earlier rung lacks a score."""
        if rung == 0:
            return self.names
        before = self._ranked(rung - 1, scores)
        return None if before is None else before[: self.rungs[rung].settings]

    def pending(self, scores: Scores) -> list[tuple[str, int]]:
        """Return what has to be trained next: the settings of the first rung that lacks scores; nothing at the end."""
        for rung in range(len(self.rungs)):
            missing = [(name, rung) for name in self.entrants(rung, scores) or () if (name, rung) not in scores]
            if missing:
                return missing
        return []

    def winner(self, scores: Scores) -> str | None:
        """Return the best setting of the last rung; None while scores are missing."""
        ranked = self._ranked(len(self.rungs) - 1, scores)
        return None if ranked is None else ranked[0]

    def _ranked(self, rung: int, scores: Scores) -> list[str] | None:
        """Rank the settings of a rung by its scores; of equal ones the earlier comes first."""
        names = self.entrants(rung, scores)
        if names is None or any((name, rung) not in scores for name in names):
            return None
        return sorted(names, key=lambda name: (-scores[name, rung], self.names.index(name)))


class Search:
    """Search the settings of one candidate, keeping every score in a table, from which it goes on.

    Args:
        candidate: its name, under which scores are kept.
        settings: options of `pjepa-train` by the name of the setting.
        table: of the scores of all candidates.
        folder: of the run directories, each removed once it has its score.
        score: reads the score, larger is better, from the last evaluation.
        rungs: the rounds.
        evaluate: trains in a directory with options and returns the last evaluation, None if the training diverged.
    """

    def __init__(
        self,
        candidate: str,
        settings: Mapping[str, Sequence[str]],
        table: Table,
        folder: Path,
        score: Callable[[Mapping[str, float]], float],
        rungs: Sequence[Rung] = RUNGS,
        evaluate: Callable[[Path, Sequence[str]], Mapping[str, float] | None] = last_evaluation,
    ) -> None:
        self.candidate, self.settings, self.table, self.folder, self.score = candidate, settings, table, folder, score
        self.halving, self.evaluate = Halving(list(settings), rungs), evaluate

    def scores(self) -> dict[tuple[str, int], float]:
        """Read the scores so far, of rungs with the same updates and seed."""
        known = self.table.read()
        found: dict[tuple[str, int], float] = {}
        for rung, (_, updates, seed) in enumerate(self.halving.rungs):
            for name in self.settings:
                rows = known.get((f"{self.candidate}/{name}", seed), ())
                for row in rows:
                    if row[UPDATE] == updates:
                        found[name, rung] = row[SCORE]
        return found

    def complete(self, pool: Executor) -> str:
        """Train what lacks a score, as much at a time as the pool has workers, and return the best setting."""
        while pending := self.halving.pending(self.scores()):
            for _ in pool.map(self._try, *zip(*pending, strict=True)):
                pass
        winner = self.halving.winner(self.scores())
        assert winner is not None
        return winner

    def _try(self, name: str, rung: int) -> None:
        _, updates, seed = self.halving.rungs[rung]
        path = self.folder / f"{self.candidate}-{name}-{updates}".replace("/", "-")
        path.parent.mkdir(parents=True, exist_ok=True)
        started = time.monotonic()
        found = self.evaluate(path, [*self.settings[name], "--updates", str(updates), "--seed", str(seed)])
        score = WORST if found is None else self.score(found)
        row = {UPDATE: updates, SCORE: score, SECONDS: time.monotonic() - started}
        print(f"{self.candidate}, {name}, {updates} updates: {score:.4f}", file=sys.stderr, flush=True)
        self.table.put((f"{self.candidate}/{name}", seed), [row])
        shutil.rmtree(path)
