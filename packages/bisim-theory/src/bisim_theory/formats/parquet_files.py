"""Files of a folder of Parquet files: the parts of its tables, and those that would be left unread."""

import os
from collections.abc import Iterator
from pathlib import Path

from bisim_theory.data.transitions import DatasetError

TRANSITIONS, OBSERVATIONS = "transitions", "observations"
"""Names of the folders with the parts of the two tables."""

LOOKED_FOR = f"*.parquet is looked for in the folder itself and in its folder {TRANSITIONS}"


def part_files(folder: Path) -> list[Path]:
    """List the part files in a folder, in the order of their names; hidden ones are none.

    Raises:
        DatasetError: the folder cannot be read.
    """
    try:
        return sorted(
            each
            for each in folder.iterdir()
            if each.suffix == ".parquet" and not each.name.startswith(".") and not each.is_dir()
        )
    except OSError as error:
        raise DatasetError(f"{folder}: cannot be read ({error.strerror})") from None


def transitions_folder(path: Path) -> Path:
    """Return the folder with the parts of the transitions: `TRANSITIONS`, or the dataset's folder itself."""
    return path / TRANSITIONS if (path / TRANSITIONS).is_dir() else path


def refuse_unread(path: Path) -> None:
    """Raise if a Parquet file of a folder would not be read, as half of the data would be missing without a word.

    Raises:
        DatasetError: there is one; the message names it and what to do.
    """
    folders = [transitions_folder(path), path / OBSERVATIONS]
    read = {each for folder in folders if folder.is_dir() for each in part_files(folder)}
    found = next((each for each in _parquet_files(path) if each not in read), None)
    if found is not None:
        place = folders[1] if found.is_relative_to(folders[1]) else folders[0]
        raise DatasetError(
            f"{found}: would be left out, as part files are {place}/*.parquet alone; {_instead(found, place)}, or move "
            f"it out of {path}"
        )


def describe_misplaced(path: Path) -> str | None:
    """Say where a folder without part files has Parquet files, and what to do; None where it has none."""
    found = next(_parquet_files(path), None)
    if found is None:
        return None
    return f"holds {found.relative_to(path)}, but {LOOKED_FOR}; {_instead(found, transitions_folder(path))}"


def _instead(found: Path, place: Path) -> str:
    if found.parent == place:
        return f"rename it to {found.stem}.parquet"
    return f"move it into {place}"


def _parquet_files(path: Path) -> Iterator[Path]:
    """Yield the Parquet files under a folder, in any case of letters, but those of other datasets and hidden ones."""
    seen = set()
    for place, folders, files in os.walk(path, followlinks=True):
        here, real = Path(place), os.path.realpath(place)
        if real in seen or (here != path and {TRANSITIONS, OBSERVATIONS} & set(folders)):
            folders.clear()  # a loop of links, or a dataset or the embeddings of a model in a folder of their own
            continue
        seen.add(real)
        folders[:] = sorted(each for each in folders if not each.startswith((".", "_")))
        for name in sorted(files):
            if name.lower().endswith(".parquet") and not name.startswith("."):
                yield here / name
