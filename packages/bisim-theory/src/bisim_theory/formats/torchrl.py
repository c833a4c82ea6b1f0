"""TorchRL's memory-mapped storages, read with NumPy from the shapes and types in their ``meta.json``.

`TensorDict.load_memmap` needs torch, and by default unpickles ``other.pickle`` where a folder holds one. Here only JSON
and plain arrays are opened, so nothing is unpickled and no extra is needed.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bisim_theory.data.transitions import DatasetError, Ids, TransitionDataset
from bisim_theory.formats.actions import encode_actions
from bisim_theory.formats.episodes import assemble, describe, describe_choice, find_successors, label_of
from bisim_theory.formats.frames import JoinedFrames, LazyFrames, PickedFrames, PlainFrames, images_last
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

METADATA, FILLED = "meta.json", "storage_metadata.json"
_DEEPEST = 8
_NAME = re.compile(r"\w[\w.-]{,99}", re.ASCII)  # names that TensorDict leaves unencoded
_TYPES = {"bool": "?", "uint8": "u1"} | {f"int{n}": f"i{n // 8}" for n in (8, 16, 32, 64)}
_TYPES |= {f"float{n}": f"f{n // 8}" for n in (16, 32, 64)} | {f"uint{n}": f"u{n // 8}" for n in (16, 32, 64)}
_OBSERVATIONS = ("pixels", "observation")
_ENDS = ("terminated", "truncated", "done")
_MASKS = ("collector/mask", "mask")
_MULTI_STEP = ("steps_to_next_obs", "nonterminal", "gamma")
_NO_LABELS = {"action", "index", "is_init", *_MASKS, *_MULTI_STEP, *_ENDS}


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

    def open(self, rows: int) -> PlainFrames:
        """Open the first rows."""
        path = inside(self.root, *self.parts[:-1], f"{self.parts[-1]}.memmap")
        if self.dtype not in _TYPES:
            raise DatasetError(f"{path}: has the type {shown(self.dtype)}, which NumPy does not know")
        dtype = np.dtype(_TYPES[self.dtype])
        expected, found = byte_count(self.shape, dtype.itemsize), path.stat().st_size
        if expected != found or expected == 0:
            raise DatasetError(f"{path}: has {found} bytes, {METADATA} says {self.shape} {self.dtype}")
        return PlainFrames(path, dtype, (rows, *self.shape[1:]))

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


def read_torchrl(folder: Path, actions: str | None = None, observation: str | None = None) -> TransitionDataset:
    """Read the storage of a folder; see `bisim_theory.read_transitions`.

    Rows are taken in the order in which they were written, also from a ring buffer that went round. The successor of a
    row is the stored ``next`` frame. It shares an id with the frame in the next row of the trajectory where the two are
    bytewise equal and the step did not end the episode; else it has an id of its own. Without
    ``("collector", "traj_ids")`` the next row of the trajectory is the next row written.

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
    key = _observation_key(root, entries, observation)
    rows = _filled(root, entries, capacity[0])
    _check_holes(folder, entries, key, rows)
    columns = _Columns(folder, entries, rows, _written_order(root, rows))
    left_out = columns.leave_out_masked()
    columns.check_single_steps()
    return _to_transitions(folder, columns, key, actions, left_out, _kind_of_order(root, rows))


def _observation_key(root: Path, entries: dict[str, _Entry], wanted: str | None) -> str:
    both = [name for name in entries if f"next/{name}" in entries]
    if wanted is not None and wanted not in set(both) - _NO_LABELS - {"reward"}:
        raise DatasetError(f"{root}: --observation {wanted}: is none of its observations, {shown(sorted(both))}")
    key = wanted or next((name for name in _OBSERVATIONS if name in both), None)
    if key is None or "action" not in entries:
        raise DatasetError(
            f"{root}: must have action, and observation or pixels, both of the step and under next; "
            f"has {shown(sorted(entries))}"
        )
    return key


def _writer(root: Path) -> dict[str, Any]:
    """Return what the writer of a dumped replay buffer says of itself; nothing where no writer was saved."""
    writer = root.parent / "writer"
    if root.name != "storage" or not (writer / "metadata.json").exists():
        return {}
    return read_json(inside(writer, "metadata.json"))


