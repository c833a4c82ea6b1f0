"""Formats of datasets: what one consists of, and which one a path holds."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bisim_theory.console import install_extra
from bisim_theory.data.transitions import DatasetError, TransitionDataset
from bisim_theory.formats.rows import Rows


@dataclass(frozen=True)
class Format:
    """A format in which transitions are read.

    Attributes:
        name: what a dataset in it is called in messages, such as ``"a Minari dataset"``.
        detect: returns whether an existing file or folder is in the format.
        read: reads it; takes the path and the abstraction of continuous actions, which may be None, and the keyword
            `observation` where `chooses` is true.
        extra: the extra of this package that installs what `read` imports; None where it needs nothing.
        find: returns the place of a dataset id in the local store of the format, or None; None without such a store.
        chooses: whether datasets may hold several observations, of which `read` takes the key.
        open: opens a dataset as `Rows` that are read in pieces; takes the path, and `observation` where `chooses` is
            true. None where only `read` is offered.
        looked_in: says where `find` looks for a name that can be an id, and what chooses another place, or None.
        size: returns how many rows a dataset has, and the bytes of a row that `read` holds; None without `open`.
    """

    name: str
    detect: Callable[[Path], bool]
    read: Callable[..., TransitionDataset]
    extra: str | None = None
    find: Callable[[str], Path | None] | None = None
    chooses: bool = False
    open: Callable[..., Rows] | None = None
    size: Callable[[Path], tuple[int, int]] | None = None
    looked_in: Callable[[str], str | None] | None = None


def detect(path: Path, formats: Sequence[Format]) -> Format | None:
    """Return the first of the formats that an existing path is in, or None."""
    return next((each for each in formats if each.detect(path)), None)


def find(name: str, formats: Sequence[Format]) -> Path | None:
    """Return the place of a dataset id in the local store of one of the formats, or None. Nothing is downloaded."""
    places = (each.find(name) for each in formats if each.find is not None)
    return next((place for place in places if place is not None), None)


def looked_in(name: str, formats: Sequence[Format]) -> str:
    """Say in which local stores a dataset id was looked for, as the end of a message; nothing for what is no id."""
    places = [each.looked_in(name) for each in formats if each.looked_in is not None]
    said = [place for place in places if place is not None]
    return f", and there is no dataset of that id in {' or in '.join(said)}" if said else ""


def read(path: Path, format: Format, actions: str | None, observation: str | None = None) -> TransitionDataset:
    """Read transitions in a format.

    Raises:
        DatasetError: `path` cannot be read, the extra of the format is not installed, or a key was given for a format
            that holds one observation.
    """
    chosen = _chosen(path, format, observation)
    with _naming_extra(path, format):
        return format.read(path, actions, **chosen)


def open_rows(path: Path, format: Format, observation: str | None = None) -> Rows:
    """Open a dataset, in a format that offers it, to be read in pieces.

    Raises:
        DatasetError: as for `read`.
    """
    assert format.open is not None
    chosen = _chosen(path, format, observation)
    with _naming_extra(path, format):
        return format.open(path, **chosen)


def measure(path: Path, format: Format) -> tuple[int, int] | None:
    """Return what `Format.size` does; None where that is not offered, or the dataset cannot be read."""
    if format.size is None:
        return None
    try:
        return format.size(path)
    except (DatasetError, ImportError):
        return None


def _chosen(path: Path, format: Format, observation: str | None) -> dict[str, str]:
    if observation is not None and not format.chooses:
        raise DatasetError(f"{path}: is {format.name}, which holds one observation; leave --observation out")
    return {} if observation is None else {"observation": observation}


@contextmanager
def _naming_extra(path: Path, format: Format) -> Iterator[None]:
    try:
        yield
    except ImportError:
        if format.extra is None:
            raise
        raise DatasetError(
            f"{path}: is {format.name}, and reading it needs the extra {format.extra}: {install_extra(format.extra)}"
        ) from None
