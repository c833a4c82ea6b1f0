"""Residuals of a model at all transitions on disk, computed from pieces of its arrays."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bisim_theory.data.representation import RepresentationError
from bisim_theory.formats.representation import OF_OBSERVATIONS, StoredRepresentation
from bisim_theory.relation.backends.database import Database
from bisim_theory.stored.graph import MEMBER, NODE, StoredGraph
from bisim_theory.stored.identity import NUMBERED_JOINED
from bisim_theory.theorem.check import QUANTILES

RESIDUAL = "residual"
"""Table (row, source, action, successor, e_d, e_p, raw, abstraction) of all transitions; e_p is missing where p is."""

ROWS_AT_ONCE = 1 << 16

SAME_EMBEDDING = 1e-3
"""Distance in units of the embeddings' root mean square up to which two are one, as rounding depends on the batch."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Scan:
    """Hold the measures of one pass over all rows of a model's arrays.

    Attributes:
        rms: root mean square of the embeddings of the observations that the relation is over.
        transition, auxiliary: quantiles of e_d and of e_p.
        raw, abstraction: quantiles as in `bisim_theory.theorem.check.TheoremCheck`; None without canonical actions.
        largest_auxiliary: the largest e_p of any observation, 0 where none is known.
    """

    rms: float
    transition: tuple[float, ...]
    auxiliary: tuple[float, ...]
    raw: tuple[float, ...] | None
    abstraction: tuple[float, ...] | None
    largest_auxiliary: float


def scan(graph: StoredGraph, model: StoredRepresentation) -> Scan:
    """Make the table `RESIDUAL`, and compute what is of all observations and transitions.

    Raises:
        DatasetError: the arrays do not fit the data, hold a row that is not finite, or equal observations have
            different embeddings.
    """
    check_shapes(graph, model)
    database = graph.data.database
    _load_norms(graph, model)
    if graph.joined:
        _require_function(graph, model)
    rms = database.row(f"select sqrt(avg(squared)) from norm semi join {MEMBER} on {MEMBER}.id = norm.id")[0]
    _load_residuals(graph, model)
    canonical = "predicted_embedding_canonical" in model.arrays
    of_sources = (
        f"select e, sum(times) as times from (select max(e_p) as e, count(*) as times from {RESIDUAL} "
        "where not isnan(e_p) group by source) group by e order by e"
    )
    auxiliary = _quantiles(database, of_sources)
    return Scan(
        rms=float(rms),
        transition=_quantiles(database, _values("e_d")),
        auxiliary=auxiliary,
        raw=_quantiles(database, _values("raw")) if canonical else None,
        abstraction=_quantiles(database, _values("abstraction")) if canonical else None,
        largest_auxiliary=max(auxiliary[-1], *database.row("select coalesce(max(error), 0) from observed_error"), 0.0),
    )


def check_shapes(graph: StoredGraph, model: StoredRepresentation) -> None:
    """Raise `RepresentationError` unless the arrays have a row for each observation and transition."""
    data = graph.data
    for name, array in model.arrays.items():
        rows = data.frames if name in OF_OBSERVATIONS else len(data)
        columns = int(np.prod(array.shape[1:], dtype=np.int64))
        wrong = "auxiliary" in name and columns != graph.components
        if array.shape[0] != rows or wrong:
            shape = (rows, graph.components) if wrong and graph.components > 1 else (rows,)
            raise RepresentationError(f"{name}: is {array.shape}, the transitions ask for {shape}")


def _load_norms(graph: StoredGraph, model: StoredRepresentation) -> None:
    """Make the tables ``norm`` (id, squared) of embeddings, and ``observed_error`` (id, error) of predicted p."""
    database, append = graph.data.database, False
    for start in range(0, graph.data.frames, ROWS_AT_ONCE):
        stop = min(start + ROWS_AT_ONCE, graph.data.frames)
        squared = np.square(model.rows("embedding", start, stop), dtype=np.float64).sum(1)
        database.load("norm", {"id": np.arange(start, stop), "squared": squared}, append)
        append = True
    database.execute("create or replace table observed_error (id bigint, error double)")
    if "predicted_observation_auxiliary" not in model.arrays:
        return
    query = f"select id, {_p(graph, NODE)} from {NODE} where acted >= 0 and {graph.is_known} order by id"
    for found in database.batches(query, ROWS_AT_ONCE):
        ids = found["id"].astype(np.int64)
        predicted = model.arrays["predicted_observation_auxiliary"].read_rows(ids)
        error = distance_of_rows(predicted.reshape(len(ids), -1), _side_by_side(graph, found))
        database.load("observed_error", {"id": ids, "error": error}, True)


