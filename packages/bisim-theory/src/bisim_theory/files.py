"""Atomic writing of files."""

import errno
import json
import math
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

STANDARD_STREAMS = {"-": 1, "/dev/stdout": 1, "/dev/fd/1": 1, "/dev/stderr": 2, "/dev/fd/2": 2}
"""Names of the standard streams, which mean them even where the system has no such files."""


@contextmanager
def atomic_write(path: str | os.PathLike[str], mode: str = "wb") -> Iterator[IO[Any]]:
    """Open a temporary file next to `path` that replaces it when the block succeeds and is removed otherwise.

    A link stays a link: the file that it leads to is replaced. A file that is replaced keeps its mode. A pipe, a device
    or a standard stream of this process is written to as it is.

    Raises:
        OSError: the folder cannot be written to, or the disk is full; `path` is then unchanged.
    """
    path, encoding = Path(path), None if "b" in mode else "utf-8"
    if not path.name or path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    stream = _stream(path)
    if stream is not None:
        with _named(path, path), open(stream, mode, encoding=encoding) as file:
            yield file
        return
    target = Path(os.path.realpath(path))
    temporary = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        with _named(path, temporary), open(temporary, mode, encoding=encoding) as file:
            yield file
            file.flush()
            with suppress(FileNotFoundError):
                os.fchmod(file.fileno(), stat.S_IMODE(target.stat().st_mode))
            os.fsync(file.fileno())
        os.replace(temporary, target)
        _flush_folder(target.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _stream(path: Path) -> Path | int | None:
    """Return what to open where `path` cannot be replaced: a pipe or device itself, or a copy of a standard stream."""
    if str(path) in STANDARD_STREAMS:
        return os.dup(STANDARD_STREAMS[str(path)])
    try:
        found = path.stat()
    except OSError:
        return None
    for descriptor in (1, 2):  # a file that the shell has opened, which a new one in its place would not reach
        with suppress(OSError):
            if os.path.samestat(found, os.fstat(descriptor)):
                return os.dup(descriptor)
    return None if stat.S_ISREG(found.st_mode) else path


def _flush_folder(folder: Path) -> None:
    """Fsync the folder so that a rename survives a power cut, where the system supports that."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def _named(path: Path, temporary: Path) -> Iterator[None]:
    """Make errors name `path`, not the temporary file. Errors in the middle of writing name no file by themselves."""
    try:
        yield
    except OSError as error:
        if error.filename in (None, str(temporary)):
            error.filename = str(path)
        raise


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write `value` atomically as indented JSON; a number that is not finite becomes null."""
    with atomic_write(path, "w") as file:
        json.dump(finite(value), file, indent=2, allow_nan=False)
        file.write("\n")


def finite(value: Any) -> Any:
    """Return a value of JSON with null for each number that is not finite."""
    if isinstance(value, dict):
        return {name: finite(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
