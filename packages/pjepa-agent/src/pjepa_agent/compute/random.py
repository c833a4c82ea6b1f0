"""Random streams by purpose, so that none depends on what others have drawn."""

import contextlib
import random
from collections.abc import Iterator

import numpy as np
import torch


@contextlib.contextmanager
def random_stream(seed: int, *purpose: int | str, device: torch.device | None = None) -> Iterator[None]:
    """Seed PyTorch within a context by the run's seed and a purpose; restore the global random state afterwards.

    The state of a stream is never saved: a resumed run derives the same stream from the same purpose.

    Args:
        seed: of the run.
        purpose: names and numbers that identify the stream, such as an update.
        device: seeded besides the CPU.
    """
    with torch.random.fork_rng(devices=[] if device is None or device.type == "cpu" else [device]):
        torch.manual_seed(stream_seed(seed, *purpose))
        yield


def stream_seed(seed: int, *purpose: int | str) -> int:
    """Return the seed of the stream of a purpose, of 64 bits; see `random_stream`."""
    words = [int.from_bytes(each.encode(), "little") if isinstance(each, str) else each for each in purpose]
    return int(np.random.SeedSequence([seed, *words]).generate_state(1, np.uint64)[0])


@contextlib.contextmanager
def drawing_from(generator: torch.Generator) -> Iterator[None]:
    """Draw the random numbers of a CUDA device from another generator than its own, also while a graph is captured."""
    own = torch.cuda.default_generators[generator.device.index]
    state = own.graphsafe_get_state()
    own.graphsafe_set_state(generator.graphsafe_get_state())
    try:
        yield
    finally:
        own.graphsafe_set_state(state)


class UpdateStreams:
    """The random streams of an update: one a purpose, seeded by it and the update.

    A captured graph cannot seed, so there the numbers of a purpose come from a generator of its own. Seeded by `reseed`
    before a replay, it draws what the stream draws outside of a graph.

    Args:
        seed: of the run on this rank.
        device: that draws.
    """

    def __init__(self, seed: int, device: torch.device) -> None:
        self.update = 0
        """Updates that are done."""
        self.generators: dict[str, torch.Generator] = {}
        """By the purposes that have drawn."""
        self.host_drew = False
        """True if the CPU has drawn numbers for another device."""
        self._seed, self._device = seed, device
        if device.type == "cuda" and device.index is None:
            self._device = torch.device("cuda", torch.cuda.current_device())
        self._captures = False

    @contextlib.contextmanager
    def of(self, purpose: str, stochastic: bool = True) -> Iterator[None]:
        """Draw from the stream of a purpose within a context, if anything is drawn: to set up a stream takes time."""
        if not stochastic:
            yield
            return
        if purpose not in self.generators:
            self.generators[purpose] = torch.Generator(self._device)
        if self._captures:
            with drawing_from(self.generators[purpose]):
                yield
            return
        with random_stream(self._seed, purpose, self.update, device=self._device):
            before = host_draws() if self._device.type != "cpu" else None
            yield
            self.host_drew |= before is not None and before != host_draws()

    @contextlib.contextmanager
    def captured(self) -> Iterator[None]:
        """Draw from the generators within a context, in which a graph is captured."""
        self._captures = True
        try:
            yield
        finally:
            self._captures = False

    def reseed(self) -> None:
        """Seed the generators by the update."""
        for purpose, generator in self.generators.items():
            generator.manual_seed(stream_seed(self._seed, purpose, self.update))


def host_draws() -> tuple[object, ...]:
    """Return the states of the generators of the host: of PyTorch, NumPy and Python. They change where one draws."""
    of_numpy = np.random.get_state(legacy=False)  # noqa: NPY002  # of what others draw from
    place = of_numpy["state"]
    numbers = place["key"].tobytes(), place["pos"], of_numpy["has_gauss"], of_numpy["gauss"]
    return torch.get_rng_state().numpy().tobytes(), *numbers, random.getstate()
