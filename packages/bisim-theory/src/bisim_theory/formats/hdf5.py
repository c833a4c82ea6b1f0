"""The flat HDF5 file of stable-worldmodel: a column for each name, a row for each frame, episodes by offset and length.

Row t holds the frame, the reward and the ends of the step that led to it, and the action taken from it. The action in
the last row of an episode and the reward in its first belong to no step of the file and are ignored.
"""

from pathlib import Path
from typing import Any

import numpy as np

from bisim_theory.data.transitions import DatasetError, Ids, TransitionDataset
from bisim_theory.formats.columns import Column, converted, held, is_label_column, one_column, pieces
from bisim_theory.formats.episodes import describe_choice, label_of, steps_between
from bisim_theory.formats.frames import images_last
from bisim_theory.formats.hdf5_arrays import Hdf5File, StoredDataset, column_sizes, is_hdf5
from bisim_theory.formats.limits import check_expansion, shown, stored_bytes
from bisim_theory.formats.registry import Format
from bisim_theory.formats.rows import Rows

CONVENTION = (
    "a row is a frame, the action taken from it, and the reward and the ends of the step into it; the next row of the "
    "episode is its successor"
)

_OBSERVATIONS = ("pixels", "observation")
_ENDS = ("terminated", "truncated")
_STEP = ("reward", *_ENDS)
_INDEX = ("ep_len", "ep_offset")
D4RL = ("observations", "actions", "rewards", "terminals")
"""Arrays of another layout, which is named where a file is nearer to it."""


def read_hdf5(path: Path, actions: str | None = None, observation: str | None = None) -> TransitionDataset:
    """Read a flat HDF5 file; see `bisim_theory.read_transitions`.

    The observation is the column ``pixels``, else ``observation``, or the one that `observation` names. Further columns
    of numbers become labels.

    Raises:
        DatasetError: the file is damaged or has another layout.
        ImportError: h5py is not installed.
    """
    return open_hdf5(path, observation, hold=True).to_transitions(actions)


def open_hdf5(path: Path, observation: str | None = None, *, hold: bool = False) -> Rows:
    """Open a flat HDF5 file, of which all columns but the observation are read at once if `hold`.

    Raises:
        DatasetError, ImportError: as for `read_hdf5`.
    """
    file = Hdf5File(path)
    names = [name for name, group in file.names().items() if not group]
    key = _observation_key(path, names, observation)
    stored, unread = _open(file, [name for name in names if name != key])
    frames = file.array(key)
    rows = frames.shape[0]
    large = {name for name, column in stored.items() if len(column.shape) > 2 and column.shape[0] == rows}
    small = {name: column for name, column in stored.items() if name not in large}
    check_expansion(str(path), sum(each.nbytes for each in small.values()), frames.nbytes, stored_bytes(path))
    columns: dict[str, Column] = {name: held(column, hold or name in _INDEX) for name, column in small.items()}
    offsets, lengths = _episodes(path, columns.pop("ep_offset"), columns.pop("ep_len"), rows)
    for name in ("action", *_STEP):
        if name in columns and columns[name].shape[0] != rows:
            raise DatasetError(f"{path}: {name}: is {columns[name].shape}, and there are {rows} frames")
    action, reward = columns.pop("action"), columns.pop("reward", None)
    ends = {name: _bools(path, name, columns.pop(name), offsets, lengths) for name in _ENDS if name in columns}
    labels = {label_of(name): column for name, column in columns.items() if column.shape[0] == rows}
    vectors = [name for name in _OBSERVATIONS if label_of(name) in labels]
    others = {name: label_of(name) for name in vectors if is_label_column(label_of(name), labels[label_of(name)])}
    return Rows(
        what=str(path),
        format="stable-worldmodel HDF5",
        convention=CONVENTION,
        offsets=offsets,
        lengths=lengths,
        action=action,
        rewards_lead_out=False,
        last_row_is_step=False,
        observation=images_last(frames),
        reward=None if reward is None else one_column(reward),
        ends=ends,
        columns=labels,
        left_out=[*describe_choice(key, {**dict.fromkeys(sorted(large)), **others}), *unread],
    )


