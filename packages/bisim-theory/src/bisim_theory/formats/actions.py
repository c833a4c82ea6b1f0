"""Integer codes of actions: discrete ones as they are, continuous ones by a named abstraction."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bisim_theory.data.action_codes import MOST_COMBINATIONS, MOST_DIMENSIONS, ActionCodes
from bisim_theory.data.bins import MOST_BINS, Bins, parse_count
from bisim_theory.data.transitions import DatasetError, Ids, usable

CONTINUOUS = "action: is continuous"
"""Beginning of the message that asks for an abstraction."""

_ADVICE = "name how actions become codes with --actions sign or --actions bins:K"


class EncodedActions(NamedTuple):
    """Actions as integer codes.

    Attributes:
        code: (N,) codes.
        value: (N, A) the actions themselves where they are continuous, else None.
        meaning: what the codes mean, the entry ``action_codes`` of the metadata; None where they are the actions.
    """

    code: Ids
    value: NDArray[Any] | None
    meaning: dict[str, Any] | None


class ActionEncoding(NamedTuple):
    """How actions become integer codes.

    Attributes:
        code: computes (N,) codes of actions (N,) or (N, A).
        meaning: what the codes mean, as in `EncodedActions`.
        continuous: whether the actions are continuous.
    """

    code: Callable[[NDArray[Any]], Ids]
    meaning: dict[str, Any] | None
    continuous: bool = False


class ActionSurvey:
    """Collects what the codes of actions depend on, from pieces of the actions.

    Args:
        abstraction: how continuous actions become codes; see `encode_actions`.
    """

    def __init__(self, abstraction: str | None = None) -> None:
        self.abstraction = abstraction
        self._count = 0
        self._first: NDArray[Any] | None = None
        self._one_hot = True
        self._hot: set[int] = set()
        self._rows: NDArray[np.int64] | None = None
        self._ends: tuple[NDArray[Any], NDArray[Any]] | None = None

    def add(self, action: NDArray[Any]) -> None:
        """Take a piece (N,) or (N, A) into account.

        Raises:
            DatasetError: it holds no numbers, or numbers that are not finite or do not fit.
        """
        if action.ndim not in (1, 2) or action.dtype.kind not in "iubf" or 0 in action.shape:
            raise DatasetError(f"action: must be (N,) or (N, A) numbers, is {action.shape} {action.dtype}")
        self._first = action[:1] if self._first is None else self._first
        if action.dtype.kind != "f":
            self._add_discrete(action)
        elif self.abstraction is None:
            self._one_hot &= _is_one_hot(action)
        else:
            self.add_values(action.reshape(len(action), -1))
        self._count += len(action)

    def add_values(self, values: NDArray[Any]) -> None:
        """Take continuous actions (N, A) into account.

        Raises:
            DatasetError: one is not finite, or too large.
        """
        good = usable(values)
        if not good.all():
            raise DatasetError(f"action: row {self._count + int(np.argwhere(~good)[0][0])} is not finite, or too large")
        low, high = values.min(0), values.max(0)
        if self._ends is not None:
            low, high = np.minimum(low, self._ends[0]), np.maximum(high, self._ends[1])
        self._ends = low, high

    def _add_discrete(self, action: NDArray[Any]) -> None:
        rows = _whole(action)
        if self.abstraction is not None or rows.shape[1] == 1:
            return
        if ((rows == 0) | (rows == 1)).all() and (rows.sum(1) == 1).all():
            self._hot.update(np.unique(rows.argmax(1)).tolist())
            return
        self._one_hot = False
        known = rows if self._rows is None else np.concatenate([self._rows, rows])
        self._rows = np.unique(known, axis=0)

    def encoding(self) -> ActionEncoding:
        """Return how the actions that were taken into account become codes.

        Raises:
            DatasetError: continuous actions lack an abstraction, or discrete ones have one.
        """
        assert self._first is not None
        if self._first.dtype.kind != "f":
            if self.abstraction is not None:
                raise DatasetError(f"action: is discrete, so --actions {self.abstraction} does not apply; leave it out")
            return self._discrete()
        if self.abstraction is not None:
            return self.encoding_of_values()
        if not self._one_hot:
            raise DatasetError(f"{CONTINUOUS}; {_ADVICE}")
        return ActionEncoding(_hot_index, ActionCodes(one_hot=True).entry)

    def encoding_of_values(self) -> ActionEncoding:
        """Return how continuous actions become codes.

        Raises:
            DatasetError: the abstraction is unknown.
        """
        assert self._ends is not None
        assert self.abstraction is not None
        low, high = self._ends
        if self.abstraction == "sign":
            return ActionEncoding(_signs, ActionCodes(signs=len(low)).entry, continuous=True)
        bins = Bins.of(np.stack([low, high]), _bins(self.abstraction))
        return ActionEncoding(
            lambda values: combine_digits(bins.index(values.reshape(len(values), -1)), bins.count),
            ActionCodes(bins=bins).entry,
            continuous=True,
        )

    def _discrete(self) -> ActionEncoding:
        assert self._first is not None
        if self._first.size == 1:
            return ActionEncoding(lambda action: _whole(action)[:, 0], None)
        if self._one_hot:
            return ActionEncoding(_hot_index, ActionCodes(one_hot=True).entry)
        assert self._rows is not None
        different = self._rows
        if self._hot:
            hot = np.zeros((len(self._hot), different.shape[1]), np.int64)
            hot[np.arange(len(hot)), sorted(self._hot)] = 1
            different = np.unique(np.concatenate([different, hot]), axis=0)
        known = len(different) <= MOST_COMBINATIONS and different.shape[1] <= MOST_DIMENSIONS
        meaning = ActionCodes(rows=tuple(map(tuple, different.tolist()))).entry if known else None
        return ActionEncoding(lambda action: _places(_whole(action), different), meaning)


def encode_actions(action: NDArray[Any], abstraction: str | None = None) -> EncodedActions:
    """Compute integer codes of actions.

    Args:
        action: (N,) or (N, A). Integers and bools are discrete: (N,) are codes already, one-hot rows become their
            index, other rows are numbered in lexicographic order. Floats are continuous, unless their rows are one-hot.
        abstraction: how continuous actions become codes. ``"sign"`` is 1 where a value is >= 0, else 0. ``"bins:K"`` is
            the index of one of K equal-width bins, 2 <= K <= 1000, over the range of the data; a constant dimension is
            in bin 0. Dimensions are the digits of one number, the first is the most significant.

    Raises:
        DatasetError: continuous actions without an abstraction, discrete ones with one, or too many codes.
    """
    survey = ActionSurvey(abstraction)
    survey.add(action)
    encoding = survey.encoding()
    value = action.reshape(len(action), -1) if encoding.continuous else None
    return EncodedActions(encoding.code(action), value, encoding.meaning)


def encode_values(values: NDArray[Any], abstraction: str) -> tuple[Ids, dict[str, Any] | None]:
    """Compute (N,) codes of continuous actions (N, A) by an abstraction, and what they mean; see `encode_actions`.

    Raises:
        DatasetError: the abstraction is unknown, a value is not finite, or the codes do not fit 63 bits.
    """
    survey = ActionSurvey(abstraction)
    survey.add_values(values)
    encoding = survey.encoding_of_values()
    return encoding.code(values), encoding.meaning


def _whole(action: NDArray[Any]) -> NDArray[np.int64]:
    """Return discrete actions as rows (N, A) of 64-bit integers.

    Raises:
        DatasetError: one does not fit.
    """
    if action.dtype.kind == "u" and action.max() > np.iinfo(np.int64).max:
        raise DatasetError(f"action: holds {action.max()}, which does not fit 64 signed bits")
    return action.astype(np.int64).reshape(len(action), -1)


def _hot_index(action: NDArray[Any]) -> Ids:
    return _whole(action).argmax(1)


def _signs(values: NDArray[Any]) -> Ids:
    return combine_digits((values.reshape(len(values), -1) >= 0).astype(np.int64), 2)


def _places(rows: NDArray[np.int64], different: NDArray[np.int64]) -> Ids:
    """Return (N,) the places of rows in the sorted rows `different`, which hold them all."""
    own, of_row = np.unique(rows, axis=0, return_inverse=True)
    place = np.unique(np.concatenate([different, own]), axis=0, return_inverse=True)[1].reshape(-1)[len(different) :]
    return place[of_row.reshape(-1)].astype(np.int64)


def _is_one_hot(action: NDArray[Any]) -> bool:
    """Return whether floats are rows of one 1 and zeros, in at least two different places."""
    if action.ndim != 2 or action.shape[1] < 2:
        return False
    return bool(((action == 0) | (action == 1)).all() and (action.sum(1) == 1).all())


def _bins(abstraction: str) -> int:
    kind, _, number = abstraction.partition(":")
    if kind != "bins" or not (number.isascii() and number.isdigit() and len(number) <= 4):
        raise DatasetError(f"--actions {abstraction}: is unknown; {_ADVICE}")
    bins = parse_count(number)
    if bins is None:
        raise DatasetError(f"--actions {abstraction}: K must be 2 to {MOST_BINS}")
    return bins


def combine_digits(digits: Ids, base: int) -> Ids:
    """Return one number (N,) for digits (N, A) from 0 to `base` - 1, the first of which is the most significant.

    Raises:
        DatasetError: the numbers do not fit 63 bits.
    """
    if base ** digits.shape[1] > np.iinfo(np.int64).max:
        raise DatasetError(f"action: {digits.shape[1]} dimensions of {base} values are too many for an integer code")
    codes = np.zeros(len(digits), np.int64)
    for digit in digits.T:
        codes = codes * base + digit
    return codes