def _written_order(root: Path, rows: int) -> Ids:
    """Return the rows from the oldest to the newest; in a ring buffer that is full, the cursor is at the oldest."""
    oldest = whole_number(f"{root.parent / 'writer'}: cursor", _writer(root).get("cursor", 0)) % rows
    return (oldest + np.arange(rows)) % rows


def _kind_of_order(root: Path, rows: int) -> str:
    """Return ``"written"`` where a writer says which row is the oldest, ``"stored"`` where none does.

    ``"ranked"`` where a writer kept the best rows, of which none need follow the one before it.
    """
    writer = _writer(root)
    if "rank_key" in writer and writer.get("write_count") != rows:
        return "ranked"
    return "written" if "cursor" in writer else "stored"


class _Columns:
    """The arrays of a storage in the order in which rows were written.

    Args:
        folder: the name of the dataset in messages.
        entries: the arrays by name.
        rows: number of rows that were written.
        order: (N,) rows of the files in order.
    """

    def __init__(self, folder: Path, entries: dict[str, _Entry], rows: int, order: Ids) -> None:
        self.folder, self.entries, self.rows, self.order = folder, entries, rows, order

    def __len__(self) -> int:
        return len(self.order)

    def __contains__(self, name: str) -> bool:
        return name in self.entries

    def read(self, name: str) -> NDArray[Any]:
        """Read an array; columns (N, 1) become (N,)."""
        return self.entries[name].read(self.rows)[self.order]

    def frames(self, name: str) -> LazyFrames:
        """Open an array."""
        frames = self.entries[name].open(self.rows)
        in_order = len(self.order) == self.rows and bool((np.diff(self.order) == 1).all())
        return frames if in_order else PickedFrames(frames, self.order)

    def bools(self, name: str) -> NDArray[np.bool_]:
        """Read an array (N,) of bools.

        Raises:
            DatasetError: it is anything else.
        """
        values = self.read(name)
        if values.shape != (len(self),) or values.dtype != np.bool_:
            raise DatasetError(f"{self.folder}: {name}: must be (N,) bool, is {values.shape} {values.dtype}")
        return values

    def leave_out_masked(self) -> list[str]:
        """Leave out the rows that a mask calls padding; return sentences about them."""
        said = []
        for name in _MASKS:
            if name not in self:
                continue
            mask = self.bools(name)
            if not mask.any():
                raise DatasetError(f"{self.folder}: {name}: calls every row padding, so there are no transitions")
            self.order = self.order[mask]
            if not mask.all():
                said.append(f"{np.count_nonzero(~mask):,} rows that {name} calls padding")
        return said

    def check_single_steps(self) -> None:
        """Raise `DatasetError` where rows are n-step transitions, as `MultiStep` makes them."""
        name = _MULTI_STEP[0]
        if name in self:
            steps = self.read(name)
            if (steps != 1).any():
                raise DatasetError(
                    f"{self.folder}: {name}: holds {steps[steps != 1].flat[0]}, so rows are n-step transitions: next "
                    "is several steps away and the reward is a sum; save the steps before MultiStep"
                )
        elif set(_MULTI_STEP) - {name} <= self.entries.keys():
            raise DatasetError(
                f"{self.folder}: has {' and '.join(_MULTI_STEP[1:])}, so MultiStep made its rows, and no {name}, so "
                "how many steps each stands for is unknown; save the steps before MultiStep"
            )


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
    """Return how many rows of a storage were written; rows of padding count."""
    if (root / FILLED).exists():
        rows = whole_number(f"{root / FILLED}: len", read_json(inside(root, FILLED)).get("len"))
        if not 0 < rows <= capacity:
            raise DatasetError(f"{root / FILLED}: len: is {rows}, must be 1 to the capacity {capacity}")
        return rows
    if any(name in entries for name in _MASKS):
        return capacity
    # A LazyMemmapStorage does not record how far it is filled; rows never written are zero.
    if capacity == 0 or not any(entry.open(capacity)[-1].any() for entry in entries.values() if entry.dtype in _TYPES):
        raise DatasetError(
            f"{root}: its last row was never written, and the number of rows is unknown; save it with buffer.dumps(...)"
        )
    return capacity


