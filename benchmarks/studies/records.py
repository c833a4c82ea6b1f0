"""Read and write the records of finished runs: one table (CSV) and one JSON file a study."""

import contextlib
import csv
import fcntl
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bisim_theory.files import atomic_write, finite
from pjepa_agent.config.schema import Config
from pjepa_agent.figures.curves import PANELS
from pjepa_agent.runs.directory import RunDirectory
from pjepa_agent.runs.metrics import MetricsFile, Rows

RECORDS = Path(__file__).parents[1] / "records"
"""Folder of the records that the pages' tables are made of."""

UPDATE = "update"
INDEX = ("variant", "seed", UPDATE)

CURVES = ("losses/transition", "losses/auxiliary", "eval/spread", *PANELS)
"""Columns of ``metrics.csv`` that a record keeps at every evaluation: those that a table or a figure reads. The report
has the other measures, of the untrained and of the trained encoder."""

WORLD_CURVES = (
    "losses/transition",
    "losses/auxiliary",
    "eval/spread",
    "eval/rankme",
    "theorem/least_explained_share",
    "theorem/collapsed_pairs",
)
"""The columns that are kept of a run in another world, which has no counts."""

OF_A_START = ("time", "command", "seed")
"""Entries of ``provenance.json`` that belong to one start. The others are kept once for all starts that share them."""

Key = tuple[str, int]
"""Variant and seed of a run."""


class Table:
    """Read and write a CSV file of the columns ``variant``, ``seed``, ``update`` and measures.

    A measure that a run does not have is an empty cell in its rows.

    Args:
        path: of the file; it need not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> dict[Key, Rows]:
        """Read the rows of every run."""
        found: dict[Key, Rows] = {}
        if self.path.is_file():
            with open(self.path, encoding="utf-8", newline="") as file:
                for row in csv.DictReader(file):
                    key = row.pop("variant"), int(row.pop("seed"))
                    found.setdefault(key, []).append({name: float(value) for name, value in row.items() if value})
        return found

    def put(self, key: Key, rows: Sequence[Mapping[str, float]]) -> None:
        """Add the rows of a run, or replace them."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with locked(self.path.parent):
            runs = sorted({**self.read(), key: rows}.items())
            names = dict.fromkeys(name for _, rows in runs for row in rows for name in row if name != UPDATE)
            with atomic_write(self.path, "w") as file:
                writer = csv.writer(file, lineterminator="\n")
                writer.writerow([*INDEX, *names])
                for index, rows in runs:
                    writer.writerows([*index, int(row[UPDATE]), *(row.get(name, "") for name in names)] for row in rows)


class Records:
    """Read and write the records of a study's finished runs.

    ``NAME.csv`` holds the curves. ``NAME.json`` holds the configuration of each variant, the provenances, and of each
    run its report, its starts, and what the study measured. A run is recorded once it is in the JSON file.

    Args:
        folder: of both files; it need not exist yet.
        name: of the study.
        columns: of ``metrics.csv`` that are kept.
    """

    def __init__(self, folder: Path, name: str, columns: Sequence[str] = CURVES) -> None:
        self.path, self._columns = folder / f"{name}.json", columns
        self.table = Table(folder / f"{name}.csv")

    def runs(self) -> dict[Key, dict[str, Any]]:
        """Read ``report``, ``starts`` and, if the study measures anything, ``measures`` of every run."""
        return {(run["variant"], run["seed"]): run for run in self._read()["runs"]}

    def metrics(self) -> dict[Key, Rows]:
        """Read the curves of every run: a row an evaluation, the untrained encoder's first."""
        known = self.runs()
        return {key: rows for key, rows in self.table.read().items() if key in known}

    def configuration(self, variant: str, seed: int) -> Config | None:
        """Return the configuration that the variant's runs have with this seed, None if no run is recorded.

        Raises:
            ConfigError: this version cannot read it.
        """
        found = self._read()["configurations"].get(variant)
        return None if found is None else Config.from_dict({**found, "seed": seed})

    def add(self, variant: str, path: Path, measures: Mapping[str, Any] | None) -> None:
        """Record a finished run of a variant from its run directory."""
        run, config = RunDirectory.open(path)
        metrics = MetricsFile(run.metrics, until=config.optimization.updates).rows
        self.table.put(
            (variant, config.seed), [{name: row[name] for name in (UPDATE, *self._columns)} for row in metrics]
        )
        added: dict[str, Any] = {"variant": variant, "seed": config.seed, "report": json.loads(run.report.read_text())}
        if measures is not None:
            added["measures"] = dict(measures)
        with locked(self.path.parent):
            content = self._read()
            provenances = content["provenances"]
            added["starts"] = [_start(each, path, provenances) for each in json.loads(run.provenance.read_text())]
            content["configurations"].setdefault(variant, _without_seed(config))
            runs = {(each["variant"], each["seed"]): each for each in [*content["runs"], added]}
            self._write(content | {"runs": [runs[key] for key in sorted(runs)]})

    def _write(self, content: Mapping[str, Any]) -> None:
        """Write a line a configuration, provenance and run, so that a record more is a line more."""
        configurations = [f"{_line(name)}: {_line(each)}" for name, each in content["configurations"].items()]
        parts = [f'"configurations": {{\n{_joined(configurations)}\n}}']
        parts += [f'"{name}": [\n{_joined(map(_line, content[name]))}\n]' for name in ("provenances", "runs")]
        with atomic_write(self.path, "w") as file:
            file.write(f"{{\n{_joined(parts)}\n}}\n")

    def _read(self) -> dict[str, Any]:
        if not self.path.is_file():
            return {"configurations": {}, "provenances": [], "runs": []}
        content: dict[str, Any] = json.loads(self.path.read_text(encoding="utf-8"))
        return content


def _line(value: Any) -> str:
    return json.dumps(finite(value), allow_nan=False)


def _joined(lines: Iterable[str]) -> str:
    return ",\n".join(lines)


def _start(start: Mapping[str, Any], path: Path, provenances: list[dict[str, Any]]) -> dict[str, Any]:
    """Split a start of a run into what is its own and its provenance, which is added to those known if it is new."""
    provenance = {name: value for name, value in start.items() if name not in OF_A_START}
    if provenance not in provenances:
        provenances.append(provenance)
    # Another machine that reads the record has no such folder.
    command = start["command"].replace(str(path.absolute()), path.name)
    return {"time": start["time"], "command": command, "provenance": provenances.index(provenance)}


def _without_seed(config: Config) -> dict[str, Any]:
    return {name: value for name, value in config.to_dict().items() if name != "seed"}


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Lock the folder against other threads and processes, once it is free. A killed process releases it."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
