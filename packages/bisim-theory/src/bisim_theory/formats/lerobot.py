"""LeRobot datasets of version 3, read from their Parquet files; no video is decoded.

Row t of an episode holds the observation, the action taken from it, and under ``next`` the reward and the ends of the
step out of it. Files hold many episodes each; where they begin and end is in ``meta/episodes``.
"""

import os
import re
from pathlib import Path
from typing import Any

import numpy as np

from bisim_theory.data.transitions import DatasetError, Ids, TransitionDataset
from bisim_theory.formats.arrow import ParquetColumn, ParquetFile
from bisim_theory.formats.columns import Column, held, one_column, pieces
from bisim_theory.formats.frames import FlatFrames
from bisim_theory.formats.limits import (
    byte_count,
    check_expansion,
    inside,
    read_json,
    shown,
    stored_bytes,
    usable_name,
    whole_number,
)
from bisim_theory.formats.registry import Format
from bisim_theory.formats.rows import Rows

CONVENTION = (
    "a row is a frame, the action taken from it, and under next the reward of the step out of it; the next row of the "
    "episode is its successor"
)

INFO, EPISODES = "meta/info.json", "meta/episodes"
_DATA_PATH = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
_ACTION, _REWARD = "action", "next.reward"
_INDEX = ("episode_index", "frame_index", "index")
_MAP = (
    "episode_index",
    "length",
    "dataset_from_index",
    "dataset_to_index",
    "data/chunk_index",
    "data/file_index",
)
_DTYPES = {"bool", "float16", "float32", "float64"} | {f"{sign}int{n}" for sign in ("", "u") for n in (8, 16, 32, 64)}
_REPAIR = "convert the dataset again, or repair its metadata"


_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*", re.ASCII)


def find_local(name: str) -> Path | None:
    """Return the folder of a dataset id such as ``lerobot/pusht`` in the local store, or None."""
    if _ID.fullmatch(name) is None:
        return None
    folder = _store() / name
    return folder if is_lerobot(folder) else None


def _store() -> Path:
    cache = os.environ.get("HF_HOME", os.path.expanduser(os.path.join("~", ".cache", "huggingface")))
    return Path(os.environ.get("HF_LEROBOT_HOME", os.path.join(cache, "lerobot")))


def looked_in(name: str) -> str | None:
    """Say where `find_local` looks for a dataset id; None where the name is none."""
    return None if _ID.fullmatch(name) is None else f"LeRobot's store {_store()} (HF_LEROBOT_HOME names another)"


def is_lerobot(path: Path) -> bool:
    """Return whether a path is a folder with LeRobot's description of a dataset."""
    return (path / INFO).is_file()


def read_lerobot(folder: Path, actions: str | None = None, observation: str | None = None) -> TransitionDataset:
    """Read a LeRobot dataset; see `bisim_theory.read_transitions`.

    The observation is all columns ``observation`` and ``observation.*`` that hold numbers, side by side, or the one
    that `observation` names. Further columns of numbers become labels.

    Raises:
        DatasetError: the dataset is damaged, of another version, or its episodes do not fit its rows.
        ImportError: pyarrow is not installed.
    """
    return open_lerobot(folder, observation, hold=True).to_transitions(actions)


def open_lerobot(folder: Path, observation: str | None = None, *, hold: bool = False) -> Rows:
    """Open a LeRobot dataset, of which all columns are read at once if `hold`.

    Raises:
        DatasetError, ImportError: as for `read_lerobot`.
    """
    info = read_json(inside(folder, *INFO.split("/")))
    features = _features(folder, info)
    lengths, files = _episodes(folder, whole_number(f"{folder / INFO}: total_episodes", info.get("total_episodes")))
    stored = {name: kind for name, kind in features.items() if kind not in ("video", "image")}
    numeric = [name for name, kind in stored.items() if kind in _DTYPES]
    for name in (_ACTION, *_INDEX):
        if name not in numeric:
            raise DatasetError(f"{folder / INFO}: features: {name}: is missing, or holds no numbers")
    keys = _observation_keys(folder, numeric, observation)
    total = info.get("total_frames", sum(lengths.tolist()))
    if total != sum(lengths.tolist()):
        raise DatasetError(
            f"{folder / INFO}: total_frames: is {shown(total)}, and the episodes have {lengths.sum()}; {_REPAIR}"
        )
    columns, undeclared = _columns(folder, files, numeric, features, hold)
    _check_rows(folder, lengths, columns)
    reward = columns.pop(_REWARD, None)
    if reward is not None and len(reward.shape) != 1:
        raise DatasetError(f"{folder}: {_REWARD}: must be one number a row, is {reward.shape}")
    unread = [name for name in features if name not in numeric or (name.startswith("next.") and name != _REWARD)]
    return Rows(
        what=str(folder),
        format="LeRobot",
        convention=CONVENTION,
        offsets=np.cumsum(lengths) - lengths,
        lengths=lengths,
        action=columns[_ACTION],
        rewards_lead_out=True,
        observation=_side_by_side([columns[key] for key in keys]),
        reward=reward,
        columns={
            name: column
            for name, column in columns.items()
            if name not in (_ACTION, "episode_index", "index", *keys) and not name.startswith("next.")
        },
        left_out=_left_out(features, unread, undeclared, keys),
    )


