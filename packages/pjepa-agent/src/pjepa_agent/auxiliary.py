"""The auxiliary functions p (paper Sections 2.3 and 3): reward, random map, Q, a label, or a function of your own."""

import importlib
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bisim_theory.data.transitions import Frames, TransitionDataset, chunks
from counting_env import rules
from counting_env.arguments import Arguments
from numpy.typing import NDArray

from pjepa_agent.compute.processes import SINGLE_PROCESS, Processes
from pjepa_agent.config.fields import ConfigError
from pjepa_agent.config.schema import RANDOM_AUXILIARIES, CollectionConfig, Config
from pjepa_agent.networks.encoder import ResNetEncoder

Labels = Mapping[str, NDArray[Any]]

Function = Callable[[Frames, Labels], NDArray[Any]]
"""p: images (F, H, W, C) uint8 and labels (F,) or (F, k) by name -> (F,) or (F, k) finite numbers."""

LARGEST_SINGLE = 22_000.0
"""Largest magnitude that a two-hot head can say: its bins end at a symlog of 10."""

KNOWN = 256
"""Observations from whose standardised values the standardisation is found again."""


class Auxiliary:
    """The auxiliary function of a configuration, whose values are checked.

    A random map is standardised, with the mean and the deviation of the observations it is first applied to: its scale
    is arbitrary, and a loss weight then means the same for every map. All else keeps its units.

    Args:
        config: `objective.auxiliary` names the function, as `make_function` knows it.
        processes: the processes that have this function in common, and rank 0's standardisation.

    Raises:
        ConfigError: there is no such function.
    """

    def __init__(self, config: Config, processes: Processes = SINGLE_PROCESS) -> None:
        self.name = config.objective.auxiliary
        self._processes = processes
        self._function = make_function(config)
        self._shift: Any = None
        self._scale: Any = None

    def __call__(self, frames: Frames, labels: Labels) -> NDArray[Any]:
        """Images (F, H, W, C) and their labels -> (F,) or (F, k) numbers.

        Raises:
            ConfigError: the function fails, or returns something of a wrong shape, type or size.
        """
        try:
            values = np.asarray(self._function(frames, labels))
        except ConfigError:
            raise
        except Exception as error:  # a function of the user's can raise anything
            raise ConfigError(f"auxiliary {self.name}: raised {type(error).__name__}: {error}") from error
        if values.dtype.kind not in "fiub" or values.ndim not in (1, 2) or 0 in values.shape:
            raise ConfigError(
                f"auxiliary {self.name}: must return (F,) or (F, k) numbers, returned {values.shape} {values.dtype}"
            )
        if len(values) != frames.shape[0]:
            raise ConfigError(f"auxiliary {self.name}: returned {len(values)} rows for {frames.shape[0]} observations")
        if self.name in RANDOM_AUXILIARIES:
            values = self._standardize(values)
        return self._checked(values)

    def adopt(self, data: TransitionDataset) -> None:
        """Take over the mean and the deviation with which the values in a dataset were standardised, if they were.

        Args:
            data: transitions with images, whose `auxiliary` this function made before; the first few are enough, since
                standardised values are a linear function of those that are not.
        """
        if self.name not in RANDOM_AUXILIARIES:
            return
        assert data.observation is not None
        rows = data.source < KNOWN
        raw = np.asarray(self._function(data.observation[:KNOWN], {}), np.float64)[data.source[rows]]
        standard = data.p[rows].astype(np.float64)
        deviation = standard - standard.mean(0)
        variance = np.square(deviation).mean(0)
        slope = (deviation * raw).mean(0) / np.where(variance > 0, variance, 1)
        self._scale = np.where(variance > 0, slope, 1)
        self._shift = raw.mean(0) - self._scale * standard.mean(0)

    def _standardize(self, values: NDArray[Any]) -> NDArray[np.float32]:
        if self._shift is None:
            spread = values.std(0)
            mine = np.stack([values.mean(0), np.where(spread > 0, spread, 1)])
            self._shift, self._scale = self._processes.broadcast(torch.from_numpy(mine)).numpy()
        return ((values - self._shift) / self._scale).astype(np.float32)

    def _checked(self, values: NDArray[Any]) -> NDArray[Any]:
        # What is learnt is float32, in which a large number may be infinite.
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


