"""Integer codes of actions: discrete ones as they are, continuous ones by a named abstraction."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bisim_theory.data.transitions import DatasetError, Ids, usable

MOST_BINS = 1000
_ADVICE = "name how actions become codes with --actions sign or --actions bins:K"


def encode_actions(action: NDArray[Any], abstraction: str | None = None) -> tuple[Ids, NDArray[Any] | None]:
    """Compute integer codes of actions.

    Args:
        action: (N,) or (N, A). Integers and bools are discrete: (N,) are codes already, one-hot rows become their
            index, other rows are numbered in lexicographic order. Floats are continuous.
        abstraction: how continuous actions become codes. ``"sign"`` is 1 where a value is >= 0, else 0. ``"bins:K"`` is
            the index of one of K equal-width bins, 2 <= K <= 1000, over the range of the data; a constant dimension is
            in bin 0. Dimensions are the digits of one number, the first is the most significant.

    Returns:
        (N,) codes; (N, A) the actions themselves where they are continuous, else None.

    Raises:
        DatasetError: continuous actions without an abstraction, discrete ones with one, or too many codes.
    """
    if action.ndim not in (1, 2) or action.dtype.kind not in "iubf" or 0 in action.shape:
        raise DatasetError(f"action: must be (N,) or (N, A) numbers, is {action.shape} {action.dtype}")
    if action.dtype.kind == "f":
        if abstraction is None:
            raise DatasetError(f"action: is continuous; {_ADVICE}")
        values = action.reshape(len(action), -1)
        return encode_values(values, abstraction), values
    if abstraction is not None:
        raise DatasetError(f"action: is discrete, so --actions {abstraction} does not apply; leave it out")
    return _discrete(action), None


def encode_values(values: NDArray[Any], abstraction: str) -> Ids:
    """Compute (N,) codes of continuous actions (N, A) by an abstraction; see `encode_actions`.

    Raises:
        DatasetError: the abstraction is unknown, a value is not finite, or the codes do not fit 63 bits.
    """
    good = usable(values)
    if not good.all():
        raise DatasetError(f"action: row {int(np.argwhere(~good)[0][0])} is not finite, or too large")
    values = values.astype(np.float64)
    if abstraction == "sign":
        return _combine((values >= 0).astype(np.int64), 2)
    bins = _bins(abstraction)
    low, high = values.min(0), values.max(0)
    width = np.where(high > low, high - low, 1.0)
    return _combine(np.clip(np.floor((values - low) / width * bins), 0, bins - 1).astype(np.int64), bins)


def _bins(abstraction: str) -> int:
    kind, _, number = abstraction.partition(":")
    if kind != "bins" or not (number.isascii() and number.isdigit() and len(number) <= 4):
        raise DatasetError(f"--actions {abstraction}: is unknown; {_ADVICE}")
    bins = int(number)
    if not 2 <= bins <= MOST_BINS:
        raise DatasetError(f"--actions {abstraction}: K must be 2 to {MOST_BINS}")
    return bins


def _combine(digits: Ids, base: int) -> Ids:
    if base ** digits.shape[1] > np.iinfo(np.int64).max:
        raise DatasetError(f"action: {digits.shape[1]} dimensions of {base} values are too many for an integer code")
    codes = np.zeros(len(digits), np.int64)
    for digit in digits.T:
        codes = codes * base + digit
    return codes


def _discrete(action: NDArray[Any]) -> Ids:
    if action.dtype.kind == "u" and action.max() > np.iinfo(np.int64).max:
        raise DatasetError(f"action: holds {action.max()}, which does not fit 64 signed bits")
    rows = action.astype(np.int64).reshape(len(action), -1)
    if rows.shape[1] == 1:
        return rows[:, 0]
    if ((rows == 0) | (rows == 1)).all() and (rows.sum(1) == 1).all():
        return rows.argmax(1)
    return np.unique(rows, axis=0, return_inverse=True)[1].reshape(-1).astype(np.int64)
