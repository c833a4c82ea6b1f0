"""Choice of the backend that computes classes of behaviour, and analysis by it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bisim_theory.data.auxiliary_names import split_names
from bisim_theory.data.transitions import DatasetError, TransitionDataset
from bisim_theory.formats.parquet import ParquetFolder, is_parquet_folder
from bisim_theory.relation.backends.memory import SHARE, exceeds, free_memory

if TYPE_CHECKING:  # what data in memory has no use for, and would wait for
    from bisim_theory.outcome import Impossible, RelationOnly
    from bisim_theory.stored.analysis import RunRounds
    from bisim_theory.stored.dataset import StoredDataset

BACKENDS = ("auto", "memory", "duckdb", "daft")
"""What ``--backend`` may be."""


def memory_to_use(given: int | None) -> int:
    """Return the bytes that a computation may take: those given, or a share of those that are free."""
    return int(SHARE * free_memory()) if given is None else given


def choose_backend(path: Path, wanted: str, memory: int, only_memory: str | None) -> str:
    """Return the backend for a dataset: the one asked for, or by whether its transitions exceed `memory`.

    Args:
        path: the dataset.
        wanted: one of `BACKENDS`.
        memory: bytes that the computation may take.
        only_memory: what was asked for that only the backend in memory answers; None if there is nothing.

    Raises:
        DatasetError: another backend was asked for, and does not answer it.
    """
    if wanted not in BACKENDS:
        raise DatasetError(f"--backend {wanted}: must be {', '.join(BACKENDS[:-1])} or {BACKENDS[-1]}")
    if wanted in ("auto", "memory"):
        if wanted == "memory" or only_memory is not None or not is_parquet_folder(path):
            return "memory"
        return "duckdb" if exceeds(sum(ParquetFolder.open(path).transitions.rows), memory) else "memory"
    if only_memory is not None:
        raise DatasetError(f"--backend {wanted}: does not answer {only_memory}; use --backend memory")
    return wanted


@contextmanager
def open_stored(path: Path, data: TransitionDataset | None, memory: int) -> Iterator["StoredDataset"]:
    """Open a database with the transitions of a path; it and its files are gone at the end.

    Args:
        path: a folder of Parquet files, or where `data` comes from.
        data: the transitions, where they were read into memory.
        memory: bytes that the database may hold in memory.

    Raises:
        DatasetError: the dataset is damaged, or the extra to read it is not installed.
    """
    from bisim_theory.relation.backends.database import Database
    from bisim_theory.stored.dataset import open_parquet
    from bisim_theory.stored.staging import stage

    with Database(memory) as database:
        if data is not None:
            yield stage(database, data, str(path))
        else:
            yield open_parquet(database, ParquetFolder.open(path))


def rounds_of(backend: str) -> "RunRounds":
    """Return what computes the classes of a graph for a backend other than memory."""
    from bisim_theory.stored.analysis import refine_here

    if backend == "duckdb":
        return refine_here
    from bisim_theory.relation.backends.daft import refine_with_daft

    return lambda graph, progress: refine_with_daft(graph.data.database, len(graph.actions), graph.single, progress)


def analyse_by(
    backend: str, path: Path, data: TransitionDataset | None, memory: int, compare: str | None, **questions: Any
) -> "RelationOnly | Impossible":
    """Analyse a dataset by a backend other than memory.

    Args:
        backend: its name.
        path: a folder of Parquet files, or where `data` comes from.
        data: the transitions, where they were read into memory.
        memory: bytes that the database may hold in memory.
        compare: names of auxiliary functions to compare, separated by commas, or None.
        **questions: as for `analyse_stored`.
    """
    from bisim_theory.stored.analysis import analyse_stored

    rounds = rounds_of(backend)
    with open_stored(path, data, memory) as stored:
        candidates = [] if compare is None else split_names(compare, stored.labels)
        return analyse_stored(stored, candidates=candidates, backend=backend, rounds=rounds, **questions)
