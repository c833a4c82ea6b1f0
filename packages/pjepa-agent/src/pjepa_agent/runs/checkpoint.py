"""Write and read checkpoints of a run, and load its trained model."""

import contextlib
import dataclasses
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
from torch import nn

from pjepa_agent.config.fields import ConfigError
from pjepa_agent.config.schema import Config
from pjepa_agent.model import PJEPA
from pjepa_agent.networks.encoders import EncoderFactory, find_encoder
from pjepa_agent.runs.directory import RunDirectory, RunError

logger = logging.getLogger("pjepa_agent")

SCHEMA = 2
"""Version of the format. Version 1 had no digest and is still read."""

PREFIX = b"sha256:"
COMMENT = len(PREFIX) + 64
"""Length in bytes of the comment of a checkpoint's archive, which is its digest."""

DIRECTORY = 0x10
"""Attribute of an entry of a zip archive that is a directory."""

Which = Literal["last", "best"]
"""Checkpoint of a run: of its last saved update, or of the update with the highest accuracy."""


def save_checkpoint(path: Path, state: dict[str, Any], older: Sequence[Path] = ()) -> None:
    """Write a checkpoint with its digest atomically, and rotate the older ones.

    The file is the zip archive of `torch.save`, with the SHA-256 of all before it as its comment, which `unzip -z`
    shows. The CRC-32 of each entry would not do: it does not cover the directory of the archive, where one flipped bit
    makes PyTorch skip a tensor and return uninitialized memory. The digest is in the same file, not in one of its own,
    because no two files can be replaced atomically.

    Args:
        path: the file.
        state: tensors, numbers and state dictionaries.
        older: the files of earlier checkpoints, newest first.

    Raises:
        OSError: the file cannot be written; the earlier checkpoints are unchanged.
    """
    buffer = io.BytesIO()
    torch.save({"schema": SCHEMA, **state}, buffer)
    archive = buffer.getbuffer()[:-2]  # without the length of the comment, which is 0
    with atomic_write(path) as file:
        file.write(archive)
        file.write(_seal(archive))
        file.flush()
        os.fsync(file.fileno())  # raise on a full disk before an older checkpoint is replaced
        _rotate([path, *older])


