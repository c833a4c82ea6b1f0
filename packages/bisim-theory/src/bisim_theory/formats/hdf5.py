"""The flat HDF5 file of stable-worldmodel: a column for each name, a row for each frame, episodes by offset and length.

Row t holds the frame, the reward and the ends of the step that led to it, and the action taken from it. The action in
the last row of an episode and the reward in its first belong to no step of the file and are ignored.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bisim_theory.data.transitions import DatasetError, Ids, TransitionDataset
from bisim_theory.formats.actions import encode_actions
from bisim_theory.formats.episodes import assemble, describe, steps_within
from bisim_theory.formats.frames import images_last
from bisim_theory.formats.hdf5_arrays import Hdf5File, StoredDataset, is_hdf5
from bisim_theory.formats.limits import check_expansion, shown, stored_bytes
from bisim_theory.formats.registry import Format

CONVENTION = (
    "a row is a frame, the action taken from it, and the reward and the ends of the step into it; the next row of the "
    "episode is its successor"
)

_OBSERVATIONS = ("pixels", "observation")
_STEP = ("reward", "terminated", "truncated")
_INDEX = ("ep_len", "ep_offset")


def read_hdf5(path: Path, actions: str | None = None) -> TransitionDataset:
    """Read a flat HDF5 file; see `bisim_theory.read_transitions`.

    Raises:
        DatasetError: the file is damaged or has another layout.
        ImportError: h5py is not installed.
    """
    file = Hdf5File(path)
    names = [name for name, group in file.names().items() if not group]
    observation = next((name for name in _OBSERVATIONS if name in names), None)
    for name in (*_INDEX, "action", observation or "pixels"):
        if name not in names:
            raise DatasetError(
                f"{path}: {name}: is missing; the file must have ep_len, ep_offset, action and pixels or "
                "observation, as stable-worldmodel writes them (for another layout, give the folder it belongs to)"
            )
    columns = _open(file, [name for name in names if name != observation])
    frames = file.array(observation or "")
    check_expansion(str(path), sum(each.nbytes for each in columns.values()), frames.nbytes, stored_bytes(path))
    return _to_transitions(path, frames, {name: column.read() for name, column in columns.items()}, actions)


def _open(file: Hdf5File, names: list[str]) -> dict[str, StoredDataset]:
    """Open the columns that hold numbers; raise for another one only if it is required."""
    columns = {}
    for name in names:
        try:
            columns[name] = file.array(name)
        except DatasetError:
            if name in (*_INDEX, *_STEP, "action"):
                raise
    return columns


def _to_transitions(
    path: Path, frames: StoredDataset, columns: dict[str, NDArray[Any]], actions: str | None
) -> TransitionDataset:
    rows = frames.shape[0] if frames.shape else 0
    offsets, lengths = _episodes(path, columns.pop("ep_offset"), columns.pop("ep_len"), rows)
    source, episode = steps_within(offsets, lengths)
    if len(source) == 0:
        raise DatasetError(f"{path}: no episode has two frames, so there are no transitions")
    for name in ("action", *_STEP):
        if name in columns and (columns[name].ndim == 0 or len(columns[name]) != rows):
            raise DatasetError(f"{path}: {name}: is {columns[name].shape}, and there are {rows} frames")
    try:
        code, value = encode_actions(columns.pop("action")[source], actions)
    except DatasetError as error:
        raise DatasetError(f"{path}: {error}") from None
    step = {name: _column(path, name, columns.pop(name)[source + 1]) for name in _STEP if name in columns}
    metadata = describe("stable-worldmodel HDF5", CONVENTION, actions)
    return assemble(
        str(path),
        {name: column for name, column in columns.items() if column.ndim and len(column) == rows},
        metadata,
        source=source,
        action=code,
        successor=source + 1,
        observation=images_last(frames),
        action_value=value,
        episode=episode,
        **step,
    )


def _column(path: Path, name: str, values: NDArray[Any]) -> NDArray[Any]:
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if name == "reward" or values.dtype == np.bool_:
        return values
    if values.dtype.kind not in "iuf" or not ((values == 0) | (values == 1)).all():
        raise DatasetError(f"{path}: {name}: must be 0 or 1, holds {shown(values.dtype.str)}")
    return values == 1


def _episodes(path: Path, offsets: NDArray[Any], lengths: NDArray[Any], rows: int) -> tuple[Ids, Ids]:
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


FORMAT = Format("an HDF5 file", is_hdf5, read_hdf5, extra="hdf5")
