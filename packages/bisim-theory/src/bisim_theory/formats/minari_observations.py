"""Choose the observations of a Minari dataset: one array, or the entries of a nested space."""

import functools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from bisim_theory.data.transitions import DatasetError, Frames, Ids
from bisim_theory.formats.columns import Column, flattened, held, is_label_column
from bisim_theory.formats.encoded import LOSSY
from bisim_theory.formats.episodes import describe_choice, label_of
from bisim_theory.formats.frames import FlatFrames, images_last
from bisim_theory.formats.hdf5_arrays import Hdf5File
from bisim_theory.formats.hdf5_episodes import EpisodeArrays, open_episodes
from bisim_theory.formats.jpeg import EncodedImages
from bisim_theory.formats.limits import shown

_DEEPEST = 8
_NUMBERS = ("Box", "Discrete", "MultiBinary", "MultiDiscrete")


@dataclass(frozen=True)
class _Entry:
    """One array of the observations, over all episodes.

    Attributes:
        frames: all observations.
        image: whether its space is that of images (H, W, C).
        encoded: whether the entry holds JPEG-coded images.
    """

    frames: EpisodeArrays
    image: bool
    encoded: bool

    def column(self, hold: bool) -> Column:
        """Return a column for a label: (F,), or (F, k) of what has more axes; read at once if `hold`."""
        return flattened(held(self.frames, hold))


@dataclass(frozen=True)
class Observations:
    """Hold the entries that are taken for the observations, and those that are not.

    Attributes:
        frames: (F, ...) the observations.
        lengths: (E,) number of observations of each episode.
        keys: the entries of which an observation consists; the first is in `frames`, the others are too where they are
            no `parts`.
        parts: entries that belong to an observation and are kept as labels beside an image.
        others: entries that do not belong to it, as one was chosen.
        columns: entries that belong to it, are in `frames`, and become labels too.
        unread: sentences about entries that hold no numbers.
        lossy: whether images are JPEG-coded.
        frame_bytes, held_bytes: bytes that are read in pieces, and held in memory.
    """

    frames: Frames
    lengths: Ids
    keys: Sequence[str]
    parts: Mapping[str, _Entry] = field(default_factory=dict)
    others: Mapping[str, _Entry] = field(default_factory=dict)
    columns: Mapping[str, _Entry] = field(default_factory=dict)
    unread: Sequence[str] = ()
    lossy: bool = False
    frame_bytes: int = 0
    held_bytes: int = 0

    @property
    def sentence(self) -> str:
        """Say what an observation is, to follow another sentence; empty where it is the only array."""
        if len(self.keys) + len(self.parts) + len(self.others) + len(self.unread) == 1:
            return ""
        if self.parts:
            return f"; an observation is {self.keys[0]} together with {', '.join(self.parts)}"
        return f"; an observation is {', '.join(self.keys)}{' side by side' if len(self.keys) > 1 else ''}"

    def labels(self, taken: Collection[str], hold: bool) -> tuple[dict[str, Column], dict[str, Any]]:
        """Return the entries that become labels.

        Args:
            taken: names of labels that there are.
            hold: whether to read them at once.

        Returns:
            name -> label; entries of the metadata: `left_out`, `observation_parts` (labels that belong to an
            observation), `lossy_observations`.
        """
        labels: dict[str, Column] = {}
        names = {}
        for key, entry in {**self.parts, **self.others, **self.columns}.items():
            name = label_of(key) if label_of(key) not in taken else f"observations/{key}"
            value = None if entry.image else entry.column(hold)
            if value is not None and is_label_column(name, value):
                labels[name], names[key] = value, name
        left_out = [f"{key}, which is not finite everywhere" for key in self.parts if key not in names]
        left_out += describe_choice(self.keys[0], {key: names.get(key) for key in self.others})
        said = {
            "left_out": [*left_out, *self.unread, *([LOSSY] if self.lossy else [])],
            "observation_parts": [names[key] for key in self.parts if key in names],
            "lossy_observations": self.lossy,
        }
        return labels, said


