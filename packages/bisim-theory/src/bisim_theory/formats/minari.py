"""Minari datasets, read with h5py from their two files.

Minari itself would create the environment that the file names wherever the file leaves out a space, and so import
whatever a stranger wrote there. It also holds whole episodes in memory.
"""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bisim_theory.data.transitions import DatasetError, Ids, TransitionDataset
from bisim_theory.formats.actions import encode_actions
from bisim_theory.formats.episodes import assemble, describe, steps_within
from bisim_theory.formats.hdf5_arrays import Hdf5File, StoredDataset
from bisim_theory.formats.limits import (
    check_expansion,
    inside,
    parse_json,
    read_json,
    shown,
    stored_bytes,
    whole_number,
)
from bisim_theory.formats.minari_observations import Observations, check_kinds, choose, leaves_of
from bisim_theory.formats.registry import Format

METADATA, DATA = "metadata.json", "main_data.hdf5"
_STEP = {"rewards": "reward", "terminations": "terminated", "truncations": "truncated"}
_MOST_INFOS = 1000


def find_local(name: str) -> Path | None:
    """Return the folder of a dataset id such as ``namespace/name-v0`` in the local store, or None."""
    if re.fullmatch(r"(?:[-\w]+/)*[-\w]+-v\d+", name) is None:
        return None
    store = os.environ.get("MINARI_DATASETS_PATH") or os.path.expanduser(os.path.join("~", ".minari", "datasets"))
    folder = Path(store) / name
    return folder if is_minari(folder) else None


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
    root = folder if (folder / METADATA).exists() or (folder / DATA).exists() else folder / "data"
    metadata = read_json(inside(root, METADATA))
    if metadata.get("data_format", "hdf5") != "hdf5":
        raise DatasetError(
            f"{folder}: has the data format {shown(metadata['data_format'])}; create it with data_format='hdf5'"
        )
    file = Hdf5File(inside(root, DATA))
    space = _space(root / METADATA, metadata)
    groups = _episode_groups(root, metadata, file)
    observed = choose(folder, file, groups, space, bool(metadata.get("jpeg_encoding", True)), observation)
    names = _action_names(root / METADATA, file, groups[0], metadata)
    return _to_transitions(folder, file, groups, observed, metadata, names, actions)


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


def _to_transitions(
    folder: Path,
    file: Hdf5File,
    groups: list[str],
    observed: Observations,
    metadata: dict[str, Any],
    action_names: list[str],
    actions: str | None,
) -> TransitionDataset:
    lengths = observed.lengths
    steps = _open_columns(file, groups, (*action_names, *_STEP))
    infos = _info_columns(file, groups, lengths)
    held = sum(column.nbytes for columns in (*steps.values(), *infos.values()) for column in columns)
    check_expansion(str(folder), held + observed.held_bytes, observed.frame_bytes, stored_bytes(file.path))
    source, episode = steps_within(np.cumsum(lengths) - lengths, lengths)
    if len(source) == 0:
        raise DatasetError(f"{folder}: there are no transitions")
    joined = {name: _join_steps(columns, lengths) for name, columns in steps.items()}
    try:
        code, value, meaning = encode_actions(_side_by_side([joined.pop(name) for name in action_names]), actions)
    except DatasetError as error:
        raise DatasetError(f"{folder}: {error}") from None
    labels = {name: np.concatenate([column.read() for column in columns]) for name, columns in infos.items()}
    more, said = observed.read(labels)
    without = sum(int(column.shape[0]) for column in steps[action_names[0]]) - len(source)
    return assemble(
        str(folder),
        labels | more,
        describe(
            "Minari",
            f"{_convention(without)}{observed.sentence}{_of_actions(action_names)}",
            actions,
            dataset_id=shown(metadata.get("dataset_id", "")).strip("'"),
            steps_without_successor=without,
            action_codes=meaning,
            **said,
        ),
        source=source,
        action=code,
        successor=source + 1,
        observation=observed.frames,
        action_value=value,
        episode=episode,
        **{_STEP[name]: column for name, column in joined.items()},
    )


def _side_by_side(actions: list[NDArray[Any]]) -> NDArray[Any]:
    """Join the arrays (N, ...) of actions of several parts.

    Raises:
        DatasetError: some are continuous, others discrete.
    """
    if len(actions) == 1:
        return actions[0]
    if len({part.dtype.kind == "f" for part in actions}) > 1:
        raise DatasetError(
            "actions: some parts are continuous and others discrete, which one code cannot join; record them in one "
            "Box or one MultiDiscrete space"
        )
    return np.concatenate([part.reshape(len(part), -1) for part in actions], 1)


def _of_actions(names: list[str]) -> str:
    """Say what an action is, to follow another sentence; empty where it is one array."""
    parts = ", ".join(name.partition("/")[2] for name in names)
    return "" if len(names) == 1 else f"; an action is {parts} side by side"


def _convention(without_successor: int) -> str:
    counted = "some episodes lack their last observation" if without_successor else "as their numbers confirm"
    return f"step t of an episode leads from its observation t to t + 1 and has action, reward and ends t, {counted}"


def _join_steps(columns: list[StoredDataset], lengths: Ids) -> NDArray[Any]:
    """Concatenate the steps of all episodes that lead to a stored observation, each after as many observations.

    Numbers of different types are promoted, as environments return a reward of 0 here and of 0.5 there.

    Raises:
        DatasetError: an episode has neither one step less than observations nor as many.
    """
    first = columns[0]
    check_kinds(columns)
    for column, length in zip(columns, lengths, strict=True):
        if column.shape[1:] != first.shape[1:] or column.shape[:1] not in ((length - 1,), (length,)):
            raise DatasetError(
                f"{column.path}: {column.name}: is {column.shape}, and there are {length} observations, "
                f"so it must be {(int(length) - 1, *first.shape[1:])}"
            )
    return np.concatenate([column[: length - 1] for column, length in zip(columns, lengths, strict=True)])


def _open_columns(file: Hdf5File, groups: list[str], names: Sequence[str]) -> dict[str, list[StoredDataset]]:
    """Return name -> arrays of all episodes, opened one episode after the other, which is faster."""
    opened = [[file.array(f"{group}/{name}") for name in names] for group in groups]
    return dict(zip(names, map(list, zip(*opened, strict=True)), strict=True))


def _info_columns(file: Hdf5File, groups: list[str], lengths: Ids) -> dict[str, list[StoredDataset]]:
    """Return name -> numbers with one row for every frame of each episode; other infos are ignored."""
    columns = {}
    for name in _info_names(file, groups[0]):
        try:
            each = [file.array(f"{group}/infos/{name}") for group in groups]
        except DatasetError:
            continue  # text, or absent from an episode
        fits = all(column.shape == (length, *each[0].shape[1:]) for column, length in zip(each, lengths, strict=True))
        if fits and len(each[0].shape) in (1, 2):
            columns[name] = each
    return columns


def _info_names(file: Hdf5File, group: str) -> list[str]:
    names: list[str] = []
    pending = [""] if file.names(group).get("infos", False) else []
    for place in pending:  # grows as groups are found
        for name, is_group in file.names("/".join(filter(None, (group, "infos", place)))).items():
            (pending if is_group else names).append(f"{place}/{name}" if place else name)
        if len(pending) + len(names) > _MOST_INFOS:  # a group may well hold itself
            raise DatasetError(f"{file.path}: {group}/infos: holds more than {_MOST_INFOS} arrays and groups")
    return names


FORMAT = Format("a Minari dataset", is_minari, read_minari, extra="minari", find=find_local, chooses=True)
