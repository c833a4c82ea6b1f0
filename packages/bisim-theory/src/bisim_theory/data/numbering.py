"""Numbering of equal integers and their order: exact, without a sort of all of them, and in little memory.

Positions have 32 bits where they fit, and long arrays are processed in blocks.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.signedinteger[Any]]

BLOCK = 1 << 16
"""Entries that are processed together, so that what they need besides stays in the caches."""

ATTEMPTS = 8
"""Hash functions that are tried before the keys that still collide are sorted."""

_ODD = 0x9E3779B97F4A7C15
_DIGIT = 16  # bits; NumPy sorts integers of 16 bits by counting


def blocks(length: int) -> Iterator[slice]:
    """Yield the slices of at most `BLOCK` entries that cover an array."""
    for start in range(0, length, BLOCK):
        yield slice(start, min(start + BLOCK, length))


def signed_type(largest: int) -> np.dtype[np.signedinteger[Any]]:
    """Return the shortest signed integer type that holds -1 to `largest`."""
    types: tuple[type[np.signedinteger[Any]], ...] = (np.int8, np.int16, np.int32)
    return np.dtype(next((each for each in types if largest <= np.iinfo(each).max), np.int64))


def id_type(number: int) -> np.dtype[np.signedinteger[Any]]:
    """Return the type of positions -1 to number - 1: of 32 bits where they fit."""
    return np.dtype(np.int32 if number <= 2**31 else np.int64)


def ids(number: int) -> Integers:
    """Return 0, 1, ..., number - 1 in a type of 32 bits where they fit."""
    return np.arange(number, dtype=id_type(number))


def positions(mask: NDArray[np.bool_]) -> Integers:
    """Return the positions where a long mask is True."""
    found: Integers = np.empty(np.count_nonzero(mask), id_type(len(mask)))
    end = 0
    for block in blocks(len(mask)):
        at = np.flatnonzero(mask[block])
        found[end : end + len(at)] = at + block.start
        end += len(at)
    return found


def compress(mask: NDArray[np.bool_], *arrays: Integers) -> list[Integers]:
    """Move the entries of arrays where a mask is True to their beginnings; return those, without a copy."""
    end = 0
    for block in blocks(len(mask)):
        at = np.flatnonzero(mask[block]) + block.start
        for array in arrays:
            array[end : end + len(at)] = array[at]
        end += len(at)
    return [array[:end] for array in arrays]


def pair_key(one: Integers, other: Integers, others: int) -> NDArray[np.int64]:
    """Return one integer of 64 bits for each pair, equal iff both are equal; `other` is in 0..others - 1."""
    key = one.astype(np.int64)
    key *= others
    key += other
    return key


def increases(one: Integers, other: Integers | None = None) -> bool:
    """Return whether pairs are all different and sorted by the first integer, then by the second."""
    for block in blocks(len(one) - 1):
        here, after = slice(block.start, block.stop), slice(block.start + 1, block.stop + 1)
        more = one[after] > one[here]
        if other is not None:
            more |= (one[after] == one[here]) & (other[after] > other[here])
        if not more.all():
            return False
    return True


def first_positions(code: Integers, number: int) -> Integers:
    """Return the first position of each of the codes 0..number - 1, all of which occur in `code`."""
    first = np.empty(number, id_type(len(code)))
    _write_first(first, code, lambda keys: keys)
    return first


def count(code: Integers, number: int) -> NDArray[np.int64]:
    """Count how often each of the codes 0..number - 1 occurs."""
    counts = np.zeros(number, np.int64)
    for block in blocks(len(code)):
        if 4 * number <= BLOCK:
            counts += np.bincount(code[block], minlength=number)
        else:
            add_counts(counts, code[block])
    return counts


def add_counts(counts: Integers, code: Integers) -> None:
    """Add to the number of each code how often it occurs in an array (M,)."""
    np.add.at(counts, code, counts.dtype.type(1))  # a one of another type takes thirty times as long


def _runs(code: Integers) -> tuple[Integers, Integers]:
    """Return where runs of equal integers begin, and how long they are."""
    differs = np.empty(len(code), bool)
    differs[:1] = True
    np.not_equal(code[1:], code[:-1], out=differs[1:])
    begin = np.flatnonzero(differs)
    return begin, np.diff(begin, append=len(code))


def number(key: Integers, below: int) -> tuple[Integers, Integers]:
    """Number the different values of `key` in the order of their first positions.

    Keys share a number iff they are equal: a hash chooses only where a key is looked for, and each is compared.

    Args:
        key: (M,) integers from 0 on.
        below: a number above all of them, at most 2^63.

    Returns:
        (M,) the number of each key, and the position of the first key of each number.
    """
    if below <= 2 * len(key) + 1024:
        return _number_by_table(key, below)
    place = _first_equal(key)
    is_first = np.empty(len(key), bool)
    for block in blocks(len(key)):
        is_first[block] = place[block] == np.arange(block.start, block.stop, dtype=place.dtype)
    first = positions(is_first)
    numbers = np.empty(len(key), place.dtype)
    numbers[first] = ids(len(first))
    for block in blocks(len(key)):
        place[block] = numbers[place[block]]
    return place, first


def _number_by_table(key: Integers, below: int) -> tuple[Integers, Integers]:
    """Do what `number` does, with an entry for each possible key."""
    table: Integers = np.empty(below, id_type(len(key)))
    _write_first(table, key, lambda keys: keys)
    is_first = np.empty(len(key), bool)
    for block in blocks(len(key)):
        is_first[block] = table[key[block]] == np.arange(block.start, block.stop, dtype=table.dtype)
    first = positions(is_first)
    del is_first
    table[key[first]] = ids(len(first))
    numbers: Integers = np.empty(len(key), table.dtype)
    for block in blocks(len(key)):
        numbers[block] = table[key[block]]
    return numbers, first


def _first_equal(key: Integers) -> Integers:
    """Compute (M,) the position of the first key that equals each."""
    place: Integers = np.empty(len(key), id_type(len(key)))
    table = np.empty(1 << max(len(key) - 1, 15).bit_length(), place.dtype)
    pending: Integers | None = None
    for attempt in range(ATTEMPTS):
        pending = _look_up(key, place, table, pending, _Slots(len(table), attempt))
        if not len(pending):
            return place
    assert pending is not None
    _, first, same = np.unique(key[pending], return_index=True, return_inverse=True)
    place[pending] = pending[first[same.reshape(-1)]]
    return place


class _Slots:
    """A hash function: the upper bits of a product."""

    def __init__(self, size: int, attempt: int) -> None:
        self.factor = np.uint64(_ODD * (2 * attempt + 1) % 2**64)
        self.shift = np.uint64(65 - size.bit_length())

    def __call__(self, keys: Integers) -> NDArray[np.int64]:
        return ((keys.astype(np.int64).view(np.uint64) * self.factor) >> self.shift).view(np.int64)


def _write_first(table: Integers, key: Integers, slots: Any, pending: Integers | None = None) -> None:
    """Write the position of each key into its slot of a table; the first of several stays."""
    for block in reversed(list(blocks(len(key) if pending is None else len(pending)))):
        if pending is None:
            at, keys = np.arange(block.start, block.stop, dtype=table.dtype), key[block]
        else:
            at, keys = pending[block], key[pending[block]]
        table[slots(keys)[::-1]] = at[::-1]  # of equal slots the last one written stays


def _look_up(key: Integers, place: Integers, table: Integers, pending: Integers | None, slots: _Slots) -> Integers:
    """Set the places of keys that win their slot of a hash table; return the positions of those that lose it."""
    _write_first(table, key, slots, pending)
    lost = [np.empty(0, place.dtype)]
    for block in blocks(len(key) if pending is None else len(pending)):
        at = block if pending is None else pending[block]
        found = table[slots(key[at])]
        place[at] = found
        wrong = np.flatnonzero(key[found] != key[at])
        lost.append((wrong + block.start).astype(place.dtype) if isinstance(at, slice) else at[wrong])
    return np.concatenate(lost)


def order_of(code: Integers, below: int) -> Integers:
    """Return the positions of integers 0..below - 1 in sorted order, equal ones as they lie.

    Where there are far fewer integers than positions, those are counted, and the positions of one block after another
    get the next places of their integers. Other integers are sorted as a whole.
    """
    if len(code) <= BLOCK or 8 * below > len(code):
        return _order_by_digits(code, below)
    order: Integers = np.empty(len(code), id_type(len(code)))
    end: Integers = np.zeros(below, id_type(len(code) + 1))
    for block in blocks(len(code)):
        add_counts(end, code[block])
    np.cumsum(end, out=end)
    within = np.arange(BLOCK)
    for block in reversed(list(blocks(len(code)))):
        at = _order_by_digits(code[block], below)
        here = code[block][at]
        begin, length = _runs(here)
        first = end[here[begin]] - length.astype(end.dtype)
        end[here[begin]] = first
        order[np.repeat(first - begin, length) + within[: len(here)]] = at + block.start
    return order


def _order_by_digits(code: Integers, below: int) -> Integers:
    """Do what `order_of` does by counting 16 bits after another."""
    kind = id_type(len(code))
    order = np.argsort(_digit(code, 0), kind="stable").astype(kind)
    for shift in range(_DIGIT, max(below - 1, 0).bit_length(), _DIGIT):
        order = order[np.argsort(_digit(code, shift)[order], kind="stable").astype(kind)]
    return order


def _digit(code: Integers, shift: int) -> NDArray[np.uint16]:
    digit = np.empty(len(code), np.uint16)
    for block in blocks(len(code)):
        digit[block] = (code[block] >> shift) & 0xFFFF
    return digit


def distinct(values: NDArray[Any]) -> tuple[NDArray[Any], Integers]:
    """Return the different numbers in an array (M,), sorted, and the position of each number among them.

    The positions have the shortest type that holds them. -0.0 equals 0.0.
    """
    if not len(values):
        return values[:0], np.empty(0, np.int8)
    if values.dtype.kind in "biu":
        low, high = int(values.min()), int(values.max())
        if high - low <= 2 * len(values) + 1024:
            return _distinct_in_range(values, low, high)
    codes, first = number(_bits(values), 2**63)
    found, rank = np.unique(values[first], return_inverse=True)
    return found, rank.reshape(-1).astype(signed_type(len(found)))[codes]


def _distinct_in_range(values: NDArray[Any], low: int, high: int) -> tuple[NDArray[Any], Integers]:
    occurs = np.zeros(high - low + 1, bool)
    for block in blocks(len(values)):
        occurs[_above(values[block], low)] = True
    found = np.flatnonzero(occurs)
    code = np.zeros(len(occurs), signed_type(len(found)))
    code[found] = np.arange(len(found))
    codes: Integers = np.empty(len(values), signed_type(len(found)))
    for block in blocks(len(values)):
        codes[block] = code[_above(values[block], low)]
    return (found.astype(np.uint64) + np.uint64(low % 2**64)).astype(values.dtype), codes  # modulo 2^64


def _above(values: NDArray[Any], low: int) -> Integers:
    """Return integers less `low`, which fit 64 bits; those of unsigned types may not before."""
    if values.dtype.kind == "u":
        return (values - values.dtype.type(low)).astype(np.int64)
    return values.astype(np.int64) - low


def _bits(values: NDArray[Any]) -> Integers:
    """Return 64-bit integers that are equal iff the numbers are."""
    if values.dtype.kind == "f":
        return (values.astype(np.float64) + 0.0).view(np.int64)  # -0.0 + 0.0 is 0.0
    return values.astype(np.uint64).view(np.int64) if values.dtype.kind == "u" else values.astype(np.int64)
