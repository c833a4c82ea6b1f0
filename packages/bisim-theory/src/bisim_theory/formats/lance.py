"""Lance tables as stable-worldmodel writes them, its default: a row for each frame, images as JPEG files.

Row t holds the frame, the reward and the ends of the step that led to it, and the action taken from it, as in its HDF5
files. All numbers are stored as float32.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bisim_theory.data.transitions import DatasetError, Ids, TransitionDataset
from bisim_theory.formats.encoded import LOSSY, EncodedFrames
from bisim_theory.formats.lance_table import LanceBlobs, LanceTable, find_table
from bisim_theory.formats.limits import shown
from bisim_theory.formats.registry import Format
from bisim_theory.formats.rows import Rows

CONVENTION = (
    "a row is a frame, the action taken from it, and the reward and the ends of the step into it; the next row of the "
    "episode is its successor"
)
WHOLE = "; actions are stored as floats and, being whole numbers, taken as codes"

_EPISODE, _STEP = "episode_idx", "step_idx"
_ENDS = ("terminated", "truncated")
_LARGEST_WHOLE = 1 << 24
"""Beyond it, float32 does not hold every whole number."""

_BLOBS_COMPARED = 1 << 12


def is_lance(path: Path) -> bool:
    """Return whether a path is a Lance table, or a folder with one."""
    return path.is_dir() and find_table(path) is not None


def read_lance(path: Path, actions: str | None = None, observation: str | None = None) -> TransitionDataset:
    """Read a Lance table of stable-worldmodel; see `bisim_theory.read_transitions`.

    The observation is ``pixels``, or the only column of images, or ``observation``; `observation` names another column.
    Columns of whole numbers become integers again. So do actions, unless `actions` is given.

    Raises:
        DatasetError: the table is damaged or has another layout.
        ImportError: pylance is not installed, or Pillow for images.
    """
    place = find_table(path)
    assert place is not None  # `is_lance` has checked
    table = LanceTable(place)
    for name in (_EPISODE, _STEP, "action"):
        if name not in table.numeric:
            raise DatasetError(
                f"{place}: {name}: is missing, or holds no numbers; the table must have episode_idx, step_idx and "
                "action, as stable-worldmodel writes them"
            )
    key = _observation_key(table, observation)
    columns = table.read()
    lengths = _episodes(place, columns.pop(_EPISODE), columns[_STEP])
    ends = np.cumsum(lengths)
    action = columns.pop("action")
    action[ends - 1] = 0  # what was moved there belongs to no step, and a fill value may stand there
    codes = actions is None and _is_whole(action)
    images = EncodedFrames(LanceBlobs(table, key)) if key is not None and key in table.images else None
    return Rows(
        what=str(place),
        format="stable-worldmodel Lance",
        convention=CONVENTION + (WHOLE if codes else ""),
        offsets=ends - lengths,
        lengths=lengths,
        action=action.astype(np.int64) if codes else action,
        rewards_lead_out=False,
        last_row_is_step=False,
        observation=columns.pop(key or "", None) if images is None else images,
        compared=None if images is None else images.digests(_BLOBS_COMPARED),
        reward=columns.pop("reward", None),
        ends={name: _bools(place, name, columns.pop(name)) for name in _ENDS if name in columns},
        columns={name: column.astype(np.int64) if _is_whole(column) else column for name, column in columns.items()},
        left_out=_left_out(table, key, images is not None and images.lossy),
        metadata={"lossy_observations": images is not None and images.lossy},
    ).to_transitions(actions)


def _observation_key(table: LanceTable, chosen: str | None) -> str | None:
    names = [*table.images, *table.numeric]
    if chosen is not None:
        if chosen not in names:
            raise DatasetError(f"{table.path}: --observation {chosen}: is missing; it has {shown(names)}")
        return chosen
    if "pixels" in table.images or len(table.images) == 1:
        return "pixels" if "pixels" in table.images else table.images[0]
    if table.images:
        raise DatasetError(f"{table.path}: has several images; choose one with --observation, of {shown(table.images)}")
    return "observation" if "observation" in table.numeric else None


def _episodes(place: Path, episode: NDArray[Any], step: NDArray[Any]) -> Ids:
    """Return (E,) the numbers of rows of the episodes, which follow one another."""
    if episode.ndim != 1 or step.ndim != 1 or len(episode) == 0:
        raise DatasetError(f"{place}: {_EPISODE}: must be one number a row, and there must be rows")
    starts = np.flatnonzero(np.append(True, np.diff(episode) != 0))
    lengths = np.diff(np.append(starts, len(episode)))
    if len(np.unique(episode[starts])) < len(starts):
        raise DatasetError(f"{place}: {_EPISODE}: the rows of an episode do not follow one another; write it again")
    wrong = step != np.arange(len(step)) - np.repeat(starts, lengths)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise DatasetError(f"{place}: {_STEP}: row {row} holds {step[row]}, so rows are missing; write it again")
    return lengths.astype(np.int64)


def _is_whole(column: NDArray[Any]) -> bool:
    """Return whether floats are all whole numbers, of a size of which float32 holds every one."""
    with np.errstate(invalid="ignore"):
        small = abs(column) <= _LARGEST_WHOLE if column.dtype.kind == "f" else np.ones(1, bool)
        return column.dtype.kind in "iu" or bool(small.all() and (column == np.floor(column)).all())


def _bools(place: Path, name: str, values: NDArray[Any]) -> NDArray[np.bool_]:
    if values.ndim != 1 or not ((values == 0) | (values == 1)).all():
        raise DatasetError(f"{place}: {name}: must be one number a row, 0 or 1")
    return values == 1


def _left_out(table: LanceTable, key: str | None, lossy: bool) -> list[str]:
    others = [name for name in table.images if name != key]
    sentences = [LOSSY] if lossy else []
    sentences += [f"{', '.join(others)}: another image, which --observation can choose"] if others else []
    if table.unread:
        sentences.append(f"{', '.join(table.unread)}: holds no numbers")
    return sentences


FORMAT = Format("a Lance table", is_lance, read_lance, extra="lance", chooses=True)
