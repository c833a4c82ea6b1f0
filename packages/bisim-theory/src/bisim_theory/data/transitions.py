"""The dataset D of observed transitions (Appendix B.1 of the paper) as integer arrays, and its validation."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bisim_theory.data.arrays import to_numpy
from bisim_theory.data.frames import BYTES_AT_ONCE as BYTES_AT_ONCE
from bisim_theory.data.frames import MOST_CHANNELS as MOST_CHANNELS
from bisim_theory.data.frames import Frames as Frames
from bisim_theory.data.frames import chunks as chunks
from bisim_theory.data.frames import equal_frames, is_images, is_read_in_pieces
from bisim_theory.data.frames import piece_rows as piece_rows
from bisim_theory.data.numbering import Integers
from bisim_theory.progress import ProgressCallback, silent

Ids = Integers
"""Integers of 32 or 64 bits, some of fewer: convert before products that may be larger."""


class DatasetError(ValueError):
    """Input cannot be used; the message names the field and the allowed values."""


NO_AUXILIARY = "auxiliary: is not in this dataset; choose what p is, as with --auxiliary reward"

MOST_UNUSED_IDS = 1_000_000
"""Most ids without a transition where the largest id alone determines the number of observations."""

LARGEST = 1e100
"""Largest magnitude of a value; beyond it, squares of differences overflow."""

LOSSY_CONTENT = (
    "observation: holds JPEG-coded images, of which equal ones may differ, so their contents cannot be compared; "
    "use --identity occurrence, or record them losslessly"
)


@dataclass(frozen=True, eq=False)
class TransitionDataset:
    """F observations and N transitions between them; the schema of ``transitions.npz``.

    The integer id of an observation is its row in `observation` and in the labels, where given. Two ids are two
    occurrences even of equal images; `bisim_theory.identify_by_content` joins those.

    Args:
        source: (N,) integer ids of the observations acted from. Integers of at most 32 bits get 32, others 64.
        action: (N,) integer codes of the actions.
        successor: (N,) integer ids of the observations that the actions led to, never the first of the next episode.
        auxiliary: (N,) or (N, k) finite numbers, p of the *source*; None where p is chosen later.
        observation_auxiliary: (F,) or (F, k) numbers, p of every observation, so also of those that are never sources;
            finite where known. Where `auxiliary` is given too, the two agree.
        observation_auxiliary_known: (F,) bool, where `observation_auxiliary` is known; None where it is everywhere.
        observation: (F, H, W, C) uint8 images, or any other numbers (F, ...), finite, optional.
        action_value: (N, A) finite floats, the continuous actions behind the codes, optional.
        reward: (N,) finite floats, the reward of the step, so r of the successor, optional.
        terminated, truncated: (N,) bool, optional.
        episode: (N,) integer, optional.
        labels: name -> (F,) or (F, k) finite numbers per observation, such as ``count``; (F, 1) becomes (F,).
        metadata: any JSON object.
        size: F, where neither observations nor labels are given; None takes one more than the largest id.

    Raises:
        DatasetError: a field has a wrong shape, type or value; the message names it.
    """

    source: Ids
    action: Ids
    successor: Ids
    auxiliary: NDArray[Any] | None = None
    observation: Frames | None = None
    action_value: NDArray[np.floating[Any]] | None = None
    reward: NDArray[np.floating[Any]] | None = None
    terminated: NDArray[np.bool_] | None = None
    truncated: NDArray[np.bool_] | None = None
    episode: Ids | None = None
    labels: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)
    size: int | None = None
    observation_auxiliary: NDArray[Any] | None = None
    observation_auxiliary_known: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        def put(name: str, value: Any) -> None:
            object.__setattr__(self, name, value)  # the dataclass is frozen

        if self.observation is not None and not is_read_in_pieces(self.observation):
            put("observation", _array("observation", cast(ArrayLike, self.observation)))
        for name in ("source", "action", "successor"):
            put(name, _integers(name, getattr(self, name)))
        if len(self.source) == 0:
            raise DatasetError("source: there are no transitions")
        rows = len(self.source)
        for name, dimensions in (("auxiliary", (1, 2)), ("reward", (1,)), ("action_value", (2,))):
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
        for name in _reserved() & set(self.labels):
            raise DatasetError(f"labels: {name!r} is the name of another array; give the label another one")
        put("labels", {name: _label(name, value) for name, value in self.labels.items()})
        self._check_observation_auxiliary(put)
        self._check_frames()
        self._check_agreement()

    def _check_observation_auxiliary(self, put: Callable[[str, Any], None]) -> None:
        """Check p of observations; what stands where it is unknown becomes 0."""
        name, known = "observation_auxiliary", self.observation_auxiliary_known
        if self.observation_auxiliary is None:
            if known is not None:
                raise DatasetError(f"{name}_known: is given without {name}")
            return
        array = _array(name, self.observation_auxiliary)
        if known is not None:
            known = _booleans(f"{name}_known", known, len(array) if array.ndim else 0)
            array = np.where(known.reshape(-1, *[1] * (array.ndim - 1)), array, array.dtype.type(0))
        put(name, _numbers(name, array, len(array) if array.ndim else 0, (1, 2)))
        put(f"{name}_known", np.ones(len(array), bool) if known is None else known)

    def _check_agreement(self) -> None:
        """Raise `DatasetError` where `auxiliary` and `observation_auxiliary` differ at a source."""
        if self.auxiliary is None or self.observation_auxiliary is None:
            return
        assert self.observation_auxiliary_known is not None
        of_source = self.observation_auxiliary[self.source]
        if of_source.shape != self.auxiliary.shape:
            raise DatasetError(
                f"observation_auxiliary: is {self.observation_auxiliary.shape}, auxiliary is {self.auxiliary.shape}; "
                "give both as many columns"
            )
        differs = (of_source != self.auxiliary).reshape(len(self), -1).any(1)
        wrong = np.flatnonzero(differs & self.observation_auxiliary_known[self.source])
        if len(wrong):
            row = int(wrong[0])
            raise DatasetError(
                f"auxiliary: row {row} gives its source, observation {self.source[row]}, another p than "
                "observation_auxiliary does; leave one of the two out"
            )

    def _check_frames(self) -> None:
        if self.observation is not None:
            shape, dtype = self.observation.shape, self.observation.dtype
            if len(shape) == 0 or 0 in shape[1:] or dtype.kind not in "biuf" or dtype.itemsize > 8:
                raise DatasetError(f"observation: must be (F, H, W, C) uint8 or (F, ...) numbers, is {shape} {dtype}")
            if dtype.kind == "f":
                for start, piece in enumerate(chunks(self.observation)):
                    _finite("observation", piece, start * piece_rows(self.observation))
        lengths = {name: len(value) for name, value in self.labels.items()}
        if self.observation is not None:
            lengths["observation"] = self.observation.shape[0]
        if self.observation_auxiliary is not None:
            lengths["observation_auxiliary"] = len(self.observation_auxiliary)
        if self.size is not None:
            lengths["size"] = self.size
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
    def p(self) -> NDArray[Any]:
        """(N,) or (N, k) p of the source of every transition.

        Raises:
            DatasetError: the dataset has no auxiliary, or it is unknown at a source.
        """
        if self.auxiliary is None and self.observation_auxiliary is not None:
            assert self.observation_auxiliary_known is not None
            unknown = np.flatnonzero(~self.observation_auxiliary_known[self.source])
            if len(unknown):
                raise DatasetError(
                    f"observation_auxiliary: is unknown at observation {self.source[unknown[0]]}, the source of "
                    f"transition {unknown[0]}"
                )
            return np.asarray(self.observation_auxiliary[self.source])
        if self.auxiliary is None:
            raise DatasetError(NO_AUXILIARY)
        return self.auxiliary

    @property
    def auxiliary_shape(self) -> tuple[int, ...]:
        """Shape of one value of p: () or (k,).

        Raises:
            DatasetError: the dataset has no auxiliary.
        """
        stored = self.auxiliary if self.observation_auxiliary is None else self.observation_auxiliary
        if stored is None:
            raise DatasetError(NO_AUXILIARY)
        return stored.shape[1:]

    @property
    def images(self) -> bool:
        """True where the observations are images: (F, H, W, C) uint8 of 1 to 12 channels, as a stack of four has."""
        frames = self.observation
        return frames is not None and is_images(frames)

    @property
    def lossy(self) -> bool:
        """True where the observations were kept lossily coded, as JPEG, so that equal ones may differ."""
        return self.metadata.get("lossy_observations") is True

    @property
    def frames(self) -> int:
        """Number of observations F: the rows of images or labels, else `size`, else one more than the largest id."""
        if self.observation is not None:
            return int(self.observation.shape[0])
        for value in self.labels.values():
            return len(value)
        if self.observation_auxiliary is not None:
            return len(self.observation_auxiliary)
        if self.size is not None:
            return self.size
        return int(max(self.source.max(), self.successor.max())) + 1

    def content_ids(self, progress: ProgressCallback = silent) -> Ids:
        """Compute (F,) ids that are equal for observations of equal content: the id of the first of them.

        The labels that ``metadata["observation_parts"]`` names belong to the content.

        Args:
            progress: called with the number of observations read.

        Raises:
            DatasetError: the dataset has no observations, or lossily coded ones.
        """
        if self.observation is None:
            raise DatasetError("observation: is needed to compare contents, and this dataset has none")
        if self.lossy:
            raise DatasetError(LOSSY_CONTENT)
        ids = equal_frames(self.observation, progress)
        parts = self.metadata.get("observation_parts")
        for name in parts if isinstance(parts, list) else ():
            ids = _tell_apart(ids, self.labels[name]) if isinstance(name, str) and name in self.labels else ids
        return ids


def _tell_apart(ids: Ids, value: NDArray[Any]) -> Ids:
    """Give rows of one id and of different values different ids: that of the first row with both."""
    codes = np.unique(value, axis=0, return_inverse=True)[1].reshape(-1)
    pairs = np.stack([ids, codes], 1)
    _, first, group = np.unique(pairs, axis=0, return_index=True, return_inverse=True)
    return first[group.reshape(-1)]


def _array(name: str, value: ArrayLike) -> NDArray[Any]:
    try:
        array = to_numpy(value)
    except ValueError as error:
        raise DatasetError(f"{name}: {error}") from None
    if array.dtype.hasobject:
        raise DatasetError(f"{name}: holds Python objects, must hold numbers")
    return array


def _integers(name: str, value: ArrayLike) -> Ids:
    array = _array(name, value)
    if array.ndim != 1 or (array.dtype.kind not in "iu" and array.size):
        raise DatasetError(f"{name}: must be (N,) integers, is {array.shape} {array.dtype}")
    if array.size and array.max() > np.iinfo(np.int64).max:
        raise DatasetError(f"{name}: holds {array.max()}, which does not fit 64 signed bits")
    return np.ascontiguousarray(array, np.int32 if np.can_cast(array.dtype, np.int32) else np.int64)


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
    return array


def _booleans(name: str, value: ArrayLike, rows: int) -> NDArray[np.bool_]:
    array = _array(name, value)
    if array.shape != (rows,) or array.dtype != np.bool_:
        raise DatasetError(f"{name}: must be ({rows},) bool, is {array.shape} {array.dtype}")
    return array


def _reserved() -> set[str]:
    return {each.name for each in fields(TransitionDataset)} | {"file"}


def usable_label(value: NDArray[Any]) -> bool:
    """Return whether an array can be a label: finite numbers (F,) or (F, k)."""
    try:
        _label("", value)
    except DatasetError:
        return False
    return True


def is_label(name: str, value: NDArray[Any]) -> bool:
    """Return whether `TransitionDataset` accepts the array as a label of that name."""
    return usable_label(value) and name not in _reserved()


def _label(name: str, value: ArrayLike) -> NDArray[Any]:
    array = _array(name, value)
    if array.ndim not in (1, 2) or array.dtype.kind not in "fiub":
        raise DatasetError(
            f"{name}: must be (F,) or (F, k) numbers, one row an observation, is {array.shape} {array.dtype}"
        )
    if 0 in array.shape[1:]:
        raise DatasetError(f"{name}: has no columns")
    _finite(name, array)
    return array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array


def usable(array: NDArray[Any]) -> NDArray[np.bool_]:
    """Return where numbers are finite and at most `LARGEST` in magnitude."""
    if array.dtype.kind != "f":
        return np.ones(array.shape, bool)
    with np.errstate(invalid="ignore"):  # a NaN compares as False
        return abs(array) <= np.float64(LARGEST)


def _finite(name: str, array: NDArray[Any], first: int = 0) -> None:
    finite = usable(array)
    if not finite.all():
        row = first + int(np.argwhere(~finite)[0][0])
        raise DatasetError(f"{name}: row {row} is not finite, or beyond {LARGEST:g}")