def _to_transitions(
    folder: Path, columns: _Columns, key: str, actions: str | None, left_out: list[str], order: str
) -> TransitionDataset:
    step = {name: columns.bools(f"next/{name}") for name in _ENDS if f"next/{name}" in columns}
    done = np.logical_or.reduce(list(step.values()), dtype=bool) if step else np.zeros(len(columns), bool)
    trajectory = _trajectory(columns)
    frames, following = columns.frames(key), columns.frames(f"next/{key}")
    if frames.shape != following.shape or frames.dtype != following.dtype:
        raise DatasetError(f"{folder}: next/{key}: is {following.shape} {following.dtype}, {key} is {frames.shape}")
    next_row = _next_rows(columns, trajectory, done)
    successor, own = find_successors(frames, following, next_row if order != "ranked" else np.full(len(columns), -1))
    try:
        code, value, meaning = encode_actions(columns.read("action"), actions)
    except DatasetError as error:
        raise DatasetError(f"{folder}: {error}") from None
    labels, others = _labels(columns, key, own)
    left_out = left_out + describe_choice(key, others)
    return assemble(
        str(folder),
        labels,
        describe(
            "TorchRL", _convention(len(columns), len(own), order), actions, left_out=left_out, action_codes=meaning
        ),
        source=np.arange(len(columns)),
        action=code,
        successor=successor,
        observation=images_last(JoinedFrames([frames, PickedFrames(following, own)])),
        action_value=value,
        episode=trajectory if trajectory is not None else np.cumsum(np.append(0, _breaks(successor)[:-1])),
        reward=columns.read("next/reward") if "next/reward" in columns else None,
        terminated=step.get("terminated"),
        truncated=step.get("truncated"),
    )


def _convention(rows: int, own: int, order: str) -> str:
    said = "a row is a step, with its reward, its ends and its successor under next"
    if order == "ranked":
        return f"{said}; its writer kept the best rows, so none is taken to follow another"
    how = "written" if order == "written" else "stored, since no writer says which is the oldest"
    return (
        f"{said}; rows follow each other as they were {how}, and {rows - own:,} of {rows:,} successors are the "
        "observation of the next row of the trajectory, equal to it"
    )


def _trajectory(columns: _Columns) -> NDArray[Any] | None:
    if "collector/traj_ids" not in columns:
        return None
    trajectory = columns.read("collector/traj_ids")
    if trajectory.ndim != 1 or trajectory.dtype.kind not in "iu":
        raise DatasetError(f"{columns.folder}: collector/traj_ids: must be (N,) integers, is {trajectory.shape}")
    return trajectory


def _next_rows(columns: _Columns, trajectory: NDArray[Any] | None, done: NDArray[np.bool_]) -> Ids:
    """Compute (N,) the row that continues the trajectory after each row, -1 where none does."""
    rows = len(columns)
    order = np.arange(rows) if trajectory is None else np.argsort(trajectory, kind="stable")
    adjacent = np.diff(columns.order) % columns.rows == 1
    same = adjacent if trajectory is None else np.diff(trajectory[order]) == 0
    if "is_init" in columns:
        same &= ~columns.bools("is_init")[order[1:]]
    following = np.full(rows, -1)
    following[order[:-1][same]] = order[1:][same]
    following[done] = -1
    return following


def _breaks(successor: Ids) -> NDArray[np.bool_]:
    return successor != np.arange(len(successor)) + 1


def _labels(columns: _Columns, key: str, own: Ids) -> tuple[dict[str, NDArray[Any]], dict[str, str | None]]:
    """Read the numbers stored both of the step and under ``next``, which are known for every frame.

    Returns:
        name -> label; the keys of other observations, and the label that each became, or None.
    """
    labels: dict[str, NDArray[Any]] = {}
    others: dict[str, str | None] = {}
    for name, entry in columns.entries.items():
        after = columns.entries.get(f"next/{name}")
        if name in _NO_LABELS or name == key or name.startswith(("next/", "collector/")) or after is None:
            continue
        same = entry.dtype in _TYPES and (entry.shape, entry.dtype) == (after.shape, after.dtype)
        fits = same and len(entry.shape) in (1, 2)
        if fits:
            labels[label_of(name)] = np.concatenate([columns.read(name), columns.read(f"next/{name}")[own]])
        if name in _OBSERVATIONS or (same and not fits):
            others[name] = label_of(name) if fits else None
    return labels, others


FORMAT = Format("a storage of TorchRL", is_torchrl, read_torchrl, chooses=True)
