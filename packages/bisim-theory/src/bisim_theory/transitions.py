"""The dataset D of observed transitions (paper Appendix B.1) as integer arrays, and its checks."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

Ids = NDArray[np.int64]


class DatasetError(ValueError):
    """Input that cannot be used; the message names the field and what is allowed."""


class Frames(Protocol):
    """Images by the first axis: an array, or a file that is read in pieces."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(F, H, W, C)."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """uint8."""

    def __getitem__(self, rows: slice, /) -> NDArray[np.uint8]:
        """Frames of a slice of rows."""


MOST_UNUSED_IDS = 1_000_000
"""Without images or labels the largest index says how many observations there are; this bounds what it may claim."""

LARGEST = 1e100
"""Largest magnitude of a value: beyond it, squares of differences overflow."""

FRAMES_AT_ONCE = 2048
"""How many frames are held at a time by whatever walks over all of them."""


def chunks(frames: Frames, rows: int = FRAMES_AT_ONCE) -> Iterator[NDArray[np.uint8]]:
    """Walk over frames in pieces of at most `rows`."""
    for start in range(0, frames.shape[0], rows):
        yield frames[start : start + rows]


@dataclass(frozen=True, eq=False)
class TransitionDataset:
    """F observations and N transitions between them; the schema of ``transitions.npz``.

    An observation is named by its integer id, which is its row in `observation` and in the labels where there are any.
    Two ids are two occurrences, whatever they look like; `bisim_theory.identify_by_content` joins equal images.

    Args:
        source: (N,) integer ids of the observations acted from.
        action: (N,) integer codes of the actions.
        successor: (N,) integer ids of what the actions led to (never the first frame of the next episode).
        auxiliary: (N,) or (N, k) finite numbers, p of the *source*.
        observation: (F, H, W, C) uint8 images, optional.
        action_value: (N, A) finite floats, what was really done, optional.
        reward: (N,) finite floats of the step, so of the successor, optional.
        terminated, truncated: (N,) bool, optional.
        episode: (N,) integer, optional.
        labels: name -> (F,) or (F, k) finite numbers per observation, such as ``count``.
        metadata: anything JSON can say.

    Raises:
        DatasetError: a field has a wrong shape, type or value; the message names it.
    """

    source: Ids
    action: Ids
    successor: Ids
    auxiliary: NDArray[Any]
    observation: Frames | None = None
    action_value: NDArray[np.floating[Any]] | None = None
    reward: NDArray[np.floating[Any]] | None = None
    terminated: NDArray[np.bool_] | None = None
    truncated: NDArray[np.bool_] | None = None
    episode: Ids | None = None
    labels: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        def put(name: str, value: Any) -> None:
            object.__setattr__(self, name, value)  # the dataclass is frozen

        for name in ("source", "action", "successor"):
            put(name, _integers(name, getattr(self, name)))
        if len(self.source) == 0:
            raise DatasetError("source: there are no transitions")
        rows = len(self.source)
        put("auxiliary", _numbers("auxiliary", self.auxiliary, rows, (1, 2)))
        for name, dimensions in (("reward", (1,)), ("action_value", (2,))):
            if getattr(self, name) is not None:
                put(name, _numbers(name, getattr(self, name), rows, dimensions))
        for name in ("terminated", "truncated"):
            if getattr(self, name) is not None:
                put(name, _booleans(name, getattr(self, name), rows))
        if self.episode is not None:
            put("episode", _integers("episode", self.episode))
        for name in ("action", "successor", "episode"):
            value = getattr(self, name)
            if value is not None and len(value) != rows:
                raise DatasetError(f"{name}: has {len(value)} rows, source has {rows}")
        reserved = {each.name for each in fields(self)} | {"file"}
        for name in reserved & set(self.labels):
            raise DatasetError(f"labels: {name!r} is the name of another array; give the label another one")
        put("labels", {name: _label(name, value) for name, value in self.labels.items()})
        self._check_frames()

    def _check_frames(self) -> None:
        if self.observation is not None:
            shape, dtype = self.observation.shape, self.observation.dtype
            if len(shape) != 4 or dtype != np.uint8:
                raise DatasetError(f"observation: must be (F, H, W, C) uint8, is {shape} {dtype}")
        lengths = {name: len(value) for name, value in self.labels.items()}
        if self.observation is not None:
            lengths["observation"] = self.observation.shape[0]
        if len(set(lengths.values())) > 1:
            said = ", ".join(f"{name} {length}" for name, length in lengths.items())
            raise DatasetError(f"labels: differ in their number of observations ({said})")
        for name in ("source", "successor"):
            ids = getattr(self, name)
            if ids.min() < 0:
                raise DatasetError(f"{name}: holds the negative index {ids.min()}")
            if not lengths and ids.max() > MOST_UNUSED_IDS + 100 * len(ids):
                raise DatasetError(f"{name}: holds index {ids.max()}; number the observations 0, 1, 2, ...")
            if lengths and ids.max() >= min(lengths.values()):
                raise DatasetError(
                    f"{name}: holds index {ids.max()} and there are {min(lengths.values())} observations"
                )

    def __len__(self) -> int:
        return len(self.source)

    @property
    def frames(self) -> int:
        """Number of observations F: what the images or labels say, else one more than the largest id."""
        if self.observation is not None:
            return int(self.observation.shape[0])
        for value in self.labels.values():
            return len(value)
        return int(max(self.source.max(), self.successor.max())) + 1

    def content_ids(self) -> Ids:
        """(F,) ids in which observations of equal content have the same id, that of the first of them.

        Raises:
            DatasetError: the dataset has no images.
        """
        if self.observation is None:
            raise DatasetError("observation: is needed to compare contents, and this dataset has none")
        # 256 bits: two different images with one digest are not to be found, so bytes need not be compared again.
        first: dict[bytes, int] = {}
        ids = np.empty(self.frames, np.int64)
        position = 0
        for piece in chunks(self.observation):
            for frame in np.ascontiguousarray(piece):
                digest = hashlib.blake2b(frame.data, digest_size=32).digest()
                ids[position] = first.setdefault(digest, position)
                position += 1
        return ids