def make_function(config: Config) -> Function:
    """The function that `objective.auxiliary` names.

    ``reward``: r(o) of the observation itself. ``random``: a fixed random linear map of its pixels (Section 2.3).
    ``random-network``: a fixed random network (Figure 1). ``q``: see `action_values`. ``module:function``: your own,
    imported from the Python path or the current folder and called as a `Function`; a function of each observation
    alone and always the same, since it may be called on all of them or on a few, and again by a resumed run. Anything
    else: the label of that name.

    Raises:
        ConfigError: the import fails, or there is nothing callable at that name.
    """
    name, dim, seed = config.objective.auxiliary, config.objective.auxiliary_dim, config.seed
    if name == "reward":
        arguments = Arguments(target=config.collection.target)
        return lambda frames, labels: rules.reward_of(labels["count"], arguments)
    if name == "q":
        values = action_values(config.collection, config.objective.discount).mean(1)
        return lambda frames, labels: values[labels["count"]]
    if name == "random":
        return lambda frames, labels: project(frames, dim, seed)
    if name == "random-network":
        return lambda frames, labels: apply_random_network(frames, dim, seed)
    if ":" in name:
        return _imported(name)
    return lambda frames, labels: _label(name, labels)


def _label(name: str, labels: Labels) -> NDArray[Any]:
    if name not in labels:
        raise ConfigError(
            f"auxiliary {name!r}: must be reward, q, {', '.join(RANDOM_AUXILIARIES)}, module:function or a label, "
            f"one of {', '.join(sorted(labels))}"
        )
    return labels[name]


def _imported(name: str) -> Function:
    module, _, attribute = name.partition(":")
    here = str(Path.cwd())
    sys.path.insert(0, here)  # a command, unlike `python`, does not look into the current folder
    try:
        function = importlib.import_module(module)
        for part in attribute.split("."):
            function = getattr(function, part)
    except Exception as error:  # a module of the user's can raise anything
        raise ConfigError(f"auxiliary {name}: cannot be imported ({type(error).__name__}: {error})") from error
    finally:
        if here in sys.path:
            sys.path.remove(here)
    if not callable(function):
        raise ConfigError(f"auxiliary {name}: is a {type(function).__name__}, must be a function")
    return function


def action_values(collection: CollectionConfig, discount: float) -> NDArray[np.float64]:
    """Q(o, a) of the policy that acts uniformly at random, by the number of objects in o.

    It solves Q(o, a) = r(o') + discount (1 - terminated) mean_a' Q(o', a') exactly, on the rules of the world: what TD
    with a slow target converges to, without its noise. A return in the data would be no function of the observation,
    since it depends on the action that happens to be held and on how many steps are left before the cut-off, which
    for Q is no end. The auxiliary function ``q`` is the mean over the actions, a number per observation as p has to be.

    Args:
        collection: the rewarded count.
        discount: of the next step, below 1.

    Returns:
        (most objects + 1, 2): a row a count, a column an action code.
    """
    arguments = Arguments(target=collection.target)
    most = arguments.max_count
    count, code = np.indices((most + 1, 2))
    successor = rules.next_count(count, code, most)
    goes_on = discount * ~rules.is_last(count, successor, arguments.target, arguments.grace)
    # V = mean_a (r + goes_on V[successor]) is a linear system in V, the mean of Q over the actions.
    reward = np.asarray(rules.reward_of(successor, arguments))
    follow = np.zeros((most + 1, most + 1))
    np.add.at(follow, (count, successor), goes_on / 2)
    value = np.linalg.solve(np.eye(most + 1) - follow, reward.mean(1))
    values: NDArray[np.float64] = reward + goes_on * value[successor]
    return values


def project(frames: Frames, dim: int, seed: int) -> NDArray[np.float32]:
    """A fixed random linear map of every image to `dim` numbers (Section 2.3).

    Args:
        frames: (F, H, W, C) uint8.
        dim: how many numbers.
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
    """A network with random weights, the encoder of the laptop's size, on every image (paper Figure 1).

    Args:
        frames: (F, 64, 64, 3) uint8.
        dim: how many numbers.
        seed: fixes the weights.

    Returns:
        (F, dim) float32.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = ResNetEncoder(dim, width=16, blocks=1, normalization="none", initialization="pytorch")
    # A small piece at a time: the activations of thousands of images would not fit into a laptop's memory.
    pieces = [network(torch.from_numpy(piece)) for piece in chunks(frames, 256)]
    values: NDArray[np.float32] = torch.cat(pieces).numpy()
    return values
