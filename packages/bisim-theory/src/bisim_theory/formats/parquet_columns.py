"""Columns of a folder of Parquet files: the types that they may have, and those as which they are read."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bisim_theory.data.transitions import DatasetError
from bisim_theory.formats.arrow import is_numeric
from bisim_theory.formats.limits import printable
from bisim_theory.formats.streaming import CONTENT, DIGEST_BYTES

REQUIRED = ("source", "action", "successor")
STEP = ("auxiliary", "reward", "terminated", "truncated", "episode")
P = "observation_auxiliary"

WHOLE = (*REQUIRED, "episode", "id")
"""Columns of whole numbers."""

MOST_DIGITS = 15
"""Digits of decimal numbers of which any two that differ are different floats of 64 bits."""

LARGEST_WHOLE = 2**63 - 1

_DEEPEST = 8


def read_as(kind: Any, depth: int = _DEEPEST) -> Any | None:
    """Return the Arrow type as which a column of numbers, or of lists of them, is read; None for other columns.

    Unsigned numbers of 64 bits are read as signed ones, and decimals of few digits, but not in lists, as floats.
    """
    import pyarrow
    import pyarrow.types as types

    if depth == 0:
        return None
    if hasattr(kind, "storage_type"):
        return read_as(kind.storage_type, depth - 1)
    if is_list(kind):
        inner = None if types.is_decimal(kind.value_type) else read_as(kind.value_type, depth - 1)
        if inner is None or inner == kind.value_type:
            return None if inner is None else kind
        return pyarrow.list_(inner, kind.list_size if types.is_fixed_size_list(kind) else -1)
    if types.is_uint64(kind):
        return pyarrow.int64()
    if types.is_decimal(kind):
        return pyarrow.float64() if kind.precision <= MOST_DIGITS else None
    return kind if is_numeric(kind) else None


def is_list(kind: Any) -> bool:
    """Return whether an Arrow type is that of lists."""
    import pyarrow.types as types

    return bool(types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind))


def type_of(path: Path, name: str, kind: Any) -> Any:
    """Return the type as which a column with a meaning of its own is read.

    Args:
        path: the file, for messages.
        name: of the column: one of `REQUIRED` or `STEP`, ``id``, `P` or `CONTENT`.
        kind: its Arrow type in the file.

    Raises:
        DatasetError: it has another type than those that are read.
    """
    import pyarrow
    import pyarrow.types as types

    said = f"{path}: {name}: must"
    if name == CONTENT:
        if (types.is_fixed_size_binary(kind) and kind.byte_width != DIGEST_BYTES) or not _is_binary(kind):
            raise DatasetError(f"{said} be {DIGEST_BYTES} bytes, a 256-bit digest, is {printable(str(kind))}")
        return pyarrow.binary(DIGEST_BYTES)
    if name in WHOLE and not types.is_integer(kind):
        raise DatasetError(f"{said} hold whole numbers, is {printable(str(kind))}; write it as int64")
    if name in ("terminated", "truncated") and not types.is_boolean(kind):
        raise DatasetError(f"{said} be true or false, is {printable(str(kind))}; write it as bool")
    found = read_as(kind)
    if name == "reward" and found is not None and is_list(found):
        raise DatasetError(f"{said} hold one number a row, is {printable(str(kind))}; write it as double")
    if found is None:
        raise DatasetError(f"{said} hold numbers or lists of numbers, {why_unread(kind)}; write it as double or int64")
    return found


def why_unread(kind: Any) -> str:
    """Say of a column that is not read what its values are."""
    import pyarrow.types as types

    digits = f", of more than {MOST_DIGITS} digits" if types.is_decimal(kind) else ""
    return f"is {printable(str(kind))}{digits}"


def _is_binary(kind: Any) -> bool:
    import pyarrow.types as types

    return bool(types.is_binary(kind) or types.is_large_binary(kind) or types.is_fixed_size_binary(kind))


def converted(what: str, column: Any, kind: Any) -> Any:
    """Convert an Arrow array to the type as which it is read.

    Args:
        what: name of the column, for messages.
        column: the array.
        kind: what `type_of` or `read_as` returned for its type.

    Raises:
        DatasetError: a number does not fit, or a digest has another length.
    """
    import pyarrow
    import pyarrow.compute

    column = getattr(column, "storage", column)
    if column.type == kind:
        return column
    if kind == pyarrow.binary(DIGEST_BYTES):
        lengths = pyarrow.compute.unique(pyarrow.compute.binary_length(column)).drop_null().to_pylist()
        wrong = sorted(set(lengths) - {DIGEST_BYTES})
        if wrong:
            raise DatasetError(wrong_digest(what, wrong[0]))
        return column.cast(kind)
    if pyarrow.types.is_decimal(column.type):
        return _floats(column)
    try:
        return column.cast(kind)
    except pyarrow.ArrowInvalid:
        while is_list(column.type):
            column = column.flatten()
        raise DatasetError(too_large(what, pyarrow.compute.max(column).as_py())) from None


def _floats(column: Any) -> Any:
    """Convert decimals of at most `MOST_DIGITS` digits to the nearest floats, which Arrow's own cast misses."""
    import pyarrow

    wide = column.cast(pyarrow.decimal128(column.type.precision, column.type.scale))
    words = np.frombuffer(wide.buffers()[1], "<i8")[2 * wide.offset : 2 * (wide.offset + len(wide))]
    return pyarrow.array(words[::2] / 10.0**wide.type.scale, mask=wide.is_null().to_numpy(zero_copy_only=False))


def too_large(what: str, value: int) -> str:
    """Return the message for an unsigned number that no signed one of 64 bits holds."""
    return f"{what}: holds {value}, and whole numbers are read up to {LARGEST_WHOLE}; write smaller ones, as int64"


def wrong_digest(what: str, length: int) -> str:
    """Return the message for a digest of another length."""
    return f"{what}: must be {DIGEST_BYTES} bytes, a 256-bit digest; a value has {length}"


def if_missing(name: str) -> str:
    """Say what to do about a missing value of a column."""
    if name == "auxiliary":
        return (
            f"fill it in; where p is unknown, leave this column out and give {P} in observations/, null where it is "
            "unknown"
        )
    return f"fill it in, or leave the {'row' if name in (*REQUIRED, 'id') else 'column'} out"


def digests(what: str, column: Any) -> NDArray[np.uint8]:
    """Return a column of digests as (F, 32) bytes.

    Raises:
        DatasetError: a value is missing.
    """
    if column.null_count:
        raise DatasetError(missing_digest(what))
    begin = column.offset * DIGEST_BYTES
    buffer = np.frombuffer(column.buffers()[1], np.uint8)[begin : begin + len(column) * DIGEST_BYTES]
    return buffer.reshape(-1, DIGEST_BYTES)


def missing_digest(what: str) -> str:
    """Return the message for a digest that is missing."""
    return f"{what}: a value is missing (null); digest every observation"
