"""T refitted on the frozen encoder of a run, and given action codes: a better T for planning, the same embeddings."""

import contextlib
import copy
import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from bisim_theory import TransitionDataset, read_representation
from bisim_theory.data.action_codes import ActionCodes
from bisim_theory.progress import ProgressCallback, progress_bar, silent
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn

from pjepa_agent.compute.precision import autocast
from pjepa_agent.compute.random import random_stream
from pjepa_agent.config.schema import Config
from pjepa_agent.evaluation.reconstruction import module_fingerprint
from pjepa_agent.model import PJEPA
from pjepa_agent.networks.dynamics import LatentDynamics
from pjepa_agent.runs.checkpoint import Which, checkpoint_errors, load_checkpoint, save_checkpoint
from pjepa_agent.runs.directory import RunDirectory, RunError

logger = logging.getLogger("pjepa_agent")

UPDATES, BATCH_SIZE, LEARNING_RATE = 1_500, 256, 8e-3
"""Settings of the fit: Adam, its learning rate annealed to zero along a cosine."""

NOISE = 0.5
"""Largest length of the noise on the embeddings that T is given, as a share of the embeddings' deviation.

T learns from it to lead back to embeddings of observations, which its own predictions are not."""

TRANSITIONS = 16_384
"""Transitions to fit on where the embeddings of all are not on disk."""


class FittedDynamics(LatentDynamics):
    """T that was fitted to the embeddings of a frozen encoder.

    Args:
        network: embeddings joined with actions (B, d + A) -> embeddings (B, d).
        low, high, codes: what the network is given for actions, see `GivenActions`.
    """

    def __init__(
        self,
        network: nn.Module,
        low: tuple[float, ...] | None,
        high: tuple[float, ...] | None,
        codes: ActionCodes | None = None,
    ) -> None:
        super().__init__(low, high, codes)
        self.network = network

    def transition(
        self, embedding: Float[Tensor, "batch latent"], action: Float[Tensor, "batch action"]
    ) -> Float[Tensor, "batch latent"]:
        """Apply T once, to actions in the units of the data."""
        given = self.given(action).to(embedding.dtype)
        predicted: Tensor = self.network(torch.cat([embedding, given], -1))
        return predicted


def fitted_dynamics(
    run: RunDirectory,
    config: Config,
    model: PJEPA,
    data: TransitionDataset,
    codes: ActionCodes | None,
    at: Which = "last",
) -> FittedDynamics:
    """Return T fitted to the embeddings of a run's frozen encoder, from ``checkpoints/dynamics.pt`` if it is there.

    Args:
        run: the run directory.
        config: of the run.
        model: of the run.
        data: its transitions, with observations.
        codes: how codes are made of actions, which T is then given; None gives it the values.
        at: the checkpoint that the model is from.

    Raises:
        RunError: the representation does not match the run.
    """
    path, encoder = run.dynamics(at), module_fingerprint(model.encoder)
    entry = None if codes is None else codes.entry
    bounds = model.spec.action_low, model.spec.action_high
    dynamics = FittedDynamics(copy.deepcopy(model.dynamics), *bounds, codes).to(model.device)
    with contextlib.suppress(RunError):  # a missing, damaged or outdated file is replaced
        state = load_checkpoint(path, model.device)
        same = state.get("encoder") == encoder and _codes_entry(state, model.spec.action_dim) == entry
        if same and state.get("settings") == _settings():
            with checkpoint_errors(path):
                dynamics.network.load_state_dict(state["dynamics"])
            return dynamics.eval()
    logger.info("fitting T to the embeddings of the frozen encoder of %s", run.path)
    source, successor, rows = _embedded(run, model, data, at)
    assert data.action_value is not None
    with progress_bar("fitting T") as progress:
        fit(dynamics, source, successor, data.action_value[rows], config, progress)
    try:
        kept = {"dynamics": dynamics.network.state_dict(), "encoder": encoder, "codes": entry, "settings": _settings()}
        save_checkpoint(path, kept)
    except OSError as error:
        logger.warning("%s: cannot be kept (%s)", path, error.strerror)
    return dynamics


def _settings() -> list[float]:
    """Return the settings of the fit as its file has them: one of others is fitted again."""
    return [UPDATES, BATCH_SIZE, LEARNING_RATE, NOISE]


def _codes_entry(state: Mapping[str, Any], dim: int) -> Any:
    """Return how codes were made of the actions (dim,) of a fit, as its file has it; earlier ones have ``signs``."""
    if "signs" in state:
        return ActionCodes(signs=dim).entry if state["signs"] else None
    return state.get("codes")


def fit(
    dynamics: FittedDynamics,
    source: NDArray[Any],
    successor: NDArray[Any],
    action: NDArray[Any],
    config: Config,
    progress: ProgressCallback = silent,
) -> None:
    """Fit T to embeddings (N, d) of sources and successors, and actions (N, A), by the squared error.

    Args:
        dynamics: fitted in place, and left in evaluation mode.
        source, successor: embeddings.
        action: in the units of the data.
        config: of the run, whose seed fixes batches and noise.
        progress: called with the number of updates done and their total.
    """
    device = next(dynamics.network.parameters()).device
    arrays = [torch.as_tensor(np.asarray(each, np.float32), device=device) for each in (source, successor, action)]
    deviation = float((arrays[1] - arrays[1].mean(0)).square().sum(1).mean().sqrt())
    optimizer = torch.optim.Adam(dynamics.network.parameters(), LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, UPDATES)
    dynamics.train()
    with random_stream(config.seed, "fitted dynamics", device=device):
        for update in range(UPDATES):
            rows = torch.randint(len(source), (BATCH_SIZE,), device=device)
            embedding, reached, taken = (each[rows] for each in arrays)
            length = NOISE * deviation * torch.rand(BATCH_SIZE, 1, device=device) / embedding.shape[1] ** 0.5
            noisy = embedding + length * torch.randn_like(embedding)
            with autocast(device.type, config.optimization.autocast):
                predicted = dynamics.transition(noisy, taken)
            loss = (predicted.float() - reached).square().sum(1).mean() / max(deviation, 1e-12) ** 2
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            progress(update + 1, UPDATES)
    dynamics.eval()


def _embedded(
    run: RunDirectory, model: PJEPA, data: TransitionDataset, at: Which
) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.int64]]:
    """Return embeddings of sources and of successors, and the numbers of their rows."""
    if at == "last" and run.representation.is_file():
        embedding = read_representation(run.representation).embedding
        if embedding.shape != (data.frames, model.latent_dim):
            raise RunError(f"{run.representation}: embedding: is {embedding.shape}, which does not fit the run")
        return embedding[data.source], embedding[data.successor], np.arange(len(data))
    rows = np.arange(min(len(data), TRANSITIONS))
    used, place = np.unique(np.concatenate([data.source[rows], data.successor[rows]]), return_inverse=True)
    frames: Any = data.observation
    embedding = model.encode(np.asarray(frames[used])).numpy()
    if not np.isfinite(embedding).all():
        raise RunError(f"{run.path}: its encoder's embeddings are not finite")
    return embedding[place[: len(rows)]], embedding[place[len(rows) :]], rows
