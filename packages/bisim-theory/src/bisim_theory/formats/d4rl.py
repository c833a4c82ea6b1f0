"""Flat HDF5 files like those of D4RL: rows of all episodes one after the other, with their ends."""

from pathlib import Path
from typing import Any

import numpy as np

from bisim_theory.data.transitions import DatasetError, Ids, TransitionDataset, piece_rows
from bisim_theory.formats.columns import Column, binary, converted, held, one_column, pieces
from bisim_theory.formats.frames import FlatFrames, LazyFrames, images_last, load_vectors
from bisim_theory.formats.hdf5_arrays import Hdf5File, StoredDataset, column_sizes, names_in
from bisim_theory.formats.limits import check_expansion, stored_bytes, usable_name
from bisim_theory.formats.registry import Format
from bisim_theory.formats.rows import Rows

CONVENTION = "a row is a frame, the action taken from it, and the reward and the ends of the step out of it"
NEXT_ROW = "; the next row is its successor, but not after terminals and timeouts"
NEXT_STORED = "; its successor stands in next_observations"
NO_TIMEOUTS = "; there are no timeouts, so an episode that was cut off is taken to run on into the next"

_OBSERVATIONS, _FOLLOWING, _ACTIONS, _REWARDS = "observations", "next_observations", "actions", "rewards"
_ENDS = ("terminals", "timeouts")
_REQUIRED = (_OBSERVATIONS, _ACTIONS, "terminals")
_INFOS = "infos"


def is_d4rl(path: Path) -> bool:
    """Return whether a path is an HDF5 file with the arrays of D4RL."""
    names = names_in(path)
    return all(names.get(name) is False for name in _REQUIRED)


def read_d4rl(path: Path, actions: str | None = None) -> TransitionDataset:
    """Read a flat HDF5 file like those of D4RL; see `bisim_theory.read_transitions`.

    Raises:
        DatasetError: the file is damaged or has another layout.
        ImportError: h5py is not installed.
    """
    return open_d4rl(path, hold=True).to_transitions(actions)


def open_d4rl(path: Path, *, hold: bool = False) -> Rows:
    """Open a flat HDF5 file like those of D4RL, of which all columns but the observations are read at once if `hold`.

    Raises:
        DatasetError, ImportError: as for `read_d4rl`.
    """
    file = Hdf5File(path)
    frames = file.array(_OBSERVATIONS)
    following = file.array(_FOLLOWING) if _FOLLOWING in file.names() else None
    stores, unread = _open(file, frames.shape[0])
    stored = [frames] if following is None else [frames, following]
    size = sum(each.nbytes for each in stores.values())
    check_expansion(str(path), size, sum(each.nbytes for each in stored), stored_bytes(path))
    if following is not None and (following.shape, following.dtype) != (frames.shape, frames.dtype):
        raise DatasetError(
            f"{path}: {_FOLLOWING}: is {following.shape} {following.dtype}, {_OBSERVATIONS} is {frames.shape} "
            f"{frames.dtype}"
        )
    columns = {name: one_column(held(store, hold)) for name, store in stores.items()}
    ends = {name: _flags(path, name, columns.pop(name)) for name in _ENDS if name in columns}
    rows = frames.shape[0]
    if rows == 0:
        raise DatasetError(f"{path}: {_OBSERVATIONS}: there are none")
    last = _last_rows(list(ends.values()))
    offsets = np.append(0, last[last < rows - 1] + 1)
    observation, after = images_last(frames), None
    if following is not None:  # which is compared row by row
        observation, after = load_vectors(_lazy(frames)), load_vectors(_lazy(following))
    unstored = None if after is None else _crossing(observation, after, last)
    convention = CONVENTION + (NEXT_ROW if following is None else NEXT_STORED)
    return Rows(
        what=str(path),
        format="D4RL",
        convention=convention + (NO_TIMEOUTS if following is None and "timeouts" not in ends else ""),
        offsets=offsets,
        lengths=np.diff(np.append(offsets, rows)),
        action=columns.pop(_ACTIONS),
        observation=observation,
        following=after,
        unstored=unstored,
        reward=columns.pop(_REWARDS, None),
        ends=_as_fields(ends),
        columns=columns,
        left_out=_left_out(unread, unstored),
    )


def _open(file: Hdf5File, rows: int) -> tuple[dict[str, StoredDataset], list[str]]:
    """Open the columns at the root and under ``infos``; return also the names of what is no column."""
    root = file.names()
    inner = file.names(_INFOS) if root.get(_INFOS) else {}
    places = [*root, *(f"{_INFOS}/{name}" for name in inner)]
    columns, others = {}, []
    for place in places:
        if place in (_OBSERVATIONS, _FOLLOWING, _INFOS) or not usable_name(place):
            continue
        try:
            column = file.array(place)
            if column.shape[:1] != (rows,):
                raise DatasetError(f"{file.path}: {place}: is {column.shape}, and there are {rows} observations")
        except DatasetError:
            if place in (_ACTIONS, _REWARDS, *_ENDS):
                raise
            others.append(place)
        else:
            columns[place] = column
    return columns, others


def _flags(path: Path, name: str, values: Column) -> Column:
    if not binary(values):
        raise DatasetError(f"{path}: {name}: must be (N,) of 0 and 1, is {values.shape} {values.dtype}")
    return converted(values, lambda piece: piece == 1)


def _last_rows(ends: list[Column]) -> Ids:
    """Return the rows at which an episode ends."""
    found = [start + np.flatnonzero(piece) for column in ends for start, piece in pieces(column)]
    return np.unique(np.concatenate(found))


def _crossing(frames: Any, following: Any, last: Ids) -> Ids | None:
    """Return the ends of episodes, if what is stored as their successor is the first frame of the next; else None.

    Data that were made by shifting the observations by one row have such successors.
    """
    ends = last[last < len(frames) - 1]
    if len(ends) == 0:
        return None
    for start in range(0, len(ends), size := piece_rows(frames)):
        rows = ends[start : start + size]
        if not np.array_equal(following[rows], frames[rows + 1]):
            return None
    return last


def _left_out(unread: list[str], unstored: Ids | None) -> list[str]:
    sentences = [f"{', '.join(unread)}: no numbers, one row for each observation"] if unread else []
    if unstored is not None:
        sentences.append(f"{_FOLLOWING} at ends of episodes, where they are the first observation of the next episode")
    return sentences


def _as_fields(ends: dict[str, Column]) -> dict[str, Column]:
    """Return `terminated`, and `truncated` where the file has timeouts; a step that was both was terminated."""
    fields = {"terminated": ends["terminals"]}
    if "timeouts" in ends:
        both = [ends["timeouts"], ends["terminals"]]
        if all(isinstance(each, np.ndarray) for each in both):
            fields["truncated"] = both[0][:] & ~both[1][:]
        else:
            fields["truncated"] = converted(FlatFrames(both), lambda piece: piece[:, 0] & ~piece[:, 1])
    return fields


def _lazy(frames: LazyFrames) -> LazyFrames:
    moved = images_last(frames)
    assert isinstance(moved, LazyFrames)
    return moved


def size_d4rl(path: Path) -> tuple[int, int]:
    """Return the number of rows of a file, and the bytes of one without its images.

    Raises:
        DatasetError, ImportError: as for `read_d4rl`.
    """
    return column_sizes(Hdf5File(path), [""], _ACTIONS)


FORMAT = Format("a flat HDF5 file like D4RL's", is_d4rl, read_d4rl, extra="hdf5", open=open_d4rl, size=size_d4rl)