def _features(folder: Path, info: dict[str, Any]) -> dict[str, str]:
    """Check the version, and return name -> type of the columns and videos."""
    place, version = folder / INFO, info.get("codebase_version")
    if not isinstance(version, str) or re.match(r"v3\.", version) is None:
        older = isinstance(version, str) and re.match(r"v[12]\.", version)
        advice = (
            "convert it with lerobot: python -m lerobot.scripts.convert_dataset_v21_to_v30 --repo-id=ID"
            if older
            else "versions v3.x are read"
        )
        raise DatasetError(f"{place}: codebase_version: is {shown(version)}; {advice}")
    storage, pattern = info.get("storage_format", "parquet"), info.get("data_path", _DATA_PATH)
    if storage != "parquet" or pattern != _DATA_PATH:
        raise DatasetError(f"{place}: keeps its rows as {shown(storage)} in {shown(pattern)}; {_DATA_PATH} is read")
    features = info.get("features")
    if not isinstance(features, dict) or not all(isinstance(each, dict) for each in features.values()):
        raise DatasetError(f"{place}: features: must be an object of objects")
    return {name: str(each.get("dtype")) for name, each in features.items()}


def _episodes(folder: Path, count: int) -> tuple[Ids, list[tuple[Path, int]]]:
    """Read the map of the episodes.

    Returns:
        (E,) number of rows of each; each data file in order, with its number of rows.
    """
    parts = [ParquetFile(inside(folder, *place.relative_to(folder).parts)) for place in _map_files(folder)]
    check_expansion(str(folder / EPISODES), sum(part.nbytes(list(_MAP)) for part in parts), 0, _stored(parts))
    tables = [part.read(list(_MAP)) for part in parts]
    table = {name: np.concatenate([each[name] for each in tables]) for name in _MAP}
    for name, column in table.items():
        if column.ndim != 1 or column.dtype.kind not in "iu" or (len(column) and column.min() < 0):
            raise DatasetError(f"{folder / EPISODES}: {name}: must be whole numbers, is {column.dtype}")
    order = np.argsort(table["episode_index"], kind="stable")
    number, lengths, start, stop, chunk, file = (table[name][order].astype(np.int64) for name in _MAP)
    if len(number) != count or (number != np.arange(len(number))).any():
        raise DatasetError(
            f"{folder / EPISODES}: lists {len(number)} episodes that are not 0 to {count - 1}, each once; {_REPAIR}"
        )
    if len(number) == 0:
        raise DatasetError(f"{folder}: has no episodes")
    wrong = (stop - start != lengths) | (start != np.append(0, stop[:-1]))
    if wrong.any():
        episode = int(np.argmax(wrong))
        raise DatasetError(
            f"{folder / EPISODES}: episode {episode} of length {lengths[episode]} is said to be rows {start[episode]} "
            f"to {stop[episode]}, which does not fit it or the one before; {_REPAIR}"
        )
    return lengths, _data_files(folder, lengths, chunk, file)


def _map_files(folder: Path) -> list[Path]:
    try:
        found = sorted((folder / EPISODES).glob("chunk-*/file-*.parquet"))
    except OSError as error:
        raise DatasetError(f"{folder / EPISODES}: cannot be read ({error.strerror})") from None
    if not found:
        raise DatasetError(f"{folder / EPISODES}: holds no chunk-000/file-000.parquet")
    return found


def _data_files(folder: Path, lengths: Ids, chunk: Ids, file: Ids) -> list[tuple[Path, int]]:
    """Return the data files that the episodes are in, which follow one another, with their numbers of rows."""
    new = np.append(True, (np.diff(chunk) != 0) | (np.diff(file) != 0))
    starts = np.flatnonzero(new)
    names = [_DATA_PATH.format(chunk_index=int(chunk[row]), file_index=int(file[row])) for row in starts]
    if len(set(names)) < len(names):
        raise DatasetError(f"{folder / EPISODES}: the episodes of one data file do not follow one another; {_REPAIR}")
    rows = np.add.reduceat(lengths, starts)
    return [(inside(folder, *name.split("/")), int(n)) for name, n in zip(names, rows, strict=True)]


