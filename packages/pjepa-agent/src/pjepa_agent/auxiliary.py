"""The auxiliary functions p (paper Sections 2.3 and 3): reward, random map, Q, a label, or a function of the user's."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from bisim_theory import NoWellTrainedModelError
from bisim_theory.data.arrays import in_memory, to_numpy
from bisim_theory.data.auxiliary import Values, stored_values, with_auxiliary
from bisim_theory.data.auxiliary_functions import BINS, auxiliary_bins, auxiliary_values, returned_values, round_values
from bisim_theory.data.auxiliary_names import NAMES, Term, parse_auxiliary
from bisim_theory.data.bins import Bins
from bisim_theory.data.imported import describe_error
from bisim_theory.data.transitions import DatasetError, Frames, TransitionDataset, chunks
from numpy.typing import NDArray
from torch import nn

from pjepa_agent.compute.processes import SINGLE_PROCESS, Processes
from pjepa_agent.config.fields import ConfigError
from pjepa_agent.config.imports import import_function
from pjepa_agent.config.schema import RANDOM_AUXILIARIES, Config
from pjepa_agent.envs.base import Function, Labels
from pjepa_agent.envs.registry import make_domain
from pjepa_agent.envs.terminals import without_absorbing
from pjepa_agent.networks.encoder import ResNetEncoder
from pjepa_agent.networks.vector_encoder import VectorEncoder

Floats = NDArray[np.floating[Any]]

LARGEST_SINGLE = 22_000.0
"""Largest magnitude that a two-hot head can represent: its bins end at a symlog of 10."""

RANDOM_WIDTH = 512
"""Width of the hidden layers of a random network of vectors."""

FITTED_FRAMES = 256
"""Frames of a run of version 0.1 from which the scale of a random map is computed."""


class Auxiliary:
    """Apply the auxiliary function of a configuration and check its values.

    A random map has an arbitrary scale. It is standardised with mean and deviation of the observations that it is first
    applied to, so that a loss weight means the same for every map. Other functions keep their units.

    Args:
        config: `objective.auxiliary` names the function, see `make_function`.
        processes: the processes that train together; all standardise with rank 0's mean and deviation, and have its
            bins.
        bins: those of the training's transitions by the names of terms; None takes those of the transitions that p is
            first attached to.

    Raises:
        ConfigError: there is no such function.
    """

    def __init__(
        self, config: Config, processes: Processes = SINGLE_PROCESS, bins: Mapping[str, Bins] | None = None
    ) -> None:
        self.name, self._bins = config.objective.auxiliary, bins
        self._processes, self._counting = processes, config.counting
        self._of_successors = config.objective.auxiliary_of_successors
        from_data = not config.counting and self.name not in RANDOM_AUXILIARIES
        self._function = self._of_transitions if from_data else make_function(config)
        self._mean: Floats | None = None
        self._deviation: Floats | None = None

    @classmethod
    def as_trained(cls, config: Config, bins: Mapping[str, Bins], data: TransitionDataset) -> "Auxiliary":
        """Return p with the bins, or the standardisation, of a training's transitions.

        Raises:
            ConfigError: the standardisation in the metadata cannot be used.
        """
        auxiliary = cls(config, bins=bins)
        auxiliary.restore(data)
        return auxiliary

    def __call__(self, frames: Frames, labels: Labels) -> NDArray[Any]:
        """Compute p of images (F, H, W, C) with labels: (F,) or (F, k) numbers.

        Raises:
            ConfigError: the function fails, or returns a wrong shape or type, or numbers that are too large.
        """
        try:
            returned = self._function(frames, labels)
        except ConfigError:
            raise
        except (Exception, SystemExit) as error:  # a function of the user's can raise anything
            raise ConfigError(f"auxiliary {self.name}: raised {describe_error(error)}") from error
        try:
            values = returned_values(self.name, returned, frames.shape[0])
        except DatasetError as error:
            raise ConfigError(str(error)) from None
        if self.name in RANDOM_AUXILIARIES:
            values = self._standardize(values)
        return self._checked(values)

    def attach(self, data: TransitionDataset) -> TransitionDataset:
        """Set p in transitions: of their sources in the counting world, elsewhere of every observation of known p.

        Args:
            data: transitions with observations. What is no function of one observation alone, such as the reward, is
                read off the transitions.

        Raises:
            ConfigError: p fails, has two values of one observation, or cannot be learnt.
            DatasetError: the data offers no such function, or it is known of no observation.
        """
        assert data.observation is not None
        if self._counting:
            return dataclasses.replace(data, auxiliary=self(data.observation, data.labels)[data.source])
        if self.name in RANDOM_AUXILIARIES:
            values = Values(self(data.observation, data.labels), np.ones(data.frames, bool))
        else:
            try:
                stated = without_absorbing(data)
                if self._bins is None:
                    self._bins = self._shared(auxiliary_bins(stated, self.name))
                # What speaks of all actions is known of an observation that is seen more than once.
                ids = stated.content_ids() if "reward:actions" in self.name and not stated.lossy else None
                values = auxiliary_values(stated, self.name, ids, self._bins)
            except NoWellTrainedModelError as error:
                raise ConfigError(f"auxiliary {self.name}: {error}; nothing can be learnt of it") from None
            self._checked(values.value)
        return with_auxiliary(data, values)

    def attach_trained(self, data: TransitionDataset) -> TransitionDataset:
        """Set p of every observation in the counting world, where L_p is of successors too; else change nothing.

        Args:
            data: transitions with observations and p, from `attach`.

        Raises:
            ConfigError: p fails.
        """
        if not (self._counting and self._of_successors):
            return data
        assert data.observation is not None
        values = self(data.observation, data.labels)
        return with_auxiliary(data, Values(values, np.ones(data.frames, bool)))

    def _of_transitions(self, frames: Frames, labels: Labels) -> NDArray[Any]:
        raise ConfigError(f"auxiliary {self.name}: is read off transitions here, and is no function of observations")

    def _shared(self, bins: Mapping[str, Bins]) -> dict[str, Bins]:
        """Return the bins of rank 0."""
        ends = {name: torch.tensor([each.low, each.high], dtype=torch.float64) for name, each in bins.items()}
        shared = {name: self._processes.broadcast(each).tolist() for name, each in ends.items()}
        return {name: Bins(bins[name].count, tuple(low), tuple(high)) for name, (low, high) in shared.items()}

    @property
    def metadata(self) -> dict[str, Any]:
        """Describe the function for ``transitions.npz``: its name, its bins, and how a random one is standardised."""
        if self._bins:
            return {"auxiliary": self.name, BINS: {name: each.entry for name, each in self._bins.items()}}
        if self._mean is None or self._deviation is None:
            return {"auxiliary": self.name}
        return {
            "auxiliary": self.name,
            "auxiliary_mean": self._mean.tolist(),
            "auxiliary_deviation": self._deviation.tolist(),
        }

    def restore(self, data: TransitionDataset) -> None:
        """Take mean and deviation of a random map from a dataset whose p this function computed.

        Args:
            data: transitions with images, and with `metadata` unless a run of version 0.1 wrote them.

        Raises:
            ConfigError: the mean or the deviation in the metadata cannot be used.
        """
        if self.name not in RANDOM_AUXILIARIES:
            return
        if "auxiliary_mean" not in data.metadata:
            self._mean, self._deviation = fit_scale_of_0_1(self._function, data)
            return
        self._mean, self._deviation = (self._stored(data, name) for name in ("auxiliary_mean", "auxiliary_deviation"))

    def _stored(self, data: TransitionDataset, name: str) -> NDArray[np.float32]:
        wanted = data.p.shape[1:]
        try:
            value = np.asarray(data.metadata.get(name), np.float32)
        except (TypeError, ValueError, OverflowError):
            value = np.full(wanted, np.nan, np.float32)
        smallest = np.finfo(np.float32).tiny if name == "auxiliary_deviation" else -np.inf
        if value.shape != wanted or not (np.isfinite(value) & (value >= smallest)).all():
            raise ConfigError(
                f"auxiliary {self.name}: {name} in the metadata of the transitions: must be {wanted} finite numbers, "
                "a deviation above zero; restore the file, or begin a new run"
            )
        return value

    def _standardize(self, values: NDArray[Any]) -> NDArray[np.float32]:
        if self._mean is None or self._deviation is None:
            spread = values.std(0)
            mine = np.stack([values.mean(0), np.where(spread > 0, spread, 1)])
            self._mean, self._deviation = self._processes.broadcast(torch.from_numpy(mine)).numpy()
        return ((values - self._mean) / self._deviation).astype(np.float32)

    def _checked(self, values: NDArray[Any]) -> NDArray[Any]:
        # Heads learn float32, in which a large number may be infinite.
        with np.errstate(over="ignore"):
            bad = ~np.isfinite(values.astype(np.float32))
        if bad.any():
            raise ConfigError(f"auxiliary {self.name}: is not finite for observation {np.argwhere(bad)[0][0]}")
        if values.ndim == 1 and abs(values).max() > LARGEST_SINGLE:
            raise ConfigError(
                f"auxiliary {self.name}: reaches {abs(values).max():g}, and a single number is learnt up to "
                f"{LARGEST_SINGLE:g}; scale it, or return it as (F, 1)"
            )
        return values


def fit_scale_of_0_1(function: Function, data: TransitionDataset) -> tuple[Floats, Floats]:
    """Compute mean and deviation of a random map from a run of version 0.1, which stored only standardised values.

    Standardised values are a linear function of the others, so a regression on a few finds it.

    Args:
        function: the map before it is standardised.
        data: transitions with images and the standardised p of their sources.

    Returns:
        Mean and deviation (k,).
    """
    assert data.observation is not None
    rows = data.source < FITTED_FRAMES
    raw = np.asarray(function(data.observation[:FITTED_FRAMES], {}), np.float64)[data.source[rows]]
    standard = data.p[rows].astype(np.float64)
    difference = standard - standard.mean(0)
    variance = np.square(difference).mean(0)
    slope = (difference * raw).mean(0) / np.where(variance > 0, variance, 1)
    deviation = np.where(variance > 0, slope, 1)
    return raw.mean(0) - deviation * standard.mean(0), deviation


def same_values(first: TransitionDataset, second: TransitionDataset) -> bool:
    """Return true if p of two datasets of the same observations has one shape, and one value wherever both know it."""
    one, other = stored_values(first), stored_values(second)
    known = one.known & other.known
    return one.value.shape == other.value.shape and np.allclose(one.value[known], other.value[known], 1e-4, 1e-6)


def make_function(config: Config) -> Function:
    """Make the function that `objective.auxiliary` names.

    - ``reward`` and ``q``: of the counting world, see `CountingDomain.function`.
    - ``random``: a fixed random linear map of the pixels (Section 2.3).
    - ``random-network``: a fixed random network (Figure 1).
    - ``module:function``: a `Function` imported from the Python path or the current folder. It must be a function of
      each observation alone and deterministic, since it is called on all of them or on a few, and again on resuming.
    - the name of a label: that label, whatever characters it has.
    - ``NAME:round:STEP`` and ``a+b``: as in `bisim_theory.auxiliary_values`.

    The function raises `ConfigError` where it is applied and there is none of that name.
    """
    name, dim, seed = config.objective.auxiliary, config.objective.auxiliary_dim, config.seed
    if name == "random":
        return lambda frames, labels: project(frames, dim, seed)
    if name == "random-network":
        return lambda frames, labels: apply_random_network(frames, dim, seed)
    domain = make_domain(config.collection)
    known = functools.cache(lambda base: domain.function(base, config.objective))
    return lambda frames, labels: _evaluate(name, known, frames, labels)


def _evaluate(name: str, known: Callable[[str], Function | None], frames: Frames, labels: Labels) -> Any:
    """Apply the functions of a name; `known` returns those that the world has."""
    try:
        terms = parse_auxiliary(name, labels)
        parts = [_apply_term(term, known, frames, labels) for term in terms]
    except DatasetError as error:
        raise ConfigError(str(error)) from None
    if len(parts) == 1:
        return parts[0]
    return np.concatenate([part.reshape(len(part), -1) for part in map(to_numpy, parts)], 1)


def _apply_term(term: Term, known: Callable[[str], Function | None], frames: Frames, labels: Labels) -> Any:
    if term.bins is not None:
        raise ConfigError(
            f"auxiliary {term.name}: bins are of the range of all data, and a training applies p to some at a time; "
            f"use {term.base}:round:STEP"
        )
    function = None if term.base in labels else known(term.base)
    if function is None and term.imported and term.base not in labels and term.base not in NAMES:
        function, frames = import_function(term.base, "auxiliary"), in_memory(frames)
        labels = {name: value.copy() for name, value in labels.items()}  # whatever it does to them
    values = _label(term.base, labels) if function is None else function(frames, labels)
    return values if term.step is None else round_values(term.name, to_numpy(values), term.step)


def _label(name: str, labels: Labels) -> NDArray[Any]:
    if name not in labels:
        raise ConfigError(
            f"auxiliary {name!r}: must be reward, q, {', '.join(RANDOM_AUXILIARIES)}, module:function or a label, "
            f"one of {', '.join(sorted(labels))}"
        )
    return labels[name]


def project(frames: Frames, dim: int, seed: int) -> NDArray[np.float32]:
    """Map every image to `dim` numbers by a fixed random linear map (Section 2.3).

    Args:
        frames: (F, H, W, C) uint8.
        dim: number of values.
        seed: fixes the map.

    Returns:
        (F, dim) float32.
    """
    pixels = int(np.prod(frames.shape[1:]))
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(pixels, dim, generator=generator) / pixels**0.5
    pieces = [torch.from_numpy(piece.reshape(len(piece), -1)).float() / 255 @ weight for piece in chunks(frames)]
    values: NDArray[np.float32] = torch.cat(pieces).numpy()
    return values


@torch.no_grad()
def apply_random_network(frames: Frames, dim: int, seed: int) -> NDArray[np.float32]:
    """Apply a network with random weights, an encoder of the laptop preset's size, to every observation (Figure 1).

    Args:
        frames: (F, H, W, C) uint8, or (F, k) vectors.
        dim: number of values.
        seed: fixes the weights.

    Returns:
        (F, dim) float32.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network: nn.Module = (
            ResNetEncoder(dim, 16, 1, "none", "pytorch", image_channels=int(frames.shape[-1]))
            if len(frames.shape) == 4
            else VectorEncoder(int(frames.shape[1]), dim, RANDOM_WIDTH)
        )
    # Few images at a time: the activations of thousands would not fit into a laptop's memory.
    pieces = [network(torch.from_numpy(piece)) for piece in chunks(frames, 256)]
    values: NDArray[np.float32] = torch.cat(pieces).numpy()
    return values