def _observation_key(path: Path, names: list[str], wanted: str | None) -> str:
    """Return the name of the observations.

    Raises:
        DatasetError: they or another column that is needed are missing.
    """
    offered = [name for name in names if name not in (*_INDEX, *_STEP, "action")]
    if wanted is not None and wanted not in offered:
        raise DatasetError(f"{path}: --observation {wanted}: is none of its observations, {shown(sorted(offered))}")
    key = wanted or next((name for name in _OBSERVATIONS if name in names), None)
    missing = [name for name in (*_INDEX, "action", key or "pixels") if name not in names]
    if missing:
        of_d4rl = [name for name in D4RL if name not in names]
        nearer = len(of_d4rl) / len(D4RL) < len(missing) / (len(_INDEX) + 2)
        raise DatasetError(
            f"{path}: {', '.join(of_d4rl if nearer else missing)}: missing for the layout of "
            f"{'D4RL' if nearer else 'stable-worldmodel'}, which is nearest; the file must have ep_len, ep_offset, "
            "action and pixels or observation, or name another with --observation, as stable-worldmodel writes them; "
            "or observations, actions, rewards and terminals, as D4RL does (for another layout, give the folder it "
            "belongs to)"
        )
    assert key is not None  # or pixels were missing
    return key


def _open(file: Hdf5File, names: list[str]) -> tuple[dict[str, StoredDataset], list[str]]:
    """Open the columns that hold numbers; raise for another one only if it is required. Say which are not read."""
    columns, unread = {}, []
    for name in names:
        try:
            columns[name] = file.array(name)
        except DatasetError as error:
            if name in (*_INDEX, *_STEP, "action"):
                raise
            unread.append(str(error).removeprefix(f"{file.path}: "))
    return columns, unread


def _bools(path: Path, name: str, values: Column, offsets: Ids, lengths: Ids) -> Column:
    """Return a column as bools; only the rows that a step leads to need hold 0 or 1."""
    values = one_column(values)
    if values.dtype == np.bool_:
        return values
    for start, piece in pieces(values):
        used = piece[steps_between(offsets, lengths, start - 1, start + len(piece) - 1)[0] + 1 - start]
        if values.dtype.kind not in "iuf" or not ((used == 0) | (used == 1)).all():
            raise DatasetError(f"{path}: {name}: must be 0 or 1, holds {shown(values.dtype.str)}")
    return converted(values, lambda piece: piece == 1)


def _episodes(path: Path, offsets: Any, lengths: Any, rows: int) -> tuple[Ids, Ids]:
    for name, values in (("ep_offset", offsets), ("ep_len", lengths)):
        if values.ndim != 1 or values.dtype.kind not in "iu" or values.shape != lengths.shape:
            raise DatasetError(f"{path}: {name}: must be (E,) integers, is {values.shape} {values.dtype}")
        if len(values) and (values.min() < 0 or values.max() > rows):
            raise DatasetError(f"{path}: {name}: holds {values.min()} to {values.max()}, and there are {rows} frames")
    offsets, lengths = offsets.astype(np.int64), lengths.astype(np.int64)
    ends = np.append(offsets[1:], rows)
    if (offsets + lengths > ends).any():
        episode = int(np.argmax(offsets + lengths > ends))
        raise DatasetError(
            f"{path}: ep_len: episode {episode} reaches frame {offsets[episode] + lengths[episode]}, "
            f"beyond {ends[episode]}, where the next one begins or the frames end"
        )
    return offsets, lengths


def size_hdf5(path: Path) -> tuple[int, int]:
    """Return the number of rows of a file, and the bytes of one without its images.

    Raises:
        DatasetError, ImportError: as for `read_hdf5`.
    """
    return column_sizes(Hdf5File(path), [""], "action")


FORMAT = Format("an HDF5 file", is_hdf5, read_hdf5, extra="hdf5", chooses=True, open=open_hdf5, size=size_hdf5)
