"""Minari datasets, read with h5py from their two files.

Minari itself would create the environment that the file names wherever the file leaves out a space, and so import
whatever a stranger wrote there. It also holds whole episodes in memory.
"""

import os
import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bisim_theory.data.transitions import DatasetError, Ids, TransitionDataset
from bisim_theory.formats.actions import encode_actions
from bisim_theory.formats.episodes import assemble, describe, steps_within
from bisim_theory.formats.frames import JoinedFrames, images_last
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
from bisim_theory.formats.registry import Format

METADATA, DATA = "metadata.json", "main_data.hdf5"
CONVENTION = (
    "step t of an episode leads from its observation t to t + 1 and has action, reward and ends t; every episode holds "
    "one observation more than steps"
)

_STEP = {"rewards": "reward", "terminations": "terminated", "truncations": "truncated"}
_DEEPEST, _MOST_INFOS = 8, 1000


def find_local(name: str) -> Path | None:
    """Return the folder of a dataset id such as ``namespace/name-v0`` in the local store, or None."""
    if re.fullmatch(r"(?:[-\w]+/)*[-\w]+-v\d+", name) is None:
        return None
    default = Path.home() / ".minari" / "datasets"
    folder = Path(os.environ.get("MINARI_DATASETS_PATH", default)) / name
    return folder if is_minari(folder) else None


def is_minari(folder: Path) -> bool:
    """Return whether a folder looks like a Minari dataset, or like the parent of its ``data``."""
    return any((place / METADATA).exists() or (place / DATA).exists() for place in (folder, folder / "data"))


def read_minari(folder: Path, actions: str | None = None) -> TransitionDataset:
    """Read a Minari dataset; see `bisim_theory.read_transitions`.

    Infos with a row for every frame become labels; nested ones are named ``outer/inner``.

    Raises:
        DatasetError: the dataset is damaged, JPEG-encoded or not in HDF5.
        ImportError: h5py is not installed.
    """
    root = folder if (folder / METADATA).exists() or (folder / DATA).exists() else folder / "data"
    metadata = read_json(inside(root, METADATA))
    if metadata.get("data_format", "hdf5") != "hdf5":
        raise DatasetError(
            f"{folder}: has the data format {shown(metadata['data_format'])}; create it with data_format='hdf5'"
        )
    path = inside(root, DATA)
    space = _space(root / METADATA, metadata)
    file = Hdf5File(path)
    groups = _episode_groups(root, metadata, file)
    place = _image_place(folder, space) if space.get("type") in ("Dict", "Tuple") else ""
    for key in filter(None, place.split("/")):
        space = _child(space, key)
    frames = _Frames(file, groups, place)
    if metadata.get("jpeg_encoding", True) and frames.are_encoded(space):
        raise DatasetError(
            f"{folder}: its images are JPEG-encoded, so most differ from what was observed and equal ones may differ; "
            "create the dataset again with jpeg_encoding=False"
        )
    return _to_transitions(folder, file, groups, frames, metadata, actions)


def _space(path: Path, metadata: dict[str, Any]) -> dict[str, Any]:
    text = metadata.get("observation_space")
    if not isinstance(text, str):
        raise DatasetError(f"{path}: observation_space: is missing; create the dataset with it")
    return parse_json(f"{path}: observation_space", text)


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


def _child(space: dict[str, Any], key: str) -> dict[str, Any]:
    subspaces = space.get("subspaces")
    if isinstance(subspaces, list):
        number = key.removeprefix("_index_")
        subspaces = dict(zip(map(str, range(len(subspaces))), subspaces, strict=True))
        key = number
    child = subspaces.get(key) if isinstance(subspaces, dict) else None
    return child if isinstance(child, dict) else {}


def _leaves(space: dict[str, Any], prefix: str = "", depth: int = 0) -> dict[str, dict[str, Any]]:
    """Return path in the file -> space, of the leaves of a nested space."""
    subspaces = space.get("subspaces")
    if isinstance(subspaces, list):
        subspaces = {f"_index_{number}": each for number, each in enumerate(subspaces)}
    if not isinstance(subspaces, dict):
        return {prefix: space}
    if depth == _DEEPEST:
        return {}
    leaves: dict[str, dict[str, Any]] = {}
    for name, each in subspaces.items():
        if isinstance(each, dict) and "/" not in name:
            leaves |= _leaves(each, f"{prefix}/{name}" if prefix else name, depth + 1)
    return leaves


