"""Absorbing terminal observations: rows that lead from the end of an episode to itself."""

from dataclasses import replace
from typing import Any

import numpy as np
from bisim_theory import DatasetError, TransitionDataset
from bisim_theory.data.parts import take_rows
from bisim_theory.data.terminals import ended

COLUMNS = ("source", "successor", "action", "action_value", "reward", "terminated", "truncated", "episode")
"""Columns that the data has, and the added rows get."""

MOST_ROWS = 10
"""Most rows that are added, per transition."""


def without_absorbing(data: TransitionDataset) -> TransitionDataset:
    """Leave out the rows that `absorb_terminals` has added, whose rewards nobody was given."""
    if "absorbing_rows" not in data.metadata or data.terminated is None:
        return data
    loops = data.source == data.successor
    ends = np.zeros(data.frames, bool)
    ends[data.successor[data.terminated & ~loops]] = True
    return take_rows(data, ~(loops & data.terminated & ends[data.source]))


def absorb_terminals(data: TransitionDataset, seed: int) -> TransitionDataset:
    """Add rows from every terminated observation that is never a source to itself, one for every action code.

    The dynamics learn from them that nothing follows. Each row has an episode number of its own, reward 0, and the
    value of an action of its code, drawn from the data. Truncated episodes go on elsewhere, so their last observations
    get none.

    Args:
        data: transitions with action values, rewards, terminations, truncations and episodes.
        seed: fixes the draws of action values.

    Raises:
        DatasetError: the rows would be too many.
    """
    terminal = np.setdiff1d(ended(data), data.source)
    codes, row_codes = np.unique(data.action, return_inverse=True)
    rows = len(terminal) * len(codes)
    if rows > MOST_ROWS * len(data):
        raise DatasetError(
            f"collection.terminal=absorb: {len(terminal)} terminal observations and {len(codes)} action codes make "
            f"{rows} rows beside {len(data)} transitions; choose fewer codes, as with collection.actions=bins:2, or "
            "collection.terminal=leaf"
        )
    if not rows:
        return data
    itself, code = np.repeat(terminal, len(codes)), np.tile(np.arange(len(codes)), len(terminal))
    order = np.argsort(row_codes, kind="stable")  # rows of each code, one code after the other
    first, count = np.searchsorted(row_codes[order], code), np.bincount(row_codes)[code]
    drawn = order[first + np.random.default_rng([seed, 2]).integers(0, count)]
    columns: dict[str, Any] = {name: getattr(data, name) for name in COLUMNS}
    more: dict[str, Any] = {
        "source": itself,
        "successor": itself,
        "action": codes[code],
        "action_value": columns["action_value"][drawn],
        "reward": np.zeros(rows),
        "terminated": np.ones(rows, bool),
        "truncated": np.zeros(rows, bool),
        "episode": columns["episode"].max() + 1 + np.arange(rows),
    }
    joined: dict[str, Any] = {name: np.concatenate([columns[name], more[name]]) for name in COLUMNS}
    said = {"terminal": "absorb", "absorbing": len(terminal), "absorbing_rows": rows}
    return replace(data, **joined, metadata=dict(data.metadata) | said)
