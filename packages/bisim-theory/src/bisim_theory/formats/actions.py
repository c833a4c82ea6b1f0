"""Integer codes of actions: discrete ones as they are, continuous ones by a named abstraction."""

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
    if action.ndim not in (1, 2) or action.dtype.kind not in "iubf" or 0 in action.shape:
        raise DatasetError(f"action: must be (N,) or (N, A) numbers, is {action.shape} {action.dtype}")
    if action.dtype.kind == "f":
        if abstraction is None and _is_one_hot(action):
            return _discrete(action)
        if abstraction is None:
            raise DatasetError(f"{CONTINUOUS}; {_ADVICE}")
        values = action.reshape(len(action), -1)
        code, meaning = encode_values(values, abstraction)
        return EncodedActions(code, values, meaning)
    if abstraction is not None:
        raise DatasetError(f"action: is discrete, so --actions {abstraction} does not apply; leave it out")
    return _discrete(action)


def encode_values(values: NDArray[Any], abstraction: str) -> tuple[Ids, dict[str, Any]]:
    """Compute (N,) codes of continuous actions (N, A) by an abstraction, and what they mean; see `encode_actions`.

    Raises:
        DatasetError: the abstraction is unknown, a value is not finite, or the codes do not fit 63 bits.
    """
    good = usable(values)
    if not good.all():
        raise DatasetError(f"action: row {int(np.argwhere(~good)[0][0])} is not finite, or too large")
    if abstraction == "sign":
        return combine_digits((values >= 0).astype(np.int64), 2), ActionCodes(signs=values.shape[1]).entry
    bins = Bins.of(values, _bins(abstraction))
    return combine_digits(bins.index(values), bins.count), ActionCodes(bins=bins).entry


def _is_one_hot(action: NDArray[Any]) -> bool:
    """Return whether floats are rows of one 1 and zeros, in at least two different places."""
    if action.ndim != 2 or action.shape[1] < 2:
        return False
    return bool(((action == 0) | (action == 1)).all() and (action.sum(1) == 1).all() and len(np.unique(action)) == 2)


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


def _discrete(action: NDArray[Any]) -> EncodedActions:
    if action.dtype.kind == "u" and action.max() > np.iinfo(np.int64).max:
        raise DatasetError(f"action: holds {action.max()}, which does not fit 64 signed bits")
    rows = action.astype(np.int64).reshape(len(action), -1)
    if rows.shape[1] == 1:
        return EncodedActions(rows[:, 0], None, None)
    if ((rows == 0) | (rows == 1)).all() and (rows.sum(1) == 1).all():
        return EncodedActions(rows.argmax(1), None, ActionCodes(one_hot=True).entry)
    different, code = np.unique(rows, axis=0, return_inverse=True)
    known = len(different) <= MOST_COMBINATIONS and different.shape[1] <= MOST_DIMENSIONS
    meaning = ActionCodes(rows=tuple(map(tuple, different.tolist()))).entry if known else None
    return EncodedActions(code.reshape(-1).astype(np.int64), None, meaning)
