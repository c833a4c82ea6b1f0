"""Limits on what a file may claim, and paths that stay in their folder.

Runs and datasets of strangers are read here, and the readers are fuzzed: whatever a file holds, reading it ends with
data or with one `DatasetError`, executes nothing, and takes memory for bytes that exist, not for declared ones.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bisim_theory.data.transitions import DatasetError

PIECE = 1 << 20
"""Bytes that are read at a time."""

FREE_BYTES = 1 << 28
"""Decompressed bytes that every file may hold, whatever its size."""

COLUMN_EXPANSION, FRAME_EXPANSION = 100, 500
"""Largest ratios of decompressed to stored bytes beyond `FREE_BYTES`; a file with more is taken for a bomb.

Columns are held in memory. Frames are read in pieces, and black images compress 160-fold; deflate can reach 1,032-fold.
"""

MOST_JSON_BYTES = 1 << 24
"""Longest JSON text that is parsed; Minari writes the bounds of every pixel, 115 kB for 64x64x3."""

LONGEST_NAME = 200

LONGEST_SENTENCE = 500


def stored_bytes(*paths: Path) -> int:
    """Return the bytes that files occupy on disk; holes of sparse files do not count."""
    states = [path.stat() for path in paths]
    return sum(min(state.st_size, 512 * getattr(state, "st_blocks", state.st_size)) for state in states)


def check_expansion(what: str, columns: int, frames: int, stored: int) -> None:
    """Refuse a file that declares far more bytes than it can plausibly hold.

    Args:
        what: the name of the file, for the message.
        columns: decompressed bytes that are held in memory.
        frames: decompressed bytes that are read in pieces.
        stored: bytes of the file itself.

    Raises:
        DatasetError: the file declares more than the constants of this module allow.
    """
    for name, declared, factor in (("columns", columns, COLUMN_EXPANSION), ("observations", frames, FRAME_EXPANSION)):
        if declared > FREE_BYTES + factor * stored:
            raise DatasetError(
                f"{what}: its {name} expand from {stored:,} to {declared:,} bytes, more than {factor} times; "
                "if that is no accident, write it uncompressed and without holes"
            )


def inside(root: Path, *parts: str) -> Path:
    """Return the path `root/parts` if it is a regular file and no symbolic link leads out of `root`.

    Raises:
        DatasetError: it is missing, no regular file (a pipe would never end), or outside of `root`.
    """
    path = root.joinpath(*parts)
    try:
        if not path.resolve().is_relative_to(root.resolve()):
            raise DatasetError(f"{path}: is a link that leads out of {root}; copy the file into the folder")
        if not path.is_file():
            raise DatasetError(f"{path}: is missing, or no regular file")
    except (OSError, RuntimeError, ValueError) as error:  # loops of links; names too long, or with a null character
        raise DatasetError(f"{root}: holds a path that cannot be read ({first_line(error)})") from None
    return path


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object from a file.

    Raises:
        DatasetError: the file is too long, or no JSON object.
    """
    try:
        with open(path, "rb") as file:
            text = file.read(MOST_JSON_BYTES + 1)
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror})") from None
    return parse_json(str(path), text)


def parse_json(what: str, text: str | bytes) -> dict[str, Any]:
    """Parse a JSON object; `what` names the text in messages.

    Raises:
        DatasetError: the text is too long, or no JSON object.
    """
    if len(text) > MOST_JSON_BYTES:
        raise DatasetError(f"{what}: is longer than {MOST_JSON_BYTES:,} characters")
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"{what}: is no JSON ({first_line(error)})") from None
    if not isinstance(value, dict):
        raise DatasetError(f"{what}: must be a JSON object")
    return value


def whole_number(what: str, value: Any) -> int:
    """Return `value` if it is a non-negative integer.

    Raises:
        DatasetError: it is anything else; `what` names it in the message.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise DatasetError(f"{what}: must be a whole number, is {shown(value)}")
    return value


def shown(value: Any) -> str:
    """Format a value from a file for a message: ASCII, and not too long."""
    text = ascii(value)
    return text if len(text) <= LONGEST_NAME else f"{text[:LONGEST_NAME]}..."


def printable(text: str) -> str:
    """Return a sentence from a file for a line of output: without control characters, and not too long."""
    plain_text = text if text.isprintable() else ascii(text)[1:-1]
    return plain_text if len(plain_text) <= LONGEST_SENTENCE else f"{plain_text[:LONGEST_SENTENCE]}..."


def usable_name(name: str) -> bool:
    """Return whether a name from a file is printable and not too long."""
    return name.isprintable() and 0 < len(name) <= LONGEST_NAME


def byte_count(shape: tuple[int, ...], itemsize: int) -> int:
    """Compute the bytes of an array without overflow."""
    return itemsize * int(np.prod([int(n) for n in shape], dtype=object))


def plain(array: NDArray[Any]) -> NDArray[Any]:
    """Normalise bools to 0 or 1; in a file they may be any byte."""
    return array.view(np.uint8) != 0 if array.dtype == np.bool_ else array


def damaged(what: str, error: Exception) -> DatasetError:
    """Return the error for something that cannot be read; a file that is gone or closed to us is not called damaged."""
    if isinstance(error, FileNotFoundError | PermissionError | IsADirectoryError):
        return DatasetError(f"{what}: cannot be read ({error.strerror or first_line(error)})")
    return DatasetError(f"{what}: is damaged ({first_line(error)})")


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message."""
    return (str(error) or type(error).__name__).splitlines()[0]
