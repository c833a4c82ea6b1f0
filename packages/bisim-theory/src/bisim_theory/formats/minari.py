"""Minari datasets, read with h5py from their two files.

Minari itself would create the environment that the file names wherever the file leaves out a space, and so import
whatever a stranger wrote there. It also holds whole episodes in memory.
"""

import os
import re
from pathlib import Path
from typing import Any

import numpy as np

from bisim_theory.data.transitions import DatasetError, Ids, TransitionDataset
from bisim_theory.formats.columns import Column, held
from bisim_theory.formats.frames import FlatFrames
from bisim_theory.formats.hdf5_arrays import Hdf5File, column_sizes
from bisim_theory.formats.hdf5_episodes import EpisodeArrays, open_episodes
from bisim_theory.formats.limits import (
    check_expansion,
    inside,
    parse_json,
    printable,
    read_json,
    shown,
    stored_bytes,
    whole_number,
)
from bisim_theory.formats.minari_observations import Observations, choose, leaves_of
from bisim_theory.formats.registry import Format
from bisim_theory.formats.rows import Rows

METADATA, DATA = "metadata.json", "main_data.hdf5"
_STEP = {"rewards": "reward", "terminations": "terminated", "truncations": "truncated"}
_MOST_INFOS = 1000
_ID = re.compile(r"(?:[-\w]+/)*[-\w]+-v\d+")


def find_local(name: str) -> Path | None:
    """Return the folder of a dataset id such as ``namespace/name-v0`` in the local store, or None."""
    if _ID.fullmatch(name) is None:
        return None
    folder = _store() / name
    return folder if is_minari(folder) else None


def _store() -> Path:
    return Path(os.environ.get("MINARI_DATASETS_PATH") or os.path.expanduser(os.path.join("~", ".minari", "datasets")))


def looked_in(name: str) -> str | None:
    """Say where `find_local` looks for a dataset id; None where the name is none."""
    return None if _ID.fullmatch(name) is None else f"Minari's store {_store()} (MINARI_DATASETS_PATH names another)"


def is_minari(folder: Path) -> bool:
    """Return whether a folder looks like a Minari dataset, or like the parent of its ``data``."""
    return any((place / METADATA).exists() or (place / DATA).exists() for place in (folder, folder / "data"))


def read_minari(folder: Path, actions: str | None = None, observation: str | None = None) -> TransitionDataset:
    """Read a Minari dataset; see `bisim_theory.read_transitions`.

    Infos with a row for every frame become labels; nested ones are named ``outer/inner``. Of an observation of several
    entries see `minari_observations.choose`.

    Raises:
        DatasetError: the dataset is damaged or not in HDF5, or it is not clear what the observation is.
        ImportError: h5py is not installed.
    """
    return open_minari(folder, observation, hold=True).to_transitions(actions)


def open_minari(folder: Path, observation: str | None = None, *, hold: bool = False) -> Rows:
    """Open a Minari dataset, of which all columns but the observations are read at once if `hold`.

    Raises:
        DatasetError, ImportError: as for `read_minari`.
    """
    root, metadata = _root(folder)
    file = Hdf5File(inside(root, DATA))
    space = _space(root / METADATA, metadata)
    groups = _episode_groups(root, metadata, file)
    observed = choose(folder, file, groups, space, bool(metadata.get("jpeg_encoding", True)), observation, hold)
    names = _action_names(root / METADATA, file, groups[0], metadata)
    return _rows(folder, file, groups, observed, metadata, names, hold)


def size_minari(folder: Path) -> tuple[int, int]:
    """Return the number of observations of a dataset, and the bytes of one and its step without its images.

    Raises:
        DatasetError, ImportError: as for `read_minari`.
    """
    root, metadata = _root(folder)
    file = Hdf5File(inside(root, DATA))
    steps = whole_number(f"{root / METADATA}: total_steps", metadata.get("total_steps"))
    episodes = whole_number(f"{root / METADATA}: total_episodes", metadata.get("total_episodes"))
    return steps + episodes, column_sizes(file, ["episode_0"], "rewards")[1]


def _root(folder: Path) -> tuple[Path, dict[str, Any]]:
    """Return the folder with the two files, and the metadata in one of them."""
    root = folder if (folder / METADATA).exists() or (folder / DATA).exists() else folder / "data"
    metadata = read_json(inside(root, METADATA))
    if metadata.get("data_format", "hdf5") != "hdf5":
        raise DatasetError(
            f"{folder}: has the data format {shown(metadata['data_format'])}; create it with data_format='hdf5'"
        )
    return root, metadata


def _space(path: Path, metadata: dict[str, Any], name: str = "observation_space") -> dict[str, Any]:
    text = metadata.get(name)
    if not isinstance(text, str):
        raise DatasetError(f"{path}: {name}: is missing; create the dataset with it")
    return parse_json(f"{path}: {name}", text)


def _action_names(path: Path, file: Hdf5File, group: str, metadata: dict[str, Any]) -> list[str]:
    """Return the names of the arrays of actions: one, or those of a Dict or Tuple in the order of the space."""
    if not file.names(group).get("actions", False):
        return ["actions"]
    names = [f"actions/{key}" for key in leaves_of(_space(path, metadata, "action_space"))]
    if not names:
        raise DatasetError(f"{path}: action_space: has no parts, and actions need some")
    return names


def _episode_groups(root: Path, metadata: dict[str, Any], file: Hdf5File) -> list[str]:
    count = whole_number(f"{root / METADATA}: total_episodes", metadata.get("total_episodes"))
    found = {name for name, group in file.names().items() if group}
    if count != len(found):
        raise DatasetError(f"{root}: {METADATA} declares {count} episodes, and {DATA} holds {len(found)}")
    names = [f"episode_{number}" for number in range(count)]
    missing = next((name for name in names if name not in found), None)
    if missing is not None or not names:
        raise DatasetError(f"{root / DATA}: {missing or 'episode_0'}: is missing")
    return names


