"""Distinct observations of a dataset: held once, encoded once a batch, and drawn evenly."""

import hashlib
from typing import Any, NamedTuple

import numpy as np
import torch
from bisim_theory import TransitionDataset
from bisim_theory.data.transitions import Ids
from numpy.typing import NDArray
from torch import Tensor

FEW = 1 / 2
"""Largest share of distinct observations for which equal ones are held and encoded once."""


class DistinctFrames(NamedTuple):
    """Distinct observations, and which of them every observation of a dataset equals.

    Attributes:
        frames: (n,) numbers of the first of each.
        number: (F,) for every observation, the place in `frames` of the one that it equals.
    """

    frames: Ids
    number: Ids

    @property
    def few(self) -> bool:
        """True where it pays to hold and encode each of them once. Two are needed for a variance."""
        return 2 <= len(self.frames) <= FEW * len(self.number)


def find_distinct(data: TransitionDataset) -> DistinctFrames:
    """Compare all observations of a dataset. Those of a lossy format are all taken as distinct."""
    ids = np.arange(data.frames) if data.lossy else data.content_ids()[: data.frames]
    return DistinctFrames(*np.unique(ids, return_inverse=True))


class BalancedDraw:
    """Draw transitions evenly over distinct pairs of observation and action, and evenly within each.

    What follows a pair keeps its frequencies, so that the mean successor, which L_dyn is fitted to, stays as it is.

    Args:
        data: N transitions.
        distinct: its distinct observations.
        device: of the draws.
    """

    def __init__(self, data: TransitionDataset, distinct: DistinctFrames, device: torch.device) -> None:
        code = np.unique(data.action, return_inverse=True)[1].reshape(-1)
        pair = distinct.number[data.source] * (int(code.max()) + 1) + code
        size = np.unique(pair, return_counts=True)[1]
        self._order = torch.from_numpy(np.argsort(pair, kind="stable")).to(device)
        self._size = torch.from_numpy(size).to(device)
        self._begin = torch.from_numpy(np.cumsum(size) - size).to(device)

    def __len__(self) -> int:
        """Return the number of distinct pairs."""
        return len(self._size)

    def spread(self, count: int) -> Tensor:
        """Return the numbers (count,) of one transition each of pairs that are spread evenly over all."""
        return self._order[self._begin[torch.arange(count, device=self._begin.device) * len(self) // count]]

    def __call__(self, count: int, generator: torch.Generator) -> Tensor:
        """Return the numbers (count,) of transitions that are drawn with replacement."""
        device = self._size.device
        pair = torch.randint(len(self), (count,), generator=generator, device=device)
        size = self._size[pair]
        place = (torch.rand(count, generator=generator, device=device, dtype=torch.float64) * size).long()
        return self._order[self._begin[pair] + torch.minimum(place, size - 1)]


class PairCounts:
    """Draw the latest transitions as `BalancedDraw` does while they come in.

    Args:
        capacity: of the latest transitions.
    """

    def __init__(self, capacity: int) -> None:
        self._pair = np.zeros(capacity, np.int64)
        self._added = 0
        self._number: dict[bytes, int] = {}
        self._share: NDArray[np.float64] | None = None

    def add(self, observations: list[NDArray[Any]], codes: Ids) -> None:
        """Add transitions by their sources and their action codes."""
        for observation, code in zip(observations, codes.tolist(), strict=True):
            content = hashlib.blake2b(observation.tobytes() + int(code).to_bytes(8, "little", signed=True)).digest()
            self._pair[self._added % len(self._pair)] = self._number.setdefault(content, len(self._number))
            self._added += 1
        self._share = None

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Return the places (count,) of transitions among the latest that are drawn with replacement."""
        if self._share is None:
            pair = self._pair[: self._added]
            self._share = np.cumsum(1 / np.bincount(pair)[pair])
        place = torch.rand(count, generator=generator, device=generator.device, dtype=torch.float64).cpu().numpy()
        found = np.searchsorted(self._share, place * self._share[-1], side="right")
        return torch.from_numpy(np.minimum(found, len(self._share) - 1)).to(generator.device)
