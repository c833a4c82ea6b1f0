"""Make the datasets and embeddings that R_D* is measured on."""

import dataclasses
import math
from typing import NamedTuple

import numpy as np
from bisim_theory import TransitionDataset

EPISODE, DIMENSIONS = 16, 256
HELD, NOT_HELD = "actions held 4 steps", "actions not held"
INITIAL = "not held, p unknown of first observations"
CORRIDOR, CYCLE = "corridor, p at its end", "cycle, p at one place"
KINDS = ("clustered by count", "i.i.d. normal", "rank 6", "nearly one point")


class Sizes(NamedTuple):
    """Set the sizes of the inputs, in transitions or sources."""

    growth: tuple[int, ...] = (10_000, 100_000, 1_000_000, 10_000_000)
    deep: int = 1_000_000
    general: tuple[int, ...] = (1_000, 5_000, 10_000, 20_400)
    distances: int = 100_000
    plain: int = 20_000
    literal: int = 300
    search: int = 4_000
    datalog: int = 1_200
    paige_tarjan: tuple[int, ...] = (10_000, 50_000)
    storm: tuple[int, ...] = (10_000, 50_000, 500_000)
    covered: tuple[int, ...] = (50_000, 500_000, 5_000_000)
    engines: tuple[int, ...] = (10_000, 100_000, 1_000_000, 10_000_000)
    backends: tuple[str, ...] = ("memory", "duckdb")
    inputs: tuple[str, ...] = ("walk",)
    memory: str = "600MB"


QUICK = Sizes((1_000, 3_000), 3_000, (200, 400), 2_000, 1_000, 30, 100, 60, (500,), (500,), (500,), (1_000,))


def trajectories(held: int, transitions: int, seed: int = 0) -> TransitionDataset:
    """Make episodes of 16 steps of a random policy on counts 0..8, each observation an occurrence, p = [count == 4]."""
    rng = np.random.default_rng(seed)
    episodes = -(-transitions // EPISODE)
    action = np.repeat(rng.integers(2, size=(episodes, EPISODE // held)).astype(np.int8), held, axis=1)
    count = np.empty((episodes, EPISODE + 1), np.int8)
    count[:, 0] = rng.integers(9, size=episodes)
    for step in range(EPISODE):
        count[:, step + 1] = np.clip(count[:, step] + 2 * action[:, step] - 1, 0, 8)
    name = np.arange(count.size, dtype=np.int32).reshape(count.shape)
    rows = [each.ravel()[:transitions] for each in (name[:, :-1], action, name[:, 1:], count[:, :-1] == 4)]
    return TransitionDataset(*rows, labels={"count": count.ravel()})


def initial_unknown(data: TransitionDataset) -> TransitionDataset:
    """Return `trajectories` with p of all observations but the first of each episode, so of the last ones too."""
    count = data.labels["count"]
    known = np.arange(len(count)) % (EPISODE + 1) != 0
    return dataclasses.replace(
        data, auxiliary=None, observation_auxiliary=count == 4, observation_auxiliary_known=known
    )


def deep(cycle: bool, transitions: int) -> TransitionDataset:
    """Make the path 0 -> 1 -> ... -> n - 1, or a cycle; p is 1 at n - 1 only, so that there are n - 1 levels."""
    source = np.arange(transitions)
    successor = (source + 1) % transitions if cycle else source + 1
    labels = {"half": np.arange(transitions + 1) * 2 // transitions}
    return TransitionDataset(source, np.zeros_like(source), successor, source == transitions - 1, labels=labels)


def partial(sources: int, coverage: float = 0.8, actions: int = 2) -> TransitionDataset:
    """Make random successors and a random binary p; an action is observed with probability `coverage`, one at least."""
    rng = np.random.default_rng(0)
    seen = rng.random((sources, actions)) < coverage
    seen[np.arange(sources), rng.integers(actions, size=sources)] |= ~seen.any(1)
    source, action = np.nonzero(seen)
    return TransitionDataset(
        source, action, rng.integers(sources, size=len(source)), rng.integers(2, size=sources)[source]
    )


def total(sources: int, behaviours: int, actions: int = 2) -> TransitionDataset:
    """Make data of full coverage: random members of the blocks of a random automaton with `behaviours` states."""
    rng = np.random.default_rng(0)
    state = rng.permutation(np.arange(sources) % behaviours)
    leads, p = rng.integers(behaviours, size=(behaviours, actions)), rng.integers(2, size=behaviours)
    members, sizes = np.argsort(state, kind="stable"), np.bincount(state)
    to = leads[state]
    successor = members[(np.cumsum(sizes) - sizes)[to] + rng.integers(sizes[to])]
    source, action = (each.ravel() for each in np.indices((sources, actions)))
    return TransitionDataset(source, action, successor.ravel(), p[state[source]])


def embeddings(kind: str, data: TransitionDataset) -> np.ndarray:
    """Make embeddings (F, 256) float32 of one of `KINDS`."""
    rng = np.random.default_rng(1)
    shape = (data.frames, DIMENSIONS)
    if kind == "clustered by count":
        centres = rng.normal(size=(9, DIMENSIONS))[data.labels["count"]]
        return (centres + 0.1 * rng.normal(size=shape)).astype(np.float32)
    if kind == "rank 6":
        return (rng.normal(size=(data.frames, 6)) @ rng.normal(size=(6, DIMENSIONS))).astype(np.float32)
    noise = rng.normal(size=shape)
    return (1 + 1e-7 * noise if kind == "nearly one point" else noise).astype(np.float32)


def threshold_of(embedding: np.ndarray) -> float:
    """Return the distance below which pairs count as collapsed.

    It is 1e-3 of the median distance of random pairs, at least 1e-6 of the root mean square norm.
    """
    x, y = np.random.default_rng(2).integers(len(embedding), size=(2, 10_000))
    double = embedding[x].astype(np.float64)
    median = float(np.median(np.sqrt(np.square(double - embedding[y]).sum(1))))
    return max(1e-3 * median, 1e-6 * math.sqrt(np.square(double).sum(1).mean()))
