"""Robomimic's HDF5 files: a group of arrays for each demonstration, in the order of their numbers."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bisim_theory.data.transitions import DatasetError, Ids, TransitionDataset
from bisim_theory.formats.columns import Column, RepeatedColumn, binary, converted, flattened, held
from bisim_theory.formats.episodes import describe_choice, label_of
from bisim_theory.formats.frames import FlatFrames, LazyFrames, images_last, load_vectors
from bisim_theory.formats.hdf5_arrays import Hdf5File, column_sizes, names_in
from bisim_theory.formats.hdf5_episodes import EpisodeArrays, open_episodes
from bisim_theory.formats.limits import check_expansion, first_line, shown, stored_bytes, usable_name
from bisim_theory.formats.registry import Format
from bisim_theory.formats.rows import Rows

CONVENTION = (
    "a row is a frame, the action taken from it, and reward and done of the step out of it; dones are read as "
    "terminated, though some files mark every end of a demonstration so"
)
NEXT_ROW = "; the next row of the demonstration is its successor"
NEXT_STORED = "; its successor stands in next_obs"

_DATA, _MASK, _OBS, _NEXT = "data", "mask", "obs", "next_obs"
_STEP = ("actions", "rewards", "dones")
_MOST_FILTERS = 100


@dataclass(frozen=True)
class _Demos:
    """The demonstrations of a file."""

    file: Hdf5File
    groups: list[str]
    _listed: dict[str, dict[str, bool]] = field(default_factory=dict)

    def names(self, group: str) -> dict[str, bool]:
        """Return what `Hdf5File.names` does, read once for each group."""
        if group not in self._listed:
            self._listed[group] = self.file.names(group)
        return self._listed[group]

    def stores(self, name: str, keep: bool) -> EpisodeArrays:
        """Open an array of every demonstration, all of one shape but for the number of rows."""
        parent, _, last = name.rpartition("/")
        for group in self.groups:
            if last not in self.names(f"{group}/{parent}".rstrip("/")):
                raise DatasetError(f"{self.file.path}: {group}/{name}: is missing, and another demonstration has it")
        stores = open_episodes(self.file, self.groups, [name], keep)[name]
        stores.require_one_shape()
        return stores

    def everywhere(self, name: str) -> bool:
        """Return whether every demonstration has a group or array of that name.

        Raises:
            DatasetError: only some have it.
        """
        has = [name in self.names(group) for group in self.groups]
        if any(has) and not all(has):
            group = self.groups[has.index(False)]
            raise DatasetError(f"{self.file.path}: {group}/{name}: is missing, and other demonstrations have it")
        return all(has)


def is_robomimic(path: Path) -> bool:
    """Return whether a path is an HDF5 file with demonstrations."""
    return names_in(path).get(_DATA) is True and any(_number(name) is not None for name in names_in(path, _DATA))


def read_robomimic(path: Path, actions: str | None = None, observation: str | None = None) -> TransitionDataset:
    """Read a file of robomimic; see `bisim_theory.read_transitions`.

    The observation is all of ``obs``: an image with the other entries as labels beside it, or all entries as one vector
    where there is no image. `observation` names one entry. The filters under ``mask`` become labels.

    Raises:
        DatasetError: the file is damaged, or has no observations yet.
        ImportError: h5py is not installed.
    """
    return open_robomimic(path, observation, hold=True).to_transitions(actions)


def open_robomimic(path: Path, observation: str | None = None, *, hold: bool = False) -> Rows:
    """Open a file of robomimic, of which all columns but the observations are read at once if `hold`.

    Raises:
        DatasetError, ImportError: as for `read_robomimic`.
    """
    file = Hdf5File(path)
    names, demos = _demos(file)
    if not demos.everywhere(_OBS):
        raise DatasetError(
            f"{path}: {demos.groups[0]}: has no obs, as robosuite records it; extract them with robomimic: "
            "python -m robomimic.scripts.dataset_states_to_obs --dataset FILE --output_name OUT --done_mode 2"
        )
    entries = {name: demos.stores(f"{_OBS}/{name}", hold) for name in _entry_names(demos)}
    key, parts = _choose(path, entries, observation)
    after = {name: demos.stores(f"{_NEXT}/{name}", hold) for name in entries} if demos.everywhere(_NEXT) else {}
    steps = {name: demos.stores(name, hold) for name in _STEP if name == "actions" or demos.everywhere(name)}
    lengths = steps["actions"].lengths
    _check(path, lengths, {**entries, **steps}, after)
    taken = [key] if key is not None else list(entries)
    beside = [stores for name, stores in {**entries, **steps}.items() if name not in taken]
    frames = [stores for name in taken for stores in (entries[name], after.get(name)) if stores is not None]
    check_expansion(str(path), sum(s.nbytes for s in beside), sum(s.nbytes for s in frames), stored_bytes(path))
    labels = {name: stores for name, stores in entries.items() if name != key and not _is_image(stores)}
    columns = _label_columns(labels, hold)
    masks, unread = _masks(file, names, lengths, hold)
    copied = _copied(entries, after)
    if copied:
        unread.append(f"the last {_NEXT} of each demonstration, as it is a copy of the last obs in all of them")
    step = {name: held(stores, hold) for name, stores in steps.items()}
    dropped = {name: label_of(name) if name in labels else None for name in entries if name not in (*taken, *parts)}
    return Rows(
        what=str(path),
        format="robomimic",
        convention=CONVENTION + (NEXT_STORED if after else NEXT_ROW) + _sentence(taken, parts),
        offsets=np.cumsum(lengths) - lengths,
        lengths=lengths,
        action=step["actions"],
        observation=_frames(entries, taken),
        following=_frames(after, taken) if after else None,
        unstored=np.cumsum(lengths)[lengths > 0] - 1 if copied else None,
        reward=step.get("rewards"),
        ends={"terminated": _flags(path, step["dones"])} if "dones" in step else {},
        columns={**columns, **masks},
        columns_after={**_label_columns({name: after[name] for name in labels if after}, hold), **masks},
        left_out=[*describe_choice(taken[0], dropped), *unread],
        metadata={"observation_parts": [label_of(name) for name in parts]},
    )


def _demos(file: Hdf5File) -> tuple[list[str], _Demos]:
    """Return the names of the demonstrations in the order of their numbers, and the demonstrations."""
    numbers = {name: _number(name) for name, group in file.names(_DATA).items() if group}
    names = sorted(
        (name for name, number in numbers.items() if number is not None), key=lambda name: numbers[name] or 0
    )
    return names, _Demos(file, [f"{_DATA}/{name}" for name in names])


def _number(name: str) -> int | None:
    found = re.fullmatch(r"demo_(\d{1,9})", name, re.ASCII)
    return None if found is None else int(found.group(1))


def _entry_names(demos: _Demos) -> list[str]:
    """Return the names of the observations that are arrays of numbers in the first demonstration."""
    group = f"{demos.groups[0]}/{_OBS}"
    return [name for name, inner in demos.file.names(group).items() if not inner and usable_name(name)]


def _is_image(stores: EpisodeArrays) -> bool:
    return len(stores.first_shape) == 4 and stores.first_dtype == np.uint8


def _choose(path: Path, entries: dict[str, EpisodeArrays], wanted: str | None) -> tuple[str | None, list[str]]:
    """Return the key of the observation, None for all as one vector, and the keys that belong to it beside it."""
    if not entries:
        raise DatasetError(f"{path}: {_OBS}: holds no arrays")
    if wanted is not None:
        if wanted not in entries:
            raise DatasetError(f"{path}: --observation {wanted}: is missing; obs has {shown(list(entries))}")
        return wanted, []
    images = [name for name, stores in entries.items() if _is_image(stores)]
    if len(images) > 1:
        raise DatasetError(
            f"{path}: has {len(images)} images, {shown(images)}; choose one with --observation {images[0]}"
        )
    if images:
        return images[0], [name for name in entries if name != images[0]]
    return (next(iter(entries)) if len(entries) == 1 else None), []


def _sentence(taken: list[str], parts: list[str]) -> str:
    if parts:
        return f"; an observation is {taken[0]} together with {', '.join(parts)}"
    return f"; an observation is {', '.join(taken)}{' side by side' if len(taken) > 1 else ''}"


def _check(path: Path, lengths: Ids, columns: dict[str, EpisodeArrays], after: dict[str, EpisodeArrays]) -> None:
    """Refuse arrays of another number of rows than actions, and successors of another shape than observations."""
    for stores in columns.values():
        wrong = np.flatnonzero(stores.lengths != lengths)
        if len(wrong):
            episode = int(wrong[0])
            raise DatasetError(
                f"{path}: {stores.place(episode)}: has {stores.lengths[episode]} rows, and there are "
                f"{lengths[episode]} actions"
            )
    for name, stores in after.items():
        before = columns[name]
        same = (stores.lengths == before.lengths) & (stores.first_shape[1:] == before.first_shape[1:])
        wrong = np.flatnonzero(~same)
        if stores.dtype != before.dtype or len(wrong):
            episode = int(wrong[0]) if len(wrong) else 0
            one, other = stores.part(episode), before.part(episode)
            raise DatasetError(f"{path}: {stores.place(episode)}: is {one.shape} {one.dtype}, obs is {other.shape}")


def _copied(entries: dict[str, EpisodeArrays], after: dict[str, EpisodeArrays]) -> bool:
    """Return whether the last successor of every demonstration is its last frame again, as converters fill it in."""
    pairs = [(stores, entries[name]) for name, stores in after.items()]
    return bool(pairs) and all(
        len(one) == 0 or np.array_equal(one[len(one) - 1], other[len(other) - 1])
        for stores, before in pairs
        for one, other in ((stores.part(k), before.part(k)) for k in range(len(stores.lengths)))
    )


def _frames(entries: dict[str, EpisodeArrays], taken: list[str]) -> LazyFrames | NDArray[Any]:
    joined = [entries[name] for name in taken]
    frames = images_last(joined[0]) if len(joined) == 1 else FlatFrames(joined)
    assert isinstance(frames, LazyFrames)
    return load_vectors(frames)


def _label_columns(entries: dict[str, EpisodeArrays], hold: bool) -> dict[str, Column]:
    return {label_of(name): flattened(held(stores, hold)) for name, stores in entries.items()}


def _flags(path: Path, values: Column) -> Column:
    if not binary(values):
        raise DatasetError(f"{path}: dones: must be (N,) of 0 and 1, is {values.shape} {values.dtype}")
    return converted(values, lambda piece: piece == 1)


def _masks(file: Hdf5File, names: list[str], lengths: Ids, hold: bool) -> tuple[dict[str, Column], list[str]]:
    """Return a label (F,) of 0 and 1 for each filter, 1 in its demonstrations, and sentences about those unread."""
    root = file.names()
    filters = list(file.names(_MASK)) if root.get(_MASK) else []
    labels: dict[str, Column] = {}
    unread = [f"mask/{name}, of more than {_MOST_FILTERS}" for name in filters[_MOST_FILTERS:]]
    for name in filters[:_MOST_FILTERS]:
        listed = _names_listed(file, f"{_MASK}/{name}", len(names))
        if listed is None or not listed <= set(names):
            unread.append(f"{shown(f'{_MASK}/{name}')}, which lists no demonstrations of the file")
        else:
            chosen = np.array([demo in listed for demo in names], np.int64)
            labels[f"{_MASK}/{name}"] = held(RepeatedColumn(chosen, lengths), hold)
    return labels, unread


def _names_listed(file: Hdf5File, place: str, most: int) -> set[str] | None:
    """Return the names that an array of text holds, None where it holds something else, or more than `most`."""
    node = file.node(place)
    try:
        if node.ndim != 1 or len(node) > most or node.dtype.kind not in "SO":
            return None
        return {value.decode() if isinstance(value, bytes) else str(value) for value in node[()]}
    except Exception as error:  # a damaged file can raise almost anything
        raise DatasetError(f"{file.path}: {place}: is damaged ({first_line(error)})") from None


def size_robomimic(path: Path) -> tuple[int, int]:
    """Return the number of rows of a file, and the bytes of one without its images.

    Raises:
        DatasetError, ImportError: as for `read_robomimic`.
    """
    file = Hdf5File(path)
    return column_sizes(file, _demos(file)[1].groups, "actions")


FORMAT = Format(
    "a file of robomimic",
    is_robomimic,
    read_robomimic,
    extra="hdf5",
    chooses=True,
    open=open_robomimic,
    size=size_robomimic,
)
