"""TorchRL's memory-mapped storages, read with NumPy from the shapes and types in their ``meta.json``.

`TensorDict.load_memmap` needs torch, and by default unpickles ``other.pickle`` where a folder holds one. Here only JSON
and plain arrays are opened, so nothing is unpickled and no extra is needed.
"""

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bisim_theory.data.transitions import DatasetError, Ids, TransitionDataset, piece_rows
from bisim_theory.formats.actions import encode_actions
from bisim_theory.formats.episodes import assemble, describe
from bisim_theory.formats.frames import JoinedFrames, MappedFrames, PickedFrames, images_last
from bisim_theory.formats.limits import (
    byte_count,
    check_expansion,
    inside,
    read_json,
    shown,
    stored_bytes,
    whole_number,
)
from bisim_theory.formats.registry import Format

CONVENTION = (
    "a row is a step, whose reward, ends and successor stand under next; the successor is the observation of the next "
    "row of the trajectory where the two are equal"
)

METADATA, FILLED = "meta.json", "storage_metadata.json"
_DEEPEST = 8
_NAME = re.compile(r"\w[\w.-]{,99}", re.ASCII)  # names that TensorDict leaves unencoded
_TYPES = {"bool": "?", "uint8": "u1"} | {f"int{n}": f"i{n // 8}" for n in (8, 16, 32, 64)}
_TYPES |= {f"float{n}": f"f{n // 8}" for n in (16, 32, 64)} | {f"uint{n}": f"u{n // 8}" for n in (16, 32, 64)}
_OBSERVATIONS = ("pixels", "observation")
_ENDS = ("terminated", "truncated", "done")
_NO_LABELS = {"action", "index", "is_init", *_OBSERVATIONS, *_ENDS}


@dataclass(frozen=True)
class _Entry:
    """One array of a storage, not opened yet."""

    root: Path
    parts: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: str

    @property
    def path(self) -> Path:
        """The file of the array."""
        return self.root.joinpath(*self.parts[:-1], f"{self.parts[-1]}.memmap")

    @property
    def row_bytes(self) -> int:
        """Bytes of a row; the type must be in `_TYPES`."""
        return byte_count(self.shape[1:], np.dtype(_TYPES[self.dtype]).itemsize)

    def open(self, rows: int) -> MappedFrames:
        """Open the first rows."""
        path = inside(self.root, *self.parts[:-1], f"{self.parts[-1]}.memmap")
        if self.dtype not in _TYPES:
            raise DatasetError(f"{path}: has the type {shown(self.dtype)}, which NumPy does not know")
        dtype = np.dtype(_TYPES[self.dtype])
        expected, found = byte_count(self.shape, dtype.itemsize), path.stat().st_size
        if expected != found or expected == 0:
            raise DatasetError(f"{path}: has {found} bytes, {METADATA} says {self.shape} {self.dtype}")
        return MappedFrames(path, dtype, (rows, *self.shape[1:]))

    def read(self, rows: int) -> NDArray[Any]:
        """Read the first rows; columns (N, 1) become (N,)."""
        values = self.open(rows)[:]
        return values[:, 0] if values.ndim == 2 and values.shape[1] == 1 else values


def find_storage(folder: Path) -> Path | None:
    """Return the storage that a folder is, or that the dumped replay buffer in it has; else None."""
    for place in (folder, folder / "storage"):
        if (place / METADATA).exists() or (place / FILLED).exists():
            return place
    return None


def is_torchrl(path: Path) -> bool:
    """Return whether a path is a folder with a storage."""
    return path.is_dir() and find_storage(path) is not None