def _require_function(graph: StoredGraph, model: StoredRepresentation) -> None:
    """Raise `RepresentationError` where observations of equal content have different embeddings."""
    database, worst, pair = graph.data.database, 0.0, (0, 0)
    embedding = model.arrays["embedding"]
    for found in database.batches("select id, name from same order by id", ROWS_AT_ONCE):
        ids, names = found["id"].astype(np.int64), found["name"].astype(np.int64)
        apart = distance_of_rows(embedding.read_rows(ids), embedding.read_rows(names))
        if apart.max() > worst:
            worst, pair = float(apart.max()), (int(names[apart.argmax()]), int(ids[apart.argmax()]))
    scale = float(database.row("select sqrt(avg(squared)) from norm")[0])
    if worst > SAME_EMBEDDING * scale:
        raise RepresentationError(
            f"embedding: observations {pair[0]} and {pair[1]} are equal and have embeddings {worst:.4g} apart; E is a "
            "function of the observation, evaluated with nothing random"
        )


def _load_residuals(graph: StoredGraph, model: StoredRepresentation) -> None:
    database, append = graph.data.database, False
    query = (
        f"select n.row as row, n.source as source, n.action as action, n.successor as successor, {_p(graph, NODE)}, "
        f"coalesce(observed_error.error, 0.0) as observed from {NUMBERED_JOINED} as n "
        f"join {NODE} on {NODE}.id = n.source left join observed_error on observed_error.id = n.source order by n.row"
    )
    for found in database.batches(query, ROWS_AT_ONCE):
        start, stop = int(found["row"][0]), int(found["row"][-1]) + 1
        reached = model.arrays["embedding"].read_rows(found["successor"].astype(np.int64))
        predicted = model.rows("predicted_embedding", start, stop)
        columns = {name: found[name] for name in ("row", "source", "action", "successor")}
        if "predicted_embedding_canonical" in model.arrays:
            canonical = model.rows("predicted_embedding_canonical", start, stop)
            columns["raw"] = distance_of_rows(predicted, reached)
            columns["abstraction"] = distance_of_rows(predicted, canonical)
            predicted = canonical
        columns["e_d"] = distance_of_rows(predicted, reached)
        of_p = model.rows("predicted_auxiliary", start, stop).reshape(stop - start, -1)
        columns["e_p"] = np.maximum(distance_of_rows(of_p, _side_by_side(graph, found)), found["observed"])
        database.load(RESIDUAL, columns, append)
        append = True


def _p(graph: StoredGraph, table: str) -> str:
    """Return the columns c0, c1, ... of p as floats, NaN where it is not known."""
    cells = (f"c{place}" for place in range(graph.components))
    return ", ".join(f"coalesce({table}.{cell}::double, 'nan'::double) as {cell}" for cell in cells)


def _side_by_side(graph: StoredGraph, found: dict[str, NDArray[Any]]) -> Floats:
    return np.stack([found[f"c{place}"] for place in range(graph.components)], 1).astype(np.float64)


def distance_of_rows(a: NDArray[Any], b: NDArray[Any]) -> Floats:
    """Compute (B,) Euclidean distances of rows (B, d) in double precision."""
    return np.asarray(np.sqrt(np.square(a.astype(np.float64) - b).sum(1)))


def _values(column: str) -> str:
    return f"select {column} as e, 1 as times from {RESIDUAL} order by 1"


def _quantiles(database: Database, query: str) -> tuple[float, ...]:
    """Compute the quantiles of values (e, times) that come in ascending order; zeros where there are none."""
    (total,) = database.row(f"select coalesce(sum(times), 0) from ({query})")
    if not total:
        return (0.0,) * len(QUANTILES)
    places = np.array(QUANTILES) * (int(total) - 1)
    wanted = np.unique(np.concatenate([np.floor(places), np.ceil(places)])).astype(np.int64)
    found: dict[int, float] = {}
    for begin, values, ends in _ranked(database, query):
        for place in wanted[(wanted >= begin) & (wanted < int(ends[-1]))].tolist():
            found[place] = float(values[np.searchsorted(ends, place, "right")])
    # Between two neighbours as NumPy interpolates.
    return tuple(
        float(np.quantile([found[int(np.floor(place))], found[int(np.ceil(place))]], place % 1)) for place in places
    )


def _ranked(database: Database, query: str) -> Iterator[tuple[int, Floats, NDArray[np.int64]]]:
    """Yield the rank of the first value of a piece, its values, and the rank after each."""
    begin = 0
    for found in database.batches(query, ROWS_AT_ONCE):
        ends = begin + np.cumsum(found["times"].astype(np.int64))
        yield begin, found["e"].astype(np.float64), ends
        begin = int(ends[-1])