def _image_place(folder: Path, space: dict[str, Any]) -> str:
    leaves = _leaves(space)
    images = [place for place, leaf in leaves.items() if _is_image(leaf) and len(leaf["shape"]) == 3]
    if len(images) != 1:
        raise DatasetError(
            f"{folder}: its observations have {len(images)} images (H, W, C) uint8 among {shown(list(leaves))}, and "
            "must have one; wrap the environment so that it observes what the encoder sees"
        )
    return images[0]


def _is_image(space: dict[str, Any]) -> bool:
    shape = space.get("shape")
    return space.get("type") == "Box" and space.get("dtype") == "uint8" and isinstance(shape, list) and len(shape) > 1


class _Frames:
    """The observations of each episode, in files that may hold thousands of them."""

    def __init__(self, file: Hdf5File, groups: list[str], place: str) -> None:
        self._file = file
        self.names = ["/".join(filter(None, (group, "observations", place))) for group in groups]

    def are_encoded(self, space: dict[str, Any]) -> bool:
        """Return whether the stored arrays lack the shape of images, as JPEG files do."""
        if not _is_image(space):
            return False
        try:
            return list(self._file.array(self.names[0]).shape[1:]) != space["shape"]
        except DatasetError:
            return True  # an array of files of different lengths

    def open(self) -> list[StoredDataset]:
        """Open the array of every episode, all of one frame shape and type."""
        stores = [self._file.array(name) for name in self.names]
        for store in stores:
            if not store.shape or store.shape[1:] != stores[0].shape[1:] or store.dtype != stores[0].dtype:
                raise DatasetError(
                    f"{store.path}: {store.name}: is {store.shape} {store.dtype}, "
                    f"{stores[0].name} is {stores[0].shape} {stores[0].dtype}"
                )
        return stores


def _to_transitions(
    folder: Path, file: Hdf5File, groups: list[str], frames: _Frames, metadata: dict[str, Any], actions: str | None
) -> TransitionDataset:
    stores = frames.open()
    lengths = np.array([store.shape[0] for store in stores])
    steps = {name: [file.array(f"{group}/{name}") for group in groups] for name in ("actions", *_STEP)}
    infos = _info_columns(file, groups, lengths)
    held = sum(column.nbytes for columns in (*steps.values(), *infos.values()) for column in columns)
    check_expansion(str(folder), held, sum(store.nbytes for store in stores), stored_bytes(file.path))
    source, episode = steps_within(np.cumsum(lengths) - lengths, lengths)
    if len(source) == 0:
        raise DatasetError(f"{folder}: there are no transitions")
    joined = {name: _join_steps(columns, lengths) for name, columns in steps.items()}
    try:
        code, value = encode_actions(joined.pop("actions"), actions)
    except DatasetError as error:
        raise DatasetError(f"{folder}: {error}") from None
    dataset_id = shown(metadata.get("dataset_id", "")).strip("'")
    return assemble(
        str(folder),
        {name: np.concatenate([column.read() for column in columns]) for name, columns in infos.items()},
        describe("Minari", CONVENTION, actions, dataset_id=dataset_id),
        source=source,
        action=code,
        successor=source + 1,
        observation=images_last(JoinedFrames(stores)),
        action_value=value,
        episode=episode,
        **{_STEP[name]: column for name, column in joined.items()},
    )


def _join_steps(columns: list[StoredDataset], lengths: Ids) -> NDArray[Any]:
    """Concatenate the steps of all episodes; each has one step less than observations."""
    first = columns[0]
    for column, length in zip(columns, lengths, strict=True):
        if column.shape != (length - 1, *first.shape[1:]) or column.dtype != first.dtype:
            raise DatasetError(
                f"{column.path}: {column.name}: is {column.shape} {column.dtype}, and there are {length} observations, "
                f"so it must be {(int(length) - 1, *first.shape[1:])} {first.dtype}"
            )
    return np.concatenate([column.read() for column in columns])


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


FORMAT = Format("a Minari dataset", is_minari, read_minari, extra="minari", find=find_local)
