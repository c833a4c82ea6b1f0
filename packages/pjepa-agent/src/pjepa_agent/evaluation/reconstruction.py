"""Reconstruct observations from embeddings, with a run's decoder or one fitted on its frozen encoder."""

import contextlib
import hashlib
import logging
import math
import os
from typing import Any, NamedTuple

import numpy as np
import torch
from bisim_theory import read_representation, read_transitions
from bisim_theory.progress import ProgressCallback, progress_bar, silent
from numpy.typing import NDArray
from torch import nn

from pjepa_agent.compute.precision import autocast
from pjepa_agent.compute.random import random_stream
from pjepa_agent.config.schema import Config
from pjepa_agent.evaluation.held_out import HeldOut
from pjepa_agent.model import PJEPA
from pjepa_agent.networks.decoder import Decoder, VectorDecoder, make_decoder
from pjepa_agent.objectives.readouts import decoder_loss
from pjepa_agent.runs.checkpoint import Which, checkpoint_errors, load, load_checkpoint, save_checkpoint
from pjepa_agent.runs.directory import RunDirectory, RunError

logger = logging.getLogger("pjepa_agent")

UPDATES, BATCH_SIZE, LEARNING_RATE = 1_000, 128, 1e-3
"""Settings of the fit of a decoder: Adam, its learning rate annealed to zero along a cosine."""

FRAMES = 16_384
"""Observations to fit a decoder on where their embeddings are not on disk."""


class Reconstruction(NamedTuple):
    """Hold held-out observations and their reconstructions.

    Attributes:
        error: the mean squared error on images in [-1, 1], over equally many observations of every count.
        explained: the share of the pixels' variance explained, 1 minus the squared error over that of the mean image.
        images: (m, 64, 64, 3) uint8, the observations.
        decoded: (m, 64, 64, 3) floats in [-1, 1].
    """

    error: float
    explained: float
    images: NDArray[np.uint8]
    decoded: NDArray[np.float32]


def fit_decoder(
    embedding: NDArray[Any],
    observations: NDArray[Any],
    config: Config,
    updates: int = UPDATES,
    progress: ProgressCallback = silent,
) -> Decoder | VectorDecoder:
    """Fit a decoder (paper Appendix D, for images) to embeddings of a frozen encoder.

    Args:
        embedding: (F, latent_dim) embeddings of the observations, which are not standardised.
        observations: (F, H, W, C) uint8 images or (F, k) vectors.
        config: the configuration of the run, whose seed fixes initial weights and batches.
        updates: the number of steps, of `BATCH_SIZE` observations each.
        progress: called with the number of updates done and their total.

    Returns:
        The decoder, in evaluation mode.
    """
    with random_stream(config.seed, "fitted decoder"):
        decoder = make_decoder(config, tuple(observations.shape[1:]))
        if isinstance(decoder, Decoder):
            _initialize_at_mean(decoder, observations)
        else:
            decoder.standardization.fit(torch.from_numpy(observations[:FRAMES]))
        optimizer = torch.optim.Adam(decoder.parameters(), LEARNING_RATE)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, updates)
        for update in range(updates):
            rows = torch.randint(len(embedding), (BATCH_SIZE,)).numpy()
            batch = torch.from_numpy(observations[rows]), torch.from_numpy(embedding[rows]).float()
            with autocast("cpu", config.optimization.autocast):
                loss = decoder_loss(decoder, *batch)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            progress(update + 1, updates)
    return decoder.eval()


def _initialize_at_mean(decoder: Decoder, images: NDArray[np.uint8]) -> None:
    """Set the last bias to the mean colour: nearly all pixels are black, on the way to which a tanh saturates."""
    last = decoder.layers[-2]
    assert isinstance(last, nn.ConvTranspose2d)
    assert last.bias is not None
    mean = images[:FRAMES].mean((0, 1, 2)) / 127.5 - 1
    with torch.no_grad():
        last.bias.copy_(torch.from_numpy(np.arctanh(np.clip(mean, -0.999, 0.999))))


