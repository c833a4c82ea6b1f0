"""Choice of the backend that computes classes of behaviour, and analysis by it."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bisim_theory.data.auxiliary_names import split_names
from bisim_theory.data.transitions import DatasetError, TransitionDataset
from bisim_theory.formats import FORMATS, read_transitions, registry
from bisim_theory.formats.parquet import ParquetFolder, is_parquet_folder
from bisim_theory.formats.rows import Rows
from bisim_theory.progress import silent
from bisim_theory.relation.backends.memory import SHARE, exceeds, free_memory

if TYPE_CHECKING:  # what data in memory has no use for, and would wait for
    from bisim_theory.outcome import Report
    from bisim_theory.stored.analysis import ProgressBar, RunRounds
    from bisim_theory.stored.dataset import StoredDataset

BACKENDS = ("auto", "memory", "duckdb", "daft")
"""Names that ``--backend`` takes."""


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
        if wanted == "memory" or only_memory is not None:
            return "memory"
        return "duckdb" if _exceeds(path, memory) else "memory"
    if only_memory is not None:
        raise DatasetError(f"--backend {wanted}: does not answer {only_memory}; use --backend memory")
    return wanted


def _exceeds(path: Path, memory: int) -> bool:
    """Return whether a dataset that can be read in pieces would take more than `memory` bytes."""
    if is_parquet_folder(path):
        folder = ParquetFolder.open(path)
        transitions = sum(folder.transitions.rows)
        return exceeds(transitions, memory, folder.bytes_beside // max(transitions, 1))
    format = registry.detect(path, FORMATS)
    if format is None or format.size is None or find_spec("duckdb") is None:
        return False
    size = registry.measure(path, format)
    return size is not None and exceeds(size[0], memory, size[1])


def read_for_database(path: Path, actions: str | None, observation: str | None) -> TransitionDataset | Rows | None:
    """Open a dataset for `open_stored`: as rows that are read in pieces where its format offers that.

    Returns:
        None for a folder of Parquet files, which is read where it lies.

    Raises:
        DatasetError: it cannot be read.
    """
    if is_parquet_folder(path) and actions is None and observation is None:
        return None
    format = registry.detect(path, FORMATS)
    if format is not None and format.open is not None:
        return registry.open_rows(path, format, observation)
    return read_transitions(path, actions=actions, observation=observation)


@contextmanager
def open_stored(
    path: Path,
    data: TransitionDataset | Rows | None,
    memory: int,
    actions: str | None = None,
    progress_bar: "ProgressBar" = lambda title: nullcontext(silent),
) -> Iterator["StoredDataset"]:
    """Open a database with the transitions of a path; it and its files are gone at the end.

    Args:
        path: a folder of Parquet files, or where `data` comes from.
        data: what `read_for_database` returned.
        memory: bytes that the database may hold in memory.
        actions: the abstraction of continuous actions, of rows.
        progress_bar: opens a progress bar.

    Raises:
        DatasetError: the dataset is damaged, or the extra to read it is not installed.
    """
    from bisim_theory.relation.backends.database import Database
    from bisim_theory.stored.parquet import open_parquet
    from bisim_theory.stored.spill import spill
    from bisim_theory.stored.staging import stage

    with Database(memory) as database:
        if isinstance(data, TransitionDataset):
            yield stage(database, data, str(path))
        elif data is None:
            yield open_parquet(database, ParquetFolder.open(path))
        else:
            with progress_bar("reading rows") as progress:
                folder = spill(database, data, actions, progress)
            yield open_parquet(database, folder)


def rounds_of(backend: str) -> "RunRounds":
    """Return what computes the classes of a graph for a backend other than memory."""
    from bisim_theory.stored.analysis import refine_here

    if backend == "duckdb":
        return refine_here
    from bisim_theory.relation.backends.daft import refine_with_daft

    return lambda graph, progress: refine_with_daft(graph.data.database, len(graph.actions), graph.single, progress)


def analyse_by(
    backend: str,
    path: Path,
    data: TransitionDataset | Rows | None,
    memory: int,
    compare: str | None,
    model_of: Callable[[bool, Mapping[str, Any]], Path | None],
    actions: str | None = None,
    progress_bar: "ProgressBar" = lambda title: nullcontext(silent),
    **questions: Any,
) -> "tuple[Report, Path | None]":
    """Analyse a dataset by a backend other than memory.

    Args:
        backend: its name.
        path: a folder of Parquet files, or where `data` comes from.
        data: what `read_for_database` returned.
        memory: bytes that the database may hold in memory.
        compare: names of auxiliary functions to compare, separated by commas, or None.
        model_of: returns the representation to check, or None, by whether p is stored and by the metadata.
        actions: the abstraction of continuous actions, of rows.
        progress_bar: opens the progress bars.
        **questions: as for `analyse_stored`.

    Returns:
        The report; the representation that was taken, or None.
    """
    from bisim_theory.formats.representation import open_representation
    from bisim_theory.stored.analysis import analyse_stored

    rounds = rounds_of(backend)
    with open_stored(path, data, memory, actions, progress_bar) as stored:
        candidates = [] if compare is None else split_names(compare, stored.labels)
        given = model_of(stored.has_auxiliary, stored.metadata)
        model = None if given is None else open_representation(given, stored.database.folder)
        report = analyse_stored(
            stored,
            candidates=candidates,
            backend=backend,
            rounds=rounds,
            representation=model,
            progress_bar=progress_bar,
            **questions,
        )
        return report, given