def _array(name: str, value: ArrayLike) -> NDArray[Any]:
    try:
        array = np.asarray(value)
    except (ValueError, TypeError) as error:
        raise DatasetError(f"{name}: is no array ({error})") from None
    if array.dtype.hasobject:
        raise DatasetError(f"{name}: holds Python objects, must hold numbers")
    return array


def _integers(name: str, value: ArrayLike) -> Ids:
    array = _array(name, value)
    if array.ndim != 1 or (array.dtype.kind not in "iu" and array.size):
        raise DatasetError(f"{name}: must be (N,) integers, is {array.shape} {array.dtype}")
    if array.size and array.max() > np.iinfo(np.int64).max:
        raise DatasetError(f"{name}: holds {array.max()}, which does not fit 64 signed bits")
    return np.ascontiguousarray(array, np.int64)


def _numbers(name: str, value: ArrayLike, rows: int, dimensions: tuple[int, ...]) -> NDArray[Any]:
    array = _array(name, value)
    shapes = {1: "(N,)", 2: "(N, k)"}
    if array.ndim not in dimensions or array.dtype.kind not in "fiub":
        allowed = " or ".join(shapes[d] for d in dimensions)
        raise DatasetError(f"{name}: must be {allowed} numbers, is {array.shape} {array.dtype}")
    if len(array) != rows:
        raise DatasetError(f"{name}: has {len(array)} rows, source has {rows}")
    if array.ndim == 2 and array.shape[1] == 0:
        raise DatasetError(f"{name}: has no columns")
    _finite(name, array)
    return array.astype(np.float64) if array.dtype.itemsize > 8 else array


def _booleans(name: str, value: ArrayLike, rows: int) -> NDArray[np.bool_]:
    array = _array(name, value)
    if array.shape != (rows,) or array.dtype != np.bool_:
        raise DatasetError(f"{name}: must be ({rows},) bool, is {array.shape} {array.dtype}")
    return array


def _label(name: str, value: ArrayLike) -> NDArray[Any]:
    array = _array(name, value)
    if array.ndim not in (1, 2) or array.dtype.kind not in "fiub":
        raise DatasetError(
            f"{name}: must be (F,) or (F, k) numbers, one row an observation, is {array.shape} {array.dtype}"
        )
    _finite(name, array)
    return array


def usable(array: NDArray[Any]) -> NDArray[np.bool_]:
    """Where numbers are finite and small enough for their squares to be so."""
    if array.dtype.kind != "f":
        return np.ones(array.shape, bool)
    with np.errstate(invalid="ignore"):  # NaN compares as False, which is what is meant
        return abs(array) <= np.float64(LARGEST)


def _finite(name: str, array: NDArray[Any]) -> None:
    finite = usable(array)
    if not finite.all():
        row = int(np.argwhere(~finite)[0][0])
        raise DatasetError(f"{name}: row {row} is not finite, or beyond {LARGEST:g}")
