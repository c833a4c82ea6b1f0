"""OGBench's ``.npz`` files: rows of all trajectories one after the other, rewards and masks where they were added.

In the files of OGBench `terminals` is 1 at the last row of a trajectory. In compact datasets it is 1 at the last two,
and `valids` is 0 at the last. Both mark where a trajectory was cut off, not where a task was solved; that is `masks`.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bisim_theory.data.transitions import DatasetError, TransitionDataset
from bisim_theory.formats.frames import images_last
from bisim_theory.formats.limits import check_expansion, stored_bytes
from bisim_theory.formats.npz_arrays import StoredArray, StoredFrames, array_names
from bisim_theory.formats.registry import Format
from bisim_theory.formats.rows import Rows

CONVENTION = (
    "a row is a frame, the action taken from it, and the reward of being there, so of the step into it; the next row "
    "of the trajectory is its successor; terminals are read as its end, not as that of a task"
)

_OBSERVATIONS, _ACTIONS, _TERMINALS = "observations", "actions", "terminals"
_REQUIRED = (_OBSERVATIONS, _ACTIONS, _TERMINALS)
_KNOWN = (_ACTIONS, _TERMINALS, "valids", "rewards")


def is_ogbench(path: Path) -> bool:
    """Return whether a path is an ``.npz`` file with the arrays of OGBench."""
    if not path.is_file():
        return False
    try:
        return set(_REQUIRED) <= set(array_names(path))
    except DatasetError:
        return False


def read_ogbench(path: Path, actions: str | None = None) -> TransitionDataset:
    """Read a file of OGBench; see `bisim_theory.read_transitions`.

    Raises:
        DatasetError: the file is damaged or has another layout.
    """
    names = array_names(path)
    if "next_observations" in names:
        raise DatasetError(
            f"{path}: next_observations: is not read; give the file that OGBench stores, or save its compact dataset "
            "(compact_dataset=True)"
        )
    frames = StoredFrames(path, _OBSERVATIONS)
    arrays, unread = _open(path, [name for name in names if name != _OBSERVATIONS])
    check_expansion(str(path), sum(each.nbytes for each in arrays.values()), frames.nbytes, stored_bytes(path))
    columns = {name: array.read() for name, array in arrays.items()}
    rows = frames.shape[0] if frames.shape else 0
    for name in [name for name, column in columns.items() if column.ndim == 0 or len(column) != rows]:
        if name in _KNOWN:
            raise DatasetError(f"{path}: {name}: is {columns[name].shape}, and there are {rows} observations")
        unread.append(name)
        del columns[name]
    last = _last_rows(path, columns.pop(_TERMINALS), columns.pop("valids", None))
    offsets = np.flatnonzero(np.append(True, last[:-1]))
    return Rows(
        what=str(path),
        format="OGBench",
        convention=CONVENTION,
        offsets=offsets,
        lengths=np.diff(np.append(offsets, rows)),
        action=columns.pop(_ACTIONS),
        rewards_lead_out=False,
        observation=images_last(frames),
        reward=columns.get("rewards"),  # a label too, as it is known of first frames
        ends={"truncated": last},
        columns=columns,
        left_out=[f"{', '.join(unread)}: holds no numbers, one row for each observation"] if unread else [],
    ).to_transitions(actions)


def _open(path: Path, names: list[str]) -> tuple[dict[str, StoredArray], list[str]]:
    """Open the arrays of numbers; return also the names of the others, of which none may be required."""
    arrays, others = {}, []
    for name in names:
        try:
            arrays[name] = StoredArray(path, name)
        except DatasetError:
            if name in _KNOWN:
                raise
            others.append(name)
    return arrays, others


def _last_rows(path: Path, terminals: NDArray[Any], valids: NDArray[Any] | None) -> NDArray[np.bool_]:
    """Compute (F,) where a row is the last of its trajectory."""
    ends = _flags(path, _TERMINALS, terminals)
    if len(ends) == 0:
        raise DatasetError(f"{path}: {_OBSERVATIONS}: there are none")
    if valids is None:
        pairs = ends[1:] & ends[:-1]
        if pairs.any() and 2 * pairs.sum() == ends.sum():
            raise DatasetError(
                f"{path}: {_TERMINALS}: come in pairs, as in a compact dataset, whose valids are missing; save them too"
            )
        return ends
    last = ~_flags(path, "valids", valids)
    last_two = last | np.append(last[1:], True)
    if (last_two != ends).any():
        row = int(np.argmax(last_two != ends))
        raise DatasetError(
            f"{path}: {_TERMINALS}: row {row} is {int(ends[row])}, and by valids it must be {int(last_two[row])}: 1 at "
            "the last two rows of each trajectory"
        )
    return last


def _flags(path: Path, name: str, values: NDArray[Any]) -> NDArray[np.bool_]:
    if values.ndim != 1 or values.dtype.kind not in "biuf" or not ((values == 0) | (values == 1)).all():
        raise DatasetError(f"{path}: {name}: must be (N,) of 0 and 1, is {values.shape} {values.dtype}")
    return values == 1


FORMAT = Format("a file of OGBench", is_ogbench, read_ogbench)
