"""The ``.npz`` files of this package: transitions and representations."""

import json
import os
import sys
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from bisim_theory.data.action_codes import ENTRY
from bisim_theory.data.left_out import labels_left_out
from bisim_theory.data.representation import OPTIONAL, Representation
from bisim_theory.data.transitions import DatasetError, TransitionDataset, usable_label
from bisim_theory.files import atomic_write
from bisim_theory.formats.actions import encode_values
from bisim_theory.formats.limits import check_expansion, parse_json, shown, stored_bytes
from bisim_theory.formats.npz_arrays import StoredArray, StoredFrames, array_names
from bisim_theory.formats.registry import Format
from bisim_theory.formats.representation import FOLDERS, read_folder

_REQUIRED = ("source", "action", "successor")
_OPTIONAL = (
    "auxiliary",
    "observation_auxiliary",
    "observation_auxiliary_known",
    "action_value",
    "reward",
    "terminated",
    "truncated",
    "episode",
)
_INTEGERS = (*_REQUIRED, "episode")
NO_LABEL = "cannot be labels, which are finite numbers, one or a few for each observation"
"""Why a column is no label."""

_REPRESENTATION = ("embedding", "predicted_embedding", "predicted_auxiliary")


def _open_arrays(path: Path, names: list[str], required: tuple[str, ...]) -> dict[str, StoredArray]:
    """Read the headers of some arrays, and check that their sizes are plausible."""
    for name in required:
        if name not in names:
            raise DatasetError(f"{path}: {name}: is missing; the file must have {', '.join(required)}")
    arrays = {name: (StoredFrames if name == "observation" else StoredArray)(path, name) for name in names}
    frames = arrays["observation"].nbytes if "observation" in arrays else 0
    columns = sum(array.nbytes for array in arrays.values()) - frames
    check_expansion(str(path), columns, frames, stored_bytes(path))
    return arrays


def read_npz(file: Path, actions: str | None = None) -> TransitionDataset:
    """Read ``transitions.npz``; see `bisim_theory.read_transitions`."""
    arrays = _open_arrays(file, array_names(file), _REQUIRED)
    columns = {
        name: array.read_integers() if name in _INTEGERS else array.read()
        for name, array in arrays.items()
        if name not in ("observation", "metadata")
    }
    fields: dict[str, Any] = {name: columns.pop(name) for name in (*_REQUIRED, *_OPTIONAL) if name in columns}
    if "observation" in arrays:
        fields["observation"] = arrays["observation"]
    fields["metadata"] = _read_metadata(file, arrays["metadata"]) if "metadata" in arrays else {}
    unusable = [name for name, column in columns.items() if not usable_label(column)]
    if unusable:
        columns = {name: column for name, column in columns.items() if name not in unusable}
        fields["metadata"] = {**fields["metadata"], **labels_left_out(dict.fromkeys(unusable, NO_LABEL))}
    try:
        if actions is not None:
            _recompute_codes(fields, actions)
        return TransitionDataset(labels=columns, **fields)
    except DatasetError as error:
        raise DatasetError(f"{file}: {error}") from None


def _recompute_codes(fields: dict[str, Any], actions: str) -> None:
    values = fields.get("action_value")
    if values is None or values.ndim != 2 or values.dtype.kind != "f" or 0 in values.shape:
        raise DatasetError(f"action: --actions {actions} needs action_value (N, A), continuous actions; leave it out")
    fields["action"], meaning = encode_values(values, actions)
    fields["metadata"] = {**fields["metadata"], "action_abstraction": actions, ENTRY: meaning}


def _read_metadata(file: Path, array: StoredArray) -> Mapping[str, Any]:
    if array.dtype.kind != "U" or array.shape != ():
        raise DatasetError(f"{file}: metadata: must be one string, is {array.shape} {shown(str(array.dtype))}")
    value = array.read()
    points = np.frombuffer(value.tobytes(), np.dtype(np.uint32).newbyteorder(value.dtype.byteorder))
    if points.max(initial=0) > sys.maxunicode:  # NumPy would make a string of it that crashes other code
        raise DatasetError(f"{file}: metadata: holds code points beyond Unicode; write it as JSON text")
    return parse_json(f"{file}: metadata", str(value[()]))