def load_checkpoint(path: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Read and verify a checkpoint. Nothing in the file is executed.

    Raises:
        RunError: the file is missing, damaged or of another schema.
    """
    if not path.is_file():
        raise RunError(f"{path}: does not exist; the run has not saved a checkpoint yet")
    try:
        content = path.read_bytes()
        sealed = _check_digest(content)
        _check_archive(content, sealed)
        state: dict[str, Any] = torch.load(io.BytesIO(content), map_location=device, weights_only=True)
        schema = state["schema"]
    except Exception as error:  # a damaged file can raise almost anything
        reason = str(error) if isinstance(error, _DamagedError) else type(error).__name__
        raise RunError(f"{path}: is no checkpoint, or a damaged one ({reason})") from None
    if schema not in (1, SCHEMA):
        raise RunError(f"{path}: has checkpoint schema {schema}, this version reads {SCHEMA}")
    if schema == SCHEMA and not sealed:
        raise RunError(f"{path}: is no checkpoint, or a damaged one (its digest is missing)")
    return state


class _DamagedError(ValueError):
    """Signal that the content of a checkpoint is not what was written."""


def _seal(archive: memoryview) -> bytes:
    """Return the end of an archive: the length of its comment, and the comment, the SHA-256 of all before both."""
    return COMMENT.to_bytes(2, "little") + PREFIX + hashlib.sha256(archive).hexdigest().encode()


def _check_digest(content: bytes) -> bool:
    """Return whether the content ends with a digest, which is then checked.

    Raises:
        _DamagedError: the digest is of another content.
    """
    if not content[-COMMENT:].startswith(PREFIX):
        return False
    archive, seal = memoryview(content)[: -COMMENT - 2], content[-COMMENT - 2 :]
    if seal != _seal(archive):
        raise _DamagedError("its digest is of another content")
    return True


def _check_archive(content: bytes, sealed: bool) -> None:
    """Check that the archive holds plain, stored entries, and their CRC-32 unless a digest was `sealed` over them.

    An archive whose entries are compressed or overlap could expand to more than its size, which PyTorch never writes.

    Raises:
        _DamagedError, zipfile.BadZipFile: it does not.
    """
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        entries = archive.infolist()
        if any(entry.compress_type != zipfile.ZIP_STORED or entry.external_attr & DIRECTORY for entry in entries):
            raise _DamagedError("it holds what PyTorch does not write")
        if sum(entry.file_size for entry in entries) > len(content):
            raise _DamagedError("its parts overlap")
        if not sealed and archive.testzip() is not None:
            raise _DamagedError("its CRC-32 is of another content")


def _rotate(paths: Sequence[Path]) -> None:
    """Rotate checkpoints, newest first, by one place. The newest is linked, not moved, so that one always exists."""
    for newer, older in reversed(list(itertools.pairwise(paths[1:]))):
        if newer.exists():
            os.replace(newer, older)
    if len(paths) > 1 and paths[0].exists():
        temporary = paths[1].with_name(f".{paths[1].name}.{os.getpid()}.partial")
        try:
            os.link(paths[0], temporary)
        except OSError:  # a file system without hard links
            shutil.copy2(paths[0], temporary)
        os.replace(temporary, paths[1])


def newest_checkpoint(paths: list[Path], device: torch.device | str = "cpu") -> tuple[Path, dict[str, Any]]:
    """Read the newest undamaged checkpoint and return its path and its state.

    Newer ones that are damaged are renamed to ``NAME.damaged``, with a warning that names both files.

    Args:
        paths: the files of the checkpoints, newest first.
        device: the device to load tensors to.

    Raises:
        RunError: no checkpoint can be read; none is renamed.
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


def load(
    run: str | os.PathLike[str],
    device: torch.device | str = "cpu",
    at: Which = "last",
    encoder: nn.Module | EncoderFactory | str | None = None,
) -> PJEPA:
    """Load the trained model of a run directory, in evaluation mode.

    Examples:
        >>> model = load("runs/NAME")                 # doctest: +SKIP
        >>> z = model.encode(images)                  # doctest: +SKIP

    Args:
        run: a run directory.
        device: the device of the model.
        at: the checkpoint of the ``last`` saved update, or of the ``best`` one if the run has saved it.
        encoder: that of the run, where it was given as an object: a module, of which a copy gets the run's weights, or
            a function as `fit` takes it.

    Returns:
        The model; `model.encode` maps observations of the run's world to embeddings (B, latent_dim), as images
        (B, 64, 64, 3) uint8 of the counting world.

    Raises:
        RunError: the directory holds no run, its checkpoint is missing, damaged or of another configuration, or its
            encoder cannot be made.
    """
    directory, config = RunDirectory.open(run)
    name, make = (config.network.encoder, None) if encoder is None else find_encoder(encoder)
    config = dataclasses.replace(config, network=dataclasses.replace(config.network, encoder=name))
    path = directory.checkpoint if at == "last" else directory.best
    if at == "best" and not path.is_file():
        raise RunError(f"{path}: does not exist; this run keeps its last state alone")
    return _load_model(directory, config, path, device, make)[1]


def load_kept(run: str | os.PathLike[str]) -> Iterator[tuple[int, PJEPA]]:
    """Yield the update and the model of every checkpoint that a run keeps, in the order of the training.

    The first is the untrained model, of update 0. A run keeps as many checkpoints as ``evaluation.checkpoints`` says,
    one an evaluation.

    Raises:
        RunError: as `load` does.
    """
    directory, config = RunDirectory.open(run)
    kept = [path for path in directory.checkpoints(config.evaluation.checkpoints) if path.is_file()]
    states = (_load_model(directory, config, path) for path in reversed(kept or [directory.checkpoint]))
    update, model = next(states)
    untrained = PJEPA.untrained(config, directory.read_spec())
    untrained.copy_standardization(model)
    yield 0, untrained.eval()
    yield update, model
    yield from states


def _load_model(
    directory: RunDirectory,
    config: Config,
    path: Path,
    device: torch.device | str = "cpu",
    make: EncoderFactory | None = None,
) -> tuple[int, PJEPA]:
    """Load the update and the model of one checkpoint of a run."""
    state = load_checkpoint(path, device)
    try:
        model = PJEPA(config, directory.read_spec(), make).to(device)
    except ConfigError as error:
        raise RunError(f"{directory.path}: {error}") from None
    with checkpoint_errors(path):
        model.load_state_dict(state.get("averaged", state["model"]))
        update = int(state.get("update", 0))
    return update, model.eval()


@contextlib.contextmanager
def checkpoint_errors(path: Path) -> Iterator[None]:
    """Translate errors of a checkpoint of another configuration into a `RunError` that names the file."""
    try:
        yield
    except (RuntimeError, KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise RunError(f"{path}: does not fit the run's config.json ({type(error).__name__})") from None