def choose(
    folder: Path,
    file: Hdf5File,
    groups: list[str],
    space: dict[str, Any],
    jpeg: bool,
    wanted: str | None,
    hold: bool,
) -> Observations:
    """Choose what an observation is.

    All entries of a nested space belong to it. An image is kept as it is, and the others beside it as labels; without
    an image the entries become one vector, in the order of the space.

    Args:
        folder: the dataset.
        file: its arrays.
        groups: the groups of the episodes.
        space: the observation space.
        jpeg: whether images may be JPEG-coded.
        wanted: key of the entry that is the observation, or None.
        hold: whether to keep the arrays open, and small ones in memory.

    Raises:
        DatasetError: an entry cannot be read, there is no entry `wanted`, or there are several images.
    """
    leaves = leaves_of(space)
    if wanted is not None and (wanted not in leaves or list(leaves) == [""]):
        offered = shown(list(leaves)) if any(leaves) else "of which it holds one; leave --observation out"
        raise DatasetError(f"{folder}: --observation {wanted}: is none of its observations, {offered}")
    entries, unread = _open_all(file, groups, leaves, jpeg, required=wanted or "", keep=hold)
    images = [key for key, entry in entries.items() if entry.image]
    if wanted is None and len(images) > 1:
        raise DatasetError(
            f"{folder}: its observations have {len(images)} images (H, W, C) uint8, {shown(images)}; "
            f"choose one with --observation {images[0]}"
        )
    if not entries:
        raise DatasetError(f"{folder}: its observations hold no numbers")
    key = wanted or (images[0] if images else None)
    lengths = entries[key or next(iter(entries))].frames.lengths
    for name, entry in entries.items():
        if not np.array_equal(entry.frames.lengths, lengths):
            raise DatasetError(f"{folder}: observations/{name}: has another number of rows than the other entries")
    if key is None and len(entries) == 1:
        key = next(iter(entries))
    if key is None:
        return Observations(
            FlatFrames([entry.frames for entry in entries.values()]),
            lengths,
            list(entries),
            columns=entries,
            unread=unread,
            frame_bytes=sum(entry.frames.nbytes for entry in entries.values()),
            held_bytes=sum(entry.frames.nbytes for entry in entries.values()),
        )
    rest = {name: entry for name, entry in entries.items() if name != key}
    entry = entries[key]
    return Observations(
        entry.frames if entry.encoded else images_last(entry.frames),
        lengths,
        [key],
        parts=rest if wanted is None else {},
        others={} if wanted is None else rest,
        unread=unread,
        lossy=entry.encoded,
        frame_bytes=entry.frames.nbytes,
        held_bytes=sum(each.frames.nbytes for each in rest.values() if not each.image),
    )


def _open_all(
    file: Hdf5File, groups: list[str], leaves: dict[str, dict[str, Any]], jpeg: bool, required: str, keep: bool
) -> tuple[dict[str, _Entry], list[str]]:
    """Open the leaves of a space that hold numbers; return sentences about the others."""
    entries, unread = {}, []
    for key, leaf in leaves.items():
        kind = leaf.get("type")
        if key != required and kind not in _NUMBERS:
            unread.append(f"{key}, of the space {shown(kind)}, which holds no numbers")
            continue
        entries[key] = _open(file, groups, "/".join(filter(None, ("observations", key))), leaf, jpeg, keep)
    return entries, unread


def _open(file: Hdf5File, groups: list[str], name: str, leaf: dict[str, Any], jpeg: bool, keep: bool) -> _Entry:
    given = leaf.get("shape")
    shape = given if isinstance(given, list) else []
    image = leaf.get("type") == "Box" and leaf.get("dtype") == "uint8" and len(shape) > 1
    encoded = image and jpeg and EncodedImages.holds(file, f"{groups[0]}/{name}", shape)
    decode = functools.partial(EncodedImages, file, shape=shape) if encoded else None
    stores = open_episodes(file, groups, [name], keep, decode)[name]
    stores.require_one_kind()
    stores.require_one_shape()
    return _Entry(stores, image and len(shape) == 3, encoded)


def leaves_of(space: dict[str, Any], prefix: str = "", depth: int = 0) -> dict[str, dict[str, Any]]:
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
            leaves |= leaves_of(each, f"{prefix}/{name}" if prefix else name, depth + 1)
    return leaves