def _columns(
    folder: Path, files: list[tuple[Path, int]], names: list[str], features: dict[str, str], hold: bool
) -> tuple[dict[str, Column], list[str]]:
    """Open columns of all files; return also the names of those that the files hold and `features` does not."""
    parts = []
    for path, rows in files:
        part = ParquetFile(path)
        if part.rows != rows:
            raise DatasetError(f"{path}: has {part.rows} rows, and its episodes have {rows}; {_REPAIR}")
        parts.append(part)
    check_expansion(str(folder), sum(part.nbytes(names) for part in parts), 0, _stored(parts))
    columns = {name: one_column(held(ParquetColumn(str(folder), parts, name), hold)) for name in names}
    undeclared = dict.fromkeys(name for part in parts for name in part.names)
    return columns, [name for name in undeclared if name not in features and usable_name(name)]


def _stored(parts: list[ParquetFile]) -> int:
    return stored_bytes(*(part.path for part in parts))


def _check_rows(folder: Path, lengths: Ids, columns: dict[str, Column]) -> None:
    """Refuse rows that are not those of the episodes they are said to be in."""
    ends = np.cumsum(lengths)
    for name in _INDEX:
        column = columns[name]
        if column.shape != (int(ends[-1]),):
            raise DatasetError(f"{folder}: {name}: is {column.shape}, and there are {ends[-1]} rows; {_REPAIR}")
        for start, piece in pieces(column):
            row = np.arange(start, start + len(piece))
            episode = np.searchsorted(ends, row, "right")
            first = (ends - lengths)[episode]
            expected = {"episode_index": episode, "index": row, "frame_index": row - first}[name]
            wrong = np.flatnonzero(piece != expected)
            if len(wrong):
                at = int(wrong[0])
                raise DatasetError(
                    f"{folder}: {name}: row {start + at} holds {shown(piece[at].item())}, and by {EPISODES} it must be "
                    f"{int(expected[at])}; {_REPAIR}"
                )


def _observation_keys(folder: Path, numeric: list[str], chosen: str | None) -> list[str]:
    keys = [name for name in numeric if name == "observation" or name.startswith("observation.")]
    if chosen is None:
        return keys
    named = [name for name in (chosen, f"observation.{chosen}") if name in numeric]
    if not named:
        raise DatasetError(f"{folder}: --observation {chosen}: is missing, or holds no numbers; it has {shown(keys)}")
    return named[:1]


def _side_by_side(columns: list[Column]) -> Column | None:
    if len(columns) < 2:
        return columns[0] if columns else None
    if not all(isinstance(column, np.ndarray) for column in columns):
        return FlatFrames(columns)
    return np.concatenate([column[:].reshape(column.shape[0], -1) for column in columns], 1)


def _left_out(features: dict[str, str], unread: list[str], undeclared: list[str], keys: list[str]) -> list[str]:
    sentences = []
    cameras = [name for name in unread if features[name] in ("video", "image")]
    if cameras:
        rest = f"observations are compared by {', '.join(keys)} alone" if keys else "observations cannot be compared"
        sentences.append(f"{', '.join(cameras)}: is no number and is not decoded, so {rest}")
    steps = [name for name in unread if name.startswith("next.")]
    if steps:
        sentences.append(
            f"{', '.join(steps)}: does not say whether an episode was terminated or truncated, and belongs to no frame"
        )
    others = [name for name in unread if name not in (*cameras, *steps)]
    if others:
        sentences.append(f"{', '.join(others)}: holds no numbers")
    if undeclared:
        sentences.append(f"{', '.join(undeclared)}: is no feature of {INFO}")
    return sentences


def size_lerobot(folder: Path) -> tuple[int, int]:
    """Return the number of rows of a dataset, and the bytes of one.

    Raises:
        DatasetError: the dataset is damaged.
    """
    info = read_json(inside(folder, *INFO.split("/")))
    features = info.get("features")
    numbers = 0
    for each in features.values() if isinstance(features, dict) else ():
        shape = each.get("shape") if isinstance(each, dict) and each.get("dtype") in _DTYPES else None
        numbers += byte_count(tuple(shape), 1) if isinstance(shape, list) and all(type(n) is int for n in shape) else 0
    return whole_number(f"{folder / INFO}: total_frames", info.get("total_frames")), 8 * numbers


FORMAT = Format(
    "a LeRobot dataset",
    is_lerobot,
    read_lerobot,
    extra="lerobot",
    find=find_local,
    chooses=True,
    open=open_lerobot,
    size=size_lerobot,
    looked_in=looked_in,
)
