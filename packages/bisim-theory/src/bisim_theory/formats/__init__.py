"""Files in which transitions and representations are kept, read without executing anything they hold."""

import os
from pathlib import Path

from bisim_theory.data.transitions import DatasetError, TransitionDataset
from bisim_theory.formats.hdf5 import read_hdf5
from bisim_theory.formats.hdf5_arrays import SIGNATURE
from bisim_theory.formats.minari import find_local, is_minari, read_minari
from bisim_theory.formats.npz import (
    StoredArray,
    StoredFrames,
    read_npz,
    read_representation,
    write_representation,
    write_transitions,
)
from bisim_theory.formats.torchrl import find_storage, read_torchrl

__all__ = [
    "REPRESENTATION",
    "TRANSITIONS",
    "StoredArray",
    "StoredFrames",
    "read_representation",
    "read_transitions",
    "resolve",
    "write_representation",
    "write_transitions",
]

TRANSITIONS, REPRESENTATION = "transitions.npz", "representation.npz"
"""Names of the two files inside a run directory."""


def resolve(path: str | os.PathLike[str]) -> tuple[Path, Path | None]:
    """The transitions that `path` stands for, and the representation beside them where there is one.

    A run directory stands for its ``transitions.npz``, the id of a Minari dataset for its folder in the local store.
    The representation of a folder is looked for in it, that of a file beside it.

    Raises:
        DatasetError: `path` is nothing that can be read.
    """
    given = Path(path)
    try:
        exists = given.exists()
    except (OSError, ValueError) as error:  # a name that is too long, or has a null character
        raise DatasetError(f"{given}: cannot be read ({error})") from None
    if not exists:
        local = find_local(os.fspath(path))
        if local is None:
            raise DatasetError(f"{given}: does not exist")
        given = local
    if (given / TRANSITIONS).is_file():
        given = given / TRANSITIONS
    elif given.is_dir() and not is_minari(given) and find_storage(given) is None:
        raise DatasetError(
            f"{given}: holds no {TRANSITIONS}, and is no folder of Minari or TorchRL; give a run directory or a dataset"
        )
    elif not given.is_dir() and not given.is_file():
        raise DatasetError(f"{given}: is no regular file; give a run directory or a dataset")
    representation = given / REPRESENTATION if given.is_dir() else given.with_name(REPRESENTATION)
    return given, representation if representation.is_file() else None


def read_transitions(path: str | os.PathLike[str], *, actions: str | None = None) -> TransitionDataset:
    """Read transitions. Observations stay in the file and are read when asked for.

    Args:
        path: ``transitions.npz`` or a run directory that holds it; a folder of Minari or the id of a dataset in its
            local store; a folder of TorchRL's ``LazyMemmapStorage``, of ``TensorDict.memmap`` or of
            ``ReplayBuffer.dumps``; a flat HDF5 file of stable-worldmodel.
        actions: how continuous actions become codes: ``"sign"`` or ``"bins:K"``; see
            `bisim_theory.formats.actions.encode_actions`. In ``.npz`` files codes are made from `action_value` anew.

    Returns:
        The transitions. Only ``.npz`` files hold `auxiliary`; elsewhere it is None. In files of others, columns that
        cannot be labels are left out and named in ``metadata["labels_left_out"]``.

    Raises:
        DatasetError: the file is missing, damaged or does not follow the schema, a package to read it is missing, or
            continuous actions lack `actions`; the message names file and field.
    """
    place, _ = resolve(path)
    if place.is_dir():
        storage = find_storage(place)
        return read_minari(place, actions) if storage is None else read_torchrl(place, storage, actions)
    with open(place, "rb") as file:
        hdf5 = file.read(len(SIGNATURE)) == SIGNATURE or place.suffix in (".h5", ".hdf5")
    return read_hdf5(place, actions) if hdf5 else read_npz(place, actions)
