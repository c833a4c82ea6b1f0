"""Query what data on disk states of the auxiliary function p."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bisim_theory.data.auxiliary_names import LARGEST_MULTIPLE, NAMES, Term, parse_auxiliary, unused_reward
from bisim_theory.data.bins import Bins
from bisim_theory.data.contradiction import NoWellTrainedModelError
from bisim_theory.data.transitions import DatasetError
from bisim_theory.formats.parquet_columns import P as OBSERVATION_P
from bisim_theory.stored.dataset import NUMBERED, OBSERVATION, TRANSITION, Column, StoredDataset
from bisim_theory.stored.identity import JOINED, NAME_OF

MOST_COLUMNS = 1000
"""Most components of p."""


@dataclass(frozen=True)
class Stated:
    """One statement of p for each row of a query, in columns ``o`` and ``c0``, ``c1``, ...

    Attributes:
        table: the rows.
        observation: the id that is spoken of, before equal observations are joined; an expression.
        cells: an expression for each number of p.
        rows: whether the rows are transitions, of which contradictions are told by number.
        where: condition of the rows that state anything.
        number: name of the column that numbers the rows.
    """

    table: str
    observation: str
    cells: tuple[str, ...]
    rows: bool = True
    where: str = "true"
    number: str = "row"


def offered(data: StoredDataset) -> list[str]:
    """Return the names of the auxiliary functions that are computed on disk."""
    has = {
        "auxiliary": data.has_auxiliary,
        "reward": "reward" in data.columns or (data.has_auxiliary and data.metadata.get("auxiliary") == "reward"),
        "reward:actions": "reward" in data.columns,
        "terminated": "terminated" in data.columns,
        "constant": True,
    }
    return list(dict.fromkeys([*(name for name in has if has[name]), *data.labels]))


def terms_of(data: StoredDataset, name: str | None) -> list[Term]:
    """Read a name; that of the stored p, and those of labels, are taken as they are."""
    if name is None:
        return [Term("auxiliary", "auxiliary")]
    stored = data.metadata.get("auxiliary") if data.has_auxiliary else None
    return [Term(name, name)] if name == stored else parse_auxiliary(name, data.labels)


def statements(data: StoredDataset, name: str | None) -> list[list[Stated]]:
    """Return what the data states of p by a name: for each term of it, in order, the queries that do.

    Raises:
        DatasetError: the dataset does not offer it on disk.
    """
    found = []
    for term in terms_of(data, name):
        stated = _coarser(data, term, _exact(data, term))
        found.append([_by_action(data, term, *stated)] if term.base == "reward:actions" else stated)
    return found


def check_offered(data: StoredDataset, name: str | None) -> None:
    """Raise `DatasetError` unless the auxiliary function of a name is computed on disk."""
    for term in terms_of(data, name):
        _exact(data, term)


def _exact(data: StoredDataset, term: Term) -> list[Stated]:
    base = term.base
    if data.has_auxiliary and base in ("auxiliary", data.metadata.get("auxiliary")):
        return _stored(data)
    if base in data.labels:
        return [Stated(OBSERVATION, f"{OBSERVATION}.id", tuple(data.labels[base].parts), rows=False, number="id")]
    if base == "reward" and "reward" in data.columns:
        return [Stated(TRANSITION, "successor", tuple(data.columns["reward"].parts))]
    if base == "terminated" and "terminated" in data.columns:
        return _terminated()
    if base == "reward:actions" and "reward" in data.columns:
        return [Stated(TRANSITION, "source", tuple(data.columns["reward"].parts))]
    if base == "constant":
        return [
            Stated(TRANSITION, "source", ("0.0::double",), rows=False),
            Stated(TRANSITION, "successor", ("0.0::double",), rows=False),
        ]
    raise DatasetError(
        f"auxiliary={term.name!r}: {unused_reward(base, data.metadata)}out of memory this dataset offers "
        f"{', '.join(offered(data))}, with :bins:K or "
        ":round:STEP, several joined by +; others need --backend memory"
    )


def _stored(data: StoredDataset) -> list[Stated]:
    found, lengths = [], set()
    if "auxiliary" in data.columns:
        column: Column = data.columns["auxiliary"]
        lengths.add(column.length)
        found.append(Stated(TRANSITION, "source", tuple(column.parts), rows=OBSERVATION_P not in data.known))
    if OBSERVATION_P in data.known:
        column = data.known[OBSERVATION_P]
        lengths.add(column.length)
        known = f"{OBSERVATION_P} is not null"
        found.append(
            Stated(OBSERVATION, f"{OBSERVATION}.id", tuple(column.parts), rows=False, where=known, number="id")
        )
    if len(lengths) > 1:
        raise DatasetError(f"{OBSERVATION_P}: has other columns than auxiliary; give both as many columns")
    return found


def _terminated() -> list[Stated]:
    """State 1 of what a terminated step led to, 0 of what another one led to, and 0 where no step led."""
    begins = (
        f"(select n.row as row, n.source as source from {NUMBERED} as n left join same on same.id = n.source "
        f"anti join {JOINED} as j on j.successor = coalesce(same.name, n.source)) as begins"
    )
    return [
        Stated(TRANSITION, "successor", ("terminated::double",)),
        Stated(begins, "begins.source", ("0.0::double",)),
    ]


def _by_action(data: StoredDataset, term: Term, steps: Stated) -> Stated:
    """Gather the rewards of steps from an observation into one vector, where every action of the data was seen.

    Raises:
        DatasetError: no observation was seen under every action.
        NoWellTrainedModelError: an action from one observation had two rewards.
    """
    database, (cell,) = data.database, steps.cells
    step = (
        f"(select n.row as row, n.source as given, coalesce(same.name, n.source) as source, n.action as action, "
        f"{cell} as r from {NUMBERED} as n left join same on same.id = n.source)"
    )
    first = (
        "(select source, action, min(row) as row, arg_min(r, row) as r, arg_min(given, row) as given "
        f"from {step} group by all)"
    )
    wrong = database.rows(
        f"select f.row, f.given, f.r, s.row, s.given, s.r from {step} as s join {first} as f "
        "on f.source = s.source and f.action = s.action where s.r != f.r order by s.row limit 1"
    )
    if wrong:
        row, x, p, other_row, y, q = wrong[0]
        raise NoWellTrainedModelError((int(x), int(y)), (p, q), [], (row, other_row), equal=True)
    actions = [action for (action,) in database.rows(f"select distinct action from {NUMBERED} order by 1")]
    if len(actions) > MOST_COLUMNS:
        raise DatasetError(f"auxiliary {term.name}: there are {len(actions):,} actions; choose another p")
    cells = ", ".join(
        f"max(case when action = {action} then r end) as r{place}" for place, action in enumerate(actions)
    )
    table = (
        f"(select source as id, {cells} from {step} group by source having count(distinct action) = {len(actions)}) "
        "as whole"
    )
    if not database.rows(f"select 1 from {table} limit 1"):
        raise DatasetError(
            f"auxiliary {term.name}: no observation was seen under all of the {len(actions)} actions; tell observations"
            " apart with --identity content, or choose another p"
        )
    names = tuple(f"whole.r{place}" for place in range(len(actions)))
    return Stated(table, "whole.id", names, rows=False, number="id")


def _named(expression: str) -> str:
    return NAME_OF.format(expression)


def _coarser(data: StoredDataset, term: Term, stated: list[Stated]) -> list[Stated]:
    """Make values coarser by bins over their range or by rounding, in the arithmetic of NumPy."""
    if term.bins is not None:
        bins = _bins(data, stated, term.bins)
        cells = [tuple(_bin_of(cell, bins, place) for place, cell in enumerate(each.cells)) for each in stated]
    elif term.step is not None:
        cells = [tuple(_rounded(cell, term.step) for cell in each.cells) for each in stated]
        _check_digits(data, term, stated)
    else:
        return stated
    return [replace(each, cells=of) for each, of in zip(stated, cells, strict=True)]


def _bins(data: StoredDataset, stated: list[Stated], count: int) -> Bins:
    ends = [
        data.database.row(
            "select " + ", ".join(f"min({c})::double, max({c})::double" for c in each.cells)
            + f" from {each.table} where {each.where}"
        )
        for each in stated
    ]  # fmt: skip
    ends = [each for each in ends if each[0] is not None]
    table = np.array(ends)
    return Bins(count, tuple(table[:, ::2].min(0).tolist()), tuple(table[:, 1::2].max(0).tolist()))


def _bin_of(cell: str, bins: Bins, place: int) -> str:
    low, high, count = bins.low[place], bins.high[place], bins.count
    width = high - low if high > low else 1.0
    share = f"(({cell})::double - {low!r}::double) / {width!r}::double"
    return f"least(greatest(floor({share} * {count}), 0), {count - 1})::bigint"


def _rounded(cell: str, step: float) -> str:
    multiple = f"round_even(({cell})::double / {step!r}::double, 0)"
    whole = round(1 / step) if step < 1 else 0
    if whole > 0 and abs(whole * step - 1) < 1e-12:
        return f"{multiple} / {whole}::double + 0.0"
    return f"{multiple} * {step!r}::double + 0.0"


def _check_digits(data: StoredDataset, term: Term, stated: list[Stated]) -> None:
    for each in stated:
        largest = ", ".join(f"max(abs(({cell})::double))" for cell in each.cells)
        found = data.database.row(f"select {largest} from {each.table} where {each.where}")
        if any(value is not None and value / term.step > LARGEST_MULTIPLE for value in found):
            raise DatasetError(f"auxiliary {term.name}: STEP is finer than the digits of the values; give a larger one")


def describe(data: StoredDataset, name: str | None) -> str:
    """Say in words what the auxiliary function of a name is."""
    return "; ".join(_describe(data, term) for term in terms_of(data, name))


def _describe(data: StoredDataset, term: Term) -> str:
    if data.has_auxiliary and term.base in ("auxiliary", data.metadata.get("auxiliary")):
        words = NAMES["auxiliary"]
    elif term.base in data.labels:
        words = f"the label {term.base}"
    else:
        words = NAMES.get(term.base, f"what {term.base} returns for the observation")
    if term.step is not None:
        return f"{words}, rounded to multiples of {term.step:g}"
    if term.bins is None:
        return words
    bins = _bins(data, _exact(data, term), term.bins)
    said = f"as the number of one of {term.bins} equal bins of the range in this data"
    return f"{words}, {said}, of each component" if len(bins.low) > 1 else f"{words}, {said}: {bins.intervals(0)}"


def contradiction(data: StoredDataset, term: list[Stated]) -> NoWellTrainedModelError:
    """Return the first contradiction of what is stated: two values of p at one observation.

    Which two is decided as in memory: the first statement that differs from the last one of its observation.
    """
    numbered = all(each.rows for each in term)
    cells = [f"c{place}" for place in range(len(term[0].cells))]
    parts = []
    for order, each in enumerate(term):
        table = NUMBERED if each.table == TRANSITION else each.table
        values = ", ".join(f"{cell} as {name}" for cell, name in zip(each.cells, cells, strict=True))
        parts.append(
            f"select {order} as part, {each.number} as place, {each.observation} as o, "
            f"{_named(each.observation)} as named, {values} from {table} where {each.where}"
        )
    stated = f"with stated as ({' union all '.join(parts)}), "
    last = (
        "latest as (select named, max_by(struct_pack(part := part, place := place, o := o, "
        + ", ".join(f"{name} := {name}" for name in cells)
        + "), (part, place)) as l from stated group by named) "
    )
    differs = " or ".join(f"stated.{name} != latest.l.{name}" for name in cells)
    mine, other = ", ".join(f"stated.{n}" for n in cells), ", ".join(f"latest.l.{n}" for n in cells)
    places = "stated.part, stated.place, stated.o, latest.l.part, latest.l.place, latest.l.o"
    found = data.database.rows(
        f"{stated}{last} select {places}, {mine}, {other} from stated join latest on stated.named = latest.named "
        f"where {differs} order by stated.part, stated.place limit 1"
    )[0]
    first = (found[0], found[1], found[2], _plain(found[6 : 6 + len(cells)]))
    second = (found[3], found[4], found[5], _plain(found[6 + len(cells) :]))
    (_, row, x, p), (_, other_row, y, q) = sorted((first, second), key=lambda each: each[:2])
    return NoWellTrainedModelError((int(x), int(y)), (p, q), [], (row, other_row) if numbered else None, equal=True)


def _plain(values: tuple[Any, ...]) -> Any:
    """Return one value of p: a number, or a list of them."""
    return values[0] if len(values) == 1 else list(values)