def read_torchrl(folder: Path, actions: str | None = None) -> TransitionDataset:
    """Read the storage of a folder; see `bisim_theory.read_transitions`.

    The successor of a row is the stored ``next`` frame. It shares an id with the frame in the next row of the
    trajectory where the two are bytewise equal and the step did not end the episode; else it has an id of its own.
    Without ``("collector", "traj_ids")`` the next row of the trajectory is the next row of the storage.

    Raises:
        DatasetError: a file is damaged or leads out of the folder, or the storage has another layout.
    """
    root = find_storage(folder)
    if root is None:
        raise DatasetError(f"{folder}: holds no storage of TorchRL")
    meta = read_json(inside(root, METADATA))
    capacity = _shape(root / METADATA, meta.get("shape"))
    if len(capacity) != 1:
        raise DatasetError(f"{root}: has the batch shape {capacity}, must be (N,); flatten it, one row a step")
    entries = _entries(root, (), meta, capacity[0])
    key = next((name for name in _OBSERVATIONS if name in entries and f"next/{name}" in entries), None)
    if key is None or "action" not in entries:
        raise DatasetError(
            f"{root}: must have action, and observation or pixels, both of the step and under next; "
            f"has {shown(sorted(entries))}"
        )
    rows = _filled(root, entries, capacity[0])
    _check_holes(folder, entries, key, rows)
    return _to_transitions(folder, entries, key, rows, _newest(root, rows), actions)


def _newest(root: Path, rows: int) -> int:
    """Return the row written last; the row behind it in a full ring buffer is the oldest, not its successor."""
    writer = root.parent / "writer"
    if root.name != "storage" or not (writer / "metadata.json").exists():
        return rows - 1
    cursor = read_json(inside(writer, "metadata.json")).get("cursor", 0)
    return (whole_number(f"{writer}: cursor", cursor) - 1) % rows


def _check_holes(folder: Path, entries: dict[str, _Entry], key: str, rows: int) -> None:
    readable = {name: entry for name, entry in entries.items() if entry.dtype in _TYPES and entry.path.is_file()}
    sizes = {name: rows * entry.row_bytes for name, entry in readable.items()}
    frames = sum(sizes.pop(name, 0) for name in (key, f"next/{key}"))
    stored = stored_bytes(*(entry.path for entry in readable.values()))
    check_expansion(str(folder), sum(sizes.values()), frames, stored)


def _shape(path: Path, value: Any) -> tuple[int, ...]:
    if not isinstance(value, list) or len(value) > 32:
        raise DatasetError(f"{path}: shape: must be a list of whole numbers, is {shown(value)}")
    return tuple(whole_number(f"{path}: shape", n) for n in value)


def _entries(root: Path, parts: tuple[str, ...], meta: dict[str, Any], rows: int) -> dict[str, _Entry]:
    """Return name, such as ``next/reward``, -> array with a row for each step, of a folder and its subfolders."""
    entries: dict[str, _Entry] = {}
    for name, about in meta.items():
        if not isinstance(about, dict) or _NAME.fullmatch(name) is None:
            continue
        inner = (*parts, name)
        if "type" in about:
            if len(inner) < _DEEPEST and root.joinpath(*inner, METADATA).exists():
                entries |= _entries(root, inner, read_json(inside(root, *inner, METADATA)), rows)
        elif about.get("is_nested") is not True and "shape" in about:
            shape = _shape(root.joinpath(*inner), about["shape"])
            if shape[:1] == (rows,):
                dtype = about.get("dtype")
                entries["/".join(inner)] = _Entry(root, inner, shape, str(dtype).removeprefix("torch."))
    return entries


def _filled(root: Path, entries: dict[str, _Entry], capacity: int) -> int:
    """Return how many rows of a storage were written."""
    if (root / FILLED).exists():
        rows = whole_number(f"{root / FILLED}: len", read_json(inside(root, FILLED)).get("len"))
        if not 0 < rows <= capacity:
            raise DatasetError(f"{root / FILLED}: len: is {rows}, must be 1 to the capacity {capacity}")
        return rows
    # A LazyMemmapStorage does not record how far it is filled; rows never written are zero.
    if capacity == 0 or not any(entry.open(capacity)[-1].any() for entry in entries.values() if entry.dtype in _TYPES):
        raise DatasetError(
            f"{root}: its last row was never written, and the number of rows is unknown; save it with buffer.dumps(...)"
        )
    return capacity