def _rows(
    folder: Path,
    file: Hdf5File,
    groups: list[str],
    observed: Observations,
    metadata: dict[str, Any],
    action_names: list[str],
    hold: bool,
) -> Rows:
    lengths = observed.lengths
    steps = open_episodes(file, groups, (*action_names, *_STEP), hold)
    infos, unfit = _info_columns(file, groups, lengths, hold)
    size = sum(column.nbytes for column in (*steps.values(), *infos.values()))
    check_expansion(str(folder), size + observed.held_bytes, observed.frame_bytes, stored_bytes(file.path))
    if not (lengths > 1).any():
        raise DatasetError(f"{folder}: there are no transitions")
    without = int(steps[action_names[0]].lengths.sum() - np.maximum(lengths - 1, 0).sum())
    columns: dict[str, Column] = {name: held(_of_steps(column, lengths), hold) for name, column in steps.items()}
    labels: dict[str, Column] = {name: held(column, hold) for name, column in infos.items()}
    more, said = observed.labels(labels, hold)
    return Rows(
        what=str(folder),
        format="Minari",
        convention=f"{_convention(without)}{observed.sentence}{_of_actions(action_names)}",
        offsets=np.cumsum(lengths) - lengths,
        lengths=lengths,
        action=_side_by_side(folder, [columns[name] for name in action_names]),
        rewards_tested=False,
        last_row_is_step=False,
        observation=observed.frames,
        reward=columns["rewards"],
        ends={_STEP[name]: columns[name] for name in _STEP if name != "rewards"},
        columns=labels | more,
        metadata={
            "dataset_id": shown(metadata.get("dataset_id", "")).strip("'"),
            "steps_without_successor": without,
            **said,
            "left_out": [*said["left_out"], *unfit],
        },
    )


def _side_by_side(folder: Path, actions: list[Column]) -> Column:
    """Join the arrays (F, ...) of actions of several parts.

    Raises:
        DatasetError: some are continuous, others discrete.
    """
    if len(actions) == 1:
        return actions[0]
    if len({part.dtype.kind == "f" for part in actions}) > 1:
        raise DatasetError(
            f"{folder}: actions: some parts are continuous and others discrete, which one code cannot join; record "
            "them in one Box or one MultiDiscrete space"
        )
    if not all(isinstance(part, np.ndarray) for part in actions):
        return FlatFrames(actions)
    return np.concatenate([part[:].reshape(part.shape[0], -1) for part in actions], 1)


def _of_actions(names: list[str]) -> str:
    """Say what an action is, to follow another sentence; empty where it is one array."""
    parts = ", ".join(name.partition("/")[2] for name in names)
    return "" if len(names) == 1 else f"; an action is {parts} side by side"


def _convention(without_successor: int) -> str:
    counted = "some episodes lack their last observation" if without_successor else "as their numbers confirm"
    return f"step t of an episode leads from its observation t to t + 1 and has action, reward and ends t, {counted}"


def _of_steps(column: EpisodeArrays, lengths: Ids) -> EpisodeArrays:
    """Return a row for each observation: that of the step out of it; the last of each episode is none.

    Numbers of different types are promoted, as environments return a reward of 0 here and of 0.5 there.

    Raises:
        DatasetError: an episode has neither one step less than observations nor as many.
    """
    column.require_one_kind()
    wrong = np.flatnonzero((column.lengths != lengths - 1) & (column.lengths != lengths))
    odd = None if column.odd is None else column.groups.index(column.odd[0].removesuffix(f"/{column.name}"))
    if len(wrong) or odd is not None:
        episode = min(each for each in (odd, *wrong[:1].tolist()) if each is not None)
        length = int(lengths[episode])
        raise DatasetError(
            f"{column.path}: {column.place(episode)}: is {column.part(episode).shape}, and there are {length} "
            f"observations, so it must be {(length - 1, *column.first_shape[1:])}"
        )
    return column.resized(lengths)


def _info_columns(
    file: Hdf5File, groups: list[str], lengths: Ids, hold: bool
) -> tuple[dict[str, EpisodeArrays], list[str]]:
    """Return name -> numbers with one row for every frame of each episode; sentences about the other infos."""
    columns, other = {}, []
    for name in _info_names(file, groups[0]):
        try:
            column = open_episodes(file, groups, [f"infos/{name}"], hold)[f"infos/{name}"]
        except DatasetError:
            other.append(name)  # text, or absent from an episode
            continue
        fits = column.odd is None and np.array_equal(column.lengths, lengths)
        if fits and len(column.first_shape) in (1, 2):
            columns[name] = column
        else:
            other.append(name)
    names = printable(", ".join(other))
    return columns, [f"infos {names}: hold no numbers, one row for each observation of every episode"] if other else []


def _info_names(file: Hdf5File, group: str) -> list[str]:
    names: list[str] = []
    pending = [""] if file.names(group).get("infos", False) else []
    for place in pending:  # grows as groups are found
        for name, is_group in file.names("/".join(filter(None, (group, "infos", place)))).items():
            (pending if is_group else names).append(f"{place}/{name}" if place else name)
        if len(pending) + len(names) > _MOST_INFOS:  # a group may well hold itself
            raise DatasetError(f"{file.path}: {group}/infos: holds more than {_MOST_INFOS} arrays and groups")
    return names


FORMAT = Format(
    "a Minari dataset",
    is_minari,
    read_minari,
    extra="minari",
    find=find_local,
    chooses=True,
    open=open_minari,
    size=size_minari,
    looked_in=looked_in,
)
