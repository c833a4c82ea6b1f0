"""Formats of datasets: what one consists of, and which one a path holds."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bisim_theory.data.transitions import DatasetError, TransitionDataset


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
    """

    name: str
    detect: Callable[[Path], bool]
    read: Callable[..., TransitionDataset]
    extra: str | None = None
    find: Callable[[str], Path | None] | None = None
    chooses: bool = False


def detect(path: Path, formats: Sequence[Format]) -> Format | None:
    """Return the first of the formats that an existing path is in, or None."""
    return next((each for each in formats if each.detect(path)), None)


def find(name: str, formats: Sequence[Format]) -> Path | None:
    """Return the place of a dataset id in the local store of one of the formats, or None. Nothing is downloaded."""
    places = (each.find(name) for each in formats if each.find is not None)
    return next((place for place in places if place is not None), None)


def read(path: Path, format: Format, actions: str | None, observation: str | None = None) -> TransitionDataset:
    """Read transitions in a format.

    Raises:
        DatasetError: `path` cannot be read, the extra of the format is not installed, or a key was given for a format
            that holds one observation.
    """
    if observation is not None and not format.chooses:
        raise DatasetError(f"{path}: is {format.name}, which holds one observation; leave --observation out")
    chosen = {} if observation is None else {"observation": observation}
    try:
        return format.read(path, actions, **chosen)
    except ImportError:
        if format.extra is None:
            raise
        raise DatasetError(
            f"{path}: is {format.name}, and reading it needs the extra {format.extra}: "
            f"pip install 'bisim-theory[{format.extra}]'"
        ) from None