def run_decoder(run: RunDirectory, config: Config, model: PJEPA, at: Which = "last") -> Decoder | VectorDecoder:
    """Return the decoder of a run's model: its own, else one that is fitted to it and saved in the run directory.

    Args:
        run: the run directory, with the transitions of the training.
        config: the configuration of the run.
        model: the model of the run.
        at: the checkpoint that the model is from.

    Raises:
        RunError: the transitions or the representation do not match the run.
        DatasetError, OSError: they cannot be read.
    """
    if model.decoder is not None:
        return model.decoder.eval()
    path, encoder = run.decoder(at), module_fingerprint(model.encoder)
    with contextlib.suppress(RunError):  # a missing, damaged or outdated file is replaced
        state = load_checkpoint(path)
        if state.get("encoder") == encoder:
            decoder = make_decoder(config, model.spec.observation_shape)
            with checkpoint_errors(path):
                decoder.load_state_dict(state["decoder"])
            return decoder.eval()
    logger.info("fitting a decoder on the frozen encoder of %s", run.path)
    embedding, observations = _known_embeddings(run, model, at)
    with progress_bar("fitting a decoder") as progress:
        decoder = fit_decoder(embedding, observations, config, progress=progress)
    try:
        save_checkpoint(path, {"decoder": decoder.state_dict(), "encoder": encoder})
    except OSError as error:
        logger.warning("%s: cannot be kept (%s)", path, error.strerror)
    return decoder


def reconstruction(run: str | os.PathLike[str], at: Which = "last") -> Reconstruction:
    """Reconstruct held-out observations with the decoder of a run.

    Args:
        run: a finished run directory; see `run_decoder` for the decoder.
        at: the checkpoint to load.

    Raises:
        RunError, DatasetError, OSError: a file of the run is missing or invalid.
    """
    directory, config = RunDirectory.open(run)
    model = load(run, at=at)
    directory.require_counting(config)
    return reconstruct(run_decoder(directory, config, model, at), HeldOut(config), model)


@torch.no_grad()
def reconstruct(decoder: Decoder | VectorDecoder, held_out: HeldOut, model: PJEPA) -> Reconstruction:
    """Reconstruct the scored held-out observations with a loaded decoder and model."""
    embedding = torch.from_numpy(held_out.embed(model)[0])
    decoded = torch.cat([decoder(rows) for rows in embedding.split(BATCH_SIZE)]).numpy()
    images = held_out.images[held_out.scored]
    truth = images.astype(np.float32) / 127.5 - 1
    error = float(np.square(decoded - truth).mean())
    variance = float(np.square(truth - truth.mean(0)).mean())
    return Reconstruction(error, 1 - error / variance if variance else math.nan, images, decoded)


def _known_embeddings(run: RunDirectory, model: PJEPA, at: Which) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return embeddings of the run's own observations, read from disk if they are of this model, and these."""
    data = read_transitions(run.transitions)
    if data.observation is None:
        raise RunError(f"{run.transitions}: observation: is missing, and a decoder needs it")
    if at == "last" and run.representation.is_file():
        embedding = read_representation(run.representation).embedding
        if embedding.shape != (data.frames, model.latent_dim):
            raise RunError(f"{run.representation}: embedding: is {embedding.shape}, which does not fit the run")
        return embedding, np.asarray(data.observation[: data.frames])
    observations = np.asarray(data.observation[: min(data.frames, FRAMES)])
    embedding = model.encode(observations).numpy()
    if not np.isfinite(embedding).all():
        raise RunError(f"{run.path}: its encoder's embeddings are not finite")
    return embedding, observations


def module_fingerprint(module: nn.Module) -> str:
    """Return the SHA-256 of a module's parameters and buffers."""
    digest = hashlib.sha256()
    for value in module.state_dict().values():
        digest.update(value.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
