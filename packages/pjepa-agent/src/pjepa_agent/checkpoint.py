"""A training state on disk, and the trained model back from a run."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import torch
from bisim_theory.files import atomic_write

from pjepa_agent.model import PJEPA
from pjepa_agent.run_directory import RunDirectory, RunError

SCHEMA = 1

At = Literal["last", "best"]
"""Which state of a run: at its last saved update, or at the one of the highest accuracy."""


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write tensors, numbers and state dictionaries, whole or not at all."""
    with atomic_write(path) as file:
        torch.save({"schema": SCHEMA, **state}, file)


def load_checkpoint(path: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Read what `save_checkpoint` wrote; nothing in the file is executed.

    Raises:
        RunError: the file is missing, damaged or of another schema.
    """
    if not path.is_file():
        raise RunError(f"{path}: does not exist; the run has not saved a checkpoint yet")
    try:
        state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
        schema = state["schema"]
    except Exception as error:  # a damaged file can raise almost anything
        raise RunError(f"{path}: is no checkpoint, or a damaged one ({type(error).__name__})") from None
    if schema != SCHEMA:
        raise RunError(f"{path}: has checkpoint schema {schema}, this version reads {SCHEMA}")
    return state


def load(run: str | os.PathLike[str], device: torch.device | str = "cpu", at: At = "last") -> PJEPA:
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
    with fits(path):
        model.load_state_dict(state.get("averaged", state["model"]))
    return model.eval()


@contextlib.contextmanager
def fits(path: Path) -> Iterator[None]:
    """Turn whatever a checkpoint that belongs to another configuration raises into a `RunError` that names it."""
    try:
        yield
    except (RuntimeError, KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise RunError(f"{path}: does not fit the run's config.json ({type(error).__name__})") from None