def _to_transitions(
    folder: Path, entries: dict[str, _Entry], key: str, rows: int, newest: int, actions: str | None
) -> TransitionDataset:
    step: dict[str, Any] = {}
    for name in ("reward", *_ENDS):
        if f"next/{name}" in entries:
            step[name] = entries[f"next/{name}"].read(rows)
    done = _done(folder, step, rows)
    trajectory = entries["collector/traj_ids"].read(rows) if "collector/traj_ids" in entries else None
    if trajectory is not None and (trajectory.ndim != 1 or trajectory.dtype.kind not in "iu"):
        raise DatasetError(f"{folder}: collector/traj_ids: must be (N,) integers, is {trajectory.shape}")
    frames, following = entries[key].open(rows), entries[f"next/{key}"].open(rows)
    if frames.shape != following.shape or frames.dtype != following.dtype:
        raise DatasetError(f"{folder}: next/{key}: is {following.shape} {following.dtype}, {key} is {frames.shape}")
    next_row = _next_rows(trajectory, done)
    next_row[newest] = -1
    successor, own = _successors(frames, following, next_row)
    try:
        code, value = encode_actions(entries["action"].read(rows), actions)
    except DatasetError as error:
        raise DatasetError(f"{folder}: {error}") from None
    metadata = describe("TorchRL", CONVENTION, actions)
    return assemble(
        str(folder),
        _labels(entries, rows, own),
        metadata,
        source=np.arange(rows),
        action=code,
        successor=successor,
        observation=images_last(JoinedFrames([frames, PickedFrames(following, own)])),
        action_value=value,
        episode=trajectory if trajectory is not None else np.cumsum(np.append(0, _breaks(successor)[:-1])),
        **{name: step[name] for name in ("reward", "terminated", "truncated") if name in step},
    )


def _done(folder: Path, step: dict[str, Any], rows: int) -> NDArray[np.bool_]:
    done = np.zeros(rows, bool)
    for name in _ENDS:
        if name in step:
            if step[name].shape != (rows,) or step[name].dtype != np.bool_:
                raise DatasetError(f"{folder}: next/{name}: must be (N,) bool, is {step[name].shape}")
            done |= step[name]
    return done


def _next_rows(trajectory: NDArray[Any] | None, done: NDArray[np.bool_]) -> Ids:
    """Compute (N,) the row that continues the trajectory after each row, -1 where none does."""
    rows = len(done)
    order = np.arange(rows) if trajectory is None else np.argsort(trajectory, kind="stable")
    following = np.full(rows, -1)
    following[order[:-1]] = order[1:]
    if trajectory is not None:
        ends = order[:-1][trajectory[order[:-1]] != trajectory[order[1:]]]
        following[ends] = -1
    following[done] = -1
    return following


def _successors(frames: MappedFrames, following: MappedFrames, next_row: Ids) -> tuple[Ids, Ids]:
    """Return the ids of the successors, and the rows whose ``next`` frame has an id of its own."""
    same = next_row >= 0
    size = piece_rows(frames)
    for start in range(0, len(frames), size):
        rows = start + np.flatnonzero(same[start : start + size])
        same[rows] = (_bytes(frames[next_row[rows]], len(rows)) == _bytes(following[rows], len(rows))).all(1)
    own = np.flatnonzero(~same)
    successor = next_row.copy()
    successor[own] = len(frames) + np.arange(len(own))
    return successor, own


def _bytes(frames: NDArray[Any], rows: int) -> NDArray[Any]:
    """Return frames as bytes, (B, bytes of a frame)."""
    return np.ascontiguousarray(frames).reshape(rows, math.prod(frames.shape[1:])).view(np.uint8)


def _breaks(successor: Ids) -> NDArray[np.bool_]:
    return successor != np.arange(len(successor)) + 1


def _labels(entries: dict[str, _Entry], rows: int, own: Ids) -> dict[str, NDArray[Any]]:
    """Read the numbers stored both of the step and under ``next``, which are known for every frame."""
    labels = {}
    for name, entry in entries.items():
        after = entries.get(f"next/{name}")
        if name in _NO_LABELS or name.startswith(("next/", "collector/")) or after is None:
            continue
        fits = entry.dtype in _TYPES and len(entry.shape) in (1, 2)
        if fits and (entry.shape, entry.dtype) == (after.shape, after.dtype):
            labels[name] = np.concatenate([entry.read(rows), after.read(rows)[own]])
    return labels


FORMAT = Format("a storage of TorchRL", is_torchrl, read_torchrl)
