"""A training state on disk, and the trained model back from a run."""

import contextlib
import hashlib
import io
import itertools
import logging
import os
import shutil
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from bisim_theory.files import atomic_write

from pjepa_agent.model import PJEPA
from pjepa_agent.runs.directory import RunDirectory, RunError

logger = logging.getLogger("pjepa_agent")

SCHEMA = 2
"""1, without a checksum, is still read."""

ALGORITHM = b"sha256:"
CHECKSUM = len(ALGORITHM) + 64
"""Bytes of the checksum behind a checkpoint, which is the comment of the zip archive that PyTorch writes."""

Which = Literal["last", "best"]
"""Which state of a run: at its last saved update, or at the one of the highest accuracy."""


def save_checkpoint(path: Path, state: dict[str, Any], older: Sequence[Path] = ()) -> None:
    """Write tensors, numbers and state dictionaries with a checksum, whole or not at all.

    Args:
        path: the file.
        state: what it shall hold.
        older: where the states that it held before are kept, newest first; each moves on by one place.
    """
    buffer = io.BytesIO()
    torch.save({"schema": SCHEMA, **state}, buffer)
    archive = buffer.getbuffer()[:-2]  # the last two bytes are the length of the comment, of which there is none yet
    with atomic_write(path) as file:
        file.write(archive)
        file.write(CHECKSUM.to_bytes(2, "little"))
        file.write(ALGORITHM + hashlib.sha256(archive).hexdigest().encode())
        file.flush()
        os.fsync(file.fileno())  # a full disk shows here, before any of the older ones has gone
        _rotate([path, *older])


def load_checkpoint(path: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Read what `save_checkpoint` wrote; nothing in the file is executed.

    Raises:
        RunError: the file is missing, damaged or of another schema.
    """
    if not path.is_file():
        raise RunError(f"{path}: does not exist; the run has not saved a checkpoint yet")
    try:
        content = path.read_bytes()
        checked = _has_checksum(content)
        _check_plain(content)
        state: dict[str, Any] = torch.load(io.BytesIO(content), map_location=device, weights_only=True)
        schema = state["schema"]
    except Exception as error:  # a damaged file can raise almost anything
        raise RunError(f"{path}: is no checkpoint, or a damaged one ({type(error).__name__})") from None
    if schema not in (1, SCHEMA):
        raise RunError(f"{path}: has checkpoint schema {schema}, this version reads {SCHEMA}")
    if schema == SCHEMA and not checked:
        raise RunError(f"{path}: is no checkpoint, or a damaged one (its checksum is gone)")
    return state


class _DamagedError(ValueError):
    """The content is not what was written."""


def _has_checksum(content: bytes) -> bool:
    """Whether there is a checksum behind the archive; raises where it is that of another content."""
    if not content[-CHECKSUM:].startswith(ALGORITHM):
        return False
    archive = memoryview(content)[: -CHECKSUM - 2]
    if hashlib.sha256(archive).hexdigest().encode() != content[-CHECKSUM + len(ALGORITHM) :]:
        raise _DamagedError
    return True


def _check_plain(content: bytes) -> None:
    """Refuse an archive that would become larger than its file: PyTorch stores everything as it is."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        entries = archive.infolist()
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise _DamagedError
    if sum(entry.file_size for entry in entries) > len(content):
        raise _DamagedError


def _rotate(paths: Sequence[Path]) -> None:
    """Each file, newest first, takes the place of the next; the newest stays where it is too, so that there is one at
    every moment.
    """
    for newer, older in reversed(list(itertools.pairwise(paths[1:]))):
        if newer.exists():
            os.replace(newer, older)
    if len(paths) > 1 and paths[0].exists():
        beside = paths[1].with_name(f".{paths[1].name}.{os.getpid()}.partial")
        try:
            os.link(paths[0], beside)
        except OSError:  # a file system without hard links
            shutil.copy2(paths[0], beside)
        os.replace(beside, paths[1])


def newest_checkpoint(paths: list[Path], device: torch.device | str = "cpu") -> tuple[Path, dict[str, Any]]:
    """The first of some checkpoints, newest first, that can be read, and what is in it.

    Damaged ones before it are set aside as ``NAME.damaged``, with a warning that names both.

    Raises:
        RunError: none can be read.
    """
    refused: dict[Path, RunError] = {}
    for path in paths:
        if not path.is_file():
            continue
        try:
            state = load_checkpoint(path, device)
        except RunError as error:
            refused[path] = error
            continue
        for damaged, reason in refused.items():
            aside = damaged.with_name(damaged.name + ".damaged")
            os.replace(damaged, aside)
            logger.warning("%s; it is now %s, and %s is used", reason, aside.name, path.name)
        return path, state
    raise next(iter(refused.values()), RunError(f"{paths[0]}: does not exist; the run has not saved a checkpoint yet"))


def load(run: str | os.PathLike[str], device: torch.device | str = "cpu", at: Which = "last") -> PJEPA:
    """The trained model of a run directory, in evaluation mode.

    >>> model = load("runs/NAME")                 # doctest: +SKIP
    >>> z = model.encode(images)                  # doctest: +SKIP

    Args:
        run: a run directory.
        device: where to put the model.
        at: the state at the ``last`` saved update, or the ``best`` one where the run keeps that.

    Returns:
        The model; `model.encode` maps images (B, 64, 64, 3) uint8 to embeddings (B, latent_dim).

    Raises:
        RunError: the directory holds no run, or no whole checkpoint.
    """
    directory, config = RunDirectory.open(run)
    path = directory.checkpoint if at == "last" else directory.best
    if at == "best" and not path.is_file():
        raise RunError(f"{path}: does not exist; this run keeps its last state alone")
    state = load_checkpoint(path, device)
    model = PJEPA(config).to(device)
    with checkpoint_errors(path):
        model.load_state_dict(state.get("averaged", state["model"]))
    return model.eval()


@contextlib.contextmanager
def checkpoint_errors(path: Path) -> Iterator[None]:
    """Turn whatever a checkpoint that belongs to another configuration raises into a `RunError` that names it."""
    try:
        yield
    except (RuntimeError, KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise RunError(f"{path}: does not fit the run's config.json ({type(error).__name__})") from None
