"""Formats of files with transitions and representations, all read without executing anything they hold.

To add a format, write a module with a `registry.Format` and put that into `FORMATS`.
"""

import os
from pathlib import Path

from bisim_theory.data.transitions import DatasetError, TransitionDataset
from bisim_theory.formats import d4rl, hdf5, lance, lerobot, minari, npz, ogbench, parquet, registry, robomimic, torchrl
from bisim_theory.formats.npz import read_representation, write_representation, write_transitions
from bisim_theory.formats.npz_arrays import StoredArray, StoredFrames
from bisim_theory.formats.parquet_files import LOOKED_FOR, describe_misplaced
from bisim_theory.formats.registry import Format

__all__ = [
    "FORMATS",
    "REPRESENTATION",
    "TRANSITIONS",
    "Format",
    "StoredArray",
    "StoredFrames",
    "read_representation",
    "read_transitions",
    "resolve",
    "write_representation",
    "write_transitions",
]

TRANSITIONS, REPRESENTATION = "transitions.npz", "representation.npz"
"""Names of the two files in a run directory."""

FORMATS = [
    lerobot.FORMAT,
    lance.FORMAT,
    torchrl.FORMAT,
    minari.FORMAT,
    parquet.FORMAT,
    d4rl.FORMAT,
    robomimic.FORMAT,
    hdf5.FORMAT,
    ogbench.FORMAT,
    npz.FORMAT,
]
"""Formats in the order of detection; the last accepts every regular file, and says what is wrong with it."""


def resolve(path: str | os.PathLike[str]) -> tuple[Path, Path | None]:
    """Find the transitions that `path` names, and the representation that belongs to them.

    A run directory names its ``transitions.npz``, the id of a Minari dataset its folder in the local store. The
    representation is a ``representation.npz`` in the folder, or next to the file.

    Returns:
        The path of the transitions; the path of the representation, or None where there is none.

    Raises:
        DatasetError: `path` does not exist, or is in no format of `FORMATS`.
    """
    given = Path(path)
    try:
        exists = given.exists()
    except (OSError, ValueError) as error:  # a name that is too long, or has a null character
        raise DatasetError(f"{given}: cannot be read ({error})") from None
    if not exists:
        local = registry.find(os.fspath(path), FORMATS)
        if local is None:
            raise DatasetError(f"{given}: does not exist{registry.looked_in(os.fspath(path), FORMATS)}")
        given = local
    if (given / TRANSITIONS).is_file():
        given = given / TRANSITIONS
    elif not given.is_dir() and not given.is_file():
        raise DatasetError(f"{given}: is no regular file; give a run directory or a dataset")
    elif given.is_file() and given.suffix.lower() == ".parquet":
        raise DatasetError(f"{given}: is one Parquet file; give its folder: {LOOKED_FOR}")
    elif registry.detect(given, FORMATS) is None:
        misplaced = describe_misplaced(given)
        if misplaced is not None:
            raise DatasetError(f"{given}: {misplaced}")
        known = ", ".join(each.name for each in FORMATS)
        raise DatasetError(
            f"{given}: holds no {TRANSITIONS}, and is none of {known} ({LOOKED_FOR}); give a run directory or a dataset"
        )
    representation = given / REPRESENTATION if given.is_dir() else given.with_name(REPRESENTATION)
    return given, representation if representation.is_file() else None


def read_transitions(
    path: str | os.PathLike[str], *, actions: str | None = None, observation: str | None = None
) -> TransitionDataset:
    """Read transitions. Observations stay in the file and are read when they are used.

    Args:
        path: ``transitions.npz`` or a run directory that holds it; a folder of Minari or the id of a dataset in its
            local store; a folder of TorchRL's ``LazyMemmapStorage``, of ``TensorDict.memmap`` or of
            ``ReplayBuffer.dumps``; a flat HDF5 file of stable-worldmodel; a folder of Parquet files.
        actions: how continuous actions become codes: ``"sign"`` or ``"bins:K"``; see
            `bisim_theory.formats.actions.encode_actions`. In ``.npz`` files it recomputes the codes from
            `action_value`.
        observation: key of the observation in a dataset that holds several, such as ``"pixels"``; the others become
            labels where they can. None takes the format's default.

    Returns:
        The transitions. Only ``.npz`` and Parquet files hold `auxiliary`; elsewhere it is None. Of the metadata,
        ``convention`` says how rows became transitions, ``left_out`` what was not read, ``labels_left_out`` which
        columns cannot be labels, and ``steps_without_successor`` how many steps lack the observation they led to.

    Raises:
        DatasetError: the file is missing, damaged or does not follow the schema, the extra to read it is not installed,
            or continuous actions lack `actions`; the message names file and field.
    """
    place, _ = resolve(path)
    format = registry.detect(place, FORMATS)
    assert format is not None  # `resolve` has checked
    return registry.read(place, format, actions, observation)