def write_transitions(path: str | os.PathLike[str], data: TransitionDataset) -> None:
    """Write transitions atomically as a compressed ``.npz`` file."""
    arrays: dict[str, Any] = {name: getattr(data, name) for name in (*_REQUIRED, *_OPTIONAL)}
    arrays = {name: value for name, value in arrays.items() if value is not None}
    arrays |= {name: arrays[name].astype(np.int64, copy=False) for name in _INTEGERS if name in arrays}
    arrays |= data.labels
    if data.observation is not None:
        arrays["observation"] = data.observation[: data.frames]
    if data.metadata:
        arrays["metadata"] = np.array(json.dumps(data.metadata))
    with atomic_write(path) as file:
        _write_compressed(file, arrays)


def _write_compressed(file: IO[bytes], arrays: Mapping[str, Any]) -> None:
    """Write arrays as `numpy.savez_compressed` does, but at zlib's first level: frames take 0.4 of its time."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, value in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, np.asanyarray(value))


def read_representation(path: str | os.PathLike[str]) -> Representation:
    """Read ``representation.npz``, or a folder of Parquet files; see `bisim_theory.formats.representation`.

    Raises:
        DatasetError: the file is missing, damaged or does not follow the schema; the message names file and field.
    """
    file = Path(path)
    if not file.exists():
        raise DatasetError(f"{file}: does not exist")
    if any((file / place).is_dir() for place in FOLDERS):
        return read_folder(file)
    if not file.is_file():
        raise DatasetError(f"{file}: is no regular file; give a file such as representation.npz")
    names = [name for name in array_names(file) if name in (*_REPRESENTATION, *OPTIONAL)]
    arrays = _open_arrays(file, names, _REPRESENTATION)
    fields: dict[str, Any] = {name: array.read() for name, array in arrays.items()}
    for name in fields.keys() & {"lipschitz_dynamics", "lipschitz_auxiliary"}:
        if fields[name].shape != () or fields[name].dtype.kind not in "iuf":
            raise DatasetError(f"{file}: {name}: must be one number, is {fields[name].shape} {fields[name].dtype}")
        fields[name] = float(fields[name])
    try:
        return Representation(**fields)
    except DatasetError as error:
        text = str(error)
        raise DatasetError(text if text.startswith(str(file)) else f"{file}: {text}") from None


def write_representation(
    path: str | os.PathLike[str],
    data: TransitionDataset,
    *,
    encode: Callable[[NDArray[Any]], Any],
    predict: Callable[[NDArray[Any], NDArray[Any]], Any],
    auxiliary: Callable[[NDArray[Any]], Any],
) -> Representation:
    """Apply a model to a dataset and write ``representation.npz`` atomically.

    Args:
        path: the file to write.
        data: transitions with observations.
        encode: E, observations (B, ...) as in the dataset, such as images (B, H, W, C) uint8 -> embeddings (B, d).
        predict: T, embeddings (B, d) and actions (B, A), the `action_value` or else the codes as (B, 1) -> (B, d).
            With action values it is also evaluated at one canonical action for each code, the mean of its values.
        auxiliary: P, embeddings (B, d) -> values (B,) or (B, k) in the units of p.

    Raises:
        DatasetError: the dataset has no observations, or a callable returned values of a wrong shape or not finite.
    """
    representation = Representation.of(data, encode, predict, auxiliary)
    with atomic_write(path) as file:
        arrays = {name: getattr(representation, name) for name in (*_REPRESENTATION, *OPTIONAL)}
        np.savez(file, **{name: value for name, value in arrays.items() if value is not None})
    return representation


FORMAT = Format("a file in the schema of transitions.npz", Path.is_file, read_npz)
