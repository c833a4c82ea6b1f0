"""Record transitions of random actions in the counting environment and in Gymnasium's Taxi, each frame once."""

import hashlib
from typing import Any, Protocol

import gymnasium
import numpy as np
from bisim_theory import TransitionDataset
from counting_env import CountingVectorEnv

COPIES = 1000
"""Copies of an environment that act side by side."""

TAXI_STEPS = 200


class Recorded(Protocol):
    """Copies of an environment. After the end of an episode the next action is ignored, and a new episode begins.

    Attributes:
        key: (COPIES,) what tells the observations of all copies apart.
        actions: number of actions.
    """

    key: np.ndarray
    actions: int

    def step(self, action: np.ndarray) -> np.ndarray:
        """Act in all copies; return (COPIES,) whether the action was taken."""


class Counting:
    """The counting environment with its images; the key is the count."""

    actions = 2

    def __init__(self, seed: int) -> None:
        self._env = CountingVectorEnv(COPIES, discrete_actions=True)
        self.key = self._env.reset(seed=seed)[1]["count"]
        self._ended = np.zeros(COPIES, bool)

    def step(self, action: np.ndarray) -> np.ndarray:
        """Act in all copies; return (COPIES,) whether the action was taken."""
        acted = ~self._ended
        _, _, terminated, truncated, info = self._env.step(action)
        self.key, self._ended = info["count"], terminated | truncated
        return acted


class Taxi:
    """Taxi by the table of its transitions; the key is the state, which determines its image."""

    actions = 6

    def __init__(self, seed: int) -> None:
        env: Any = gymnasium.make("Taxi-v4").unwrapped
        table = [[env.P[state][action][0] for action in range(self.actions)] for state in range(500)]
        self._successor = np.array([[cell[1] for cell in cells] for cells in table])
        self._terminated = np.array([[cell[3] for cell in cells] for cells in table])
        self._begin, self._rng = np.cumsum(env.initial_state_distrib), np.random.default_rng(seed)
        self.key, self._steps = self._start(COPIES), np.zeros(COPIES, np.int64)
        self._ended = np.zeros(COPIES, bool)

    def _start(self, number: int) -> np.ndarray:
        return np.searchsorted(self._begin, self._rng.random(number), side="right")

    def step(self, action: np.ndarray) -> np.ndarray:
        """Act in all copies; return (COPIES,) whether the action was taken."""
        acted, before = ~self._ended, self.key
        self.key = np.where(acted, self._successor[before, action], self._start(COPIES))
        self._steps = np.where(acted, self._steps + 1, 0)
        self._ended = acted & (self._terminated[before, action] | (self._steps >= TAXI_STEPS))
        return acted


def record(world: Recorded, transitions: int, seed: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Return source, action and successor (transitions,) under random actions, and the key (F,) of each observation."""
    rng, now = np.random.default_rng(seed), np.arange(COPIES, dtype=np.int32)
    rows: list[tuple[np.ndarray, ...]] = []
    keys, number = [world.key], 0
    while number < transitions:
        action = rng.integers(world.actions, size=COPIES, dtype=np.int8)
        acted, after = world.step(action), now + np.int32(COPIES)
        rows.append((now[acted], action[acted], after[acted]))
        keys.append(world.key)
        now, number = after, number + int(acted.sum())
    columns = (np.concatenate(column)[:transitions] for column in zip(*rows, strict=True))
    return dict(zip(("source", "action", "successor"), columns, strict=True)), np.concatenate(keys)


def counting(transitions: int, seed: int) -> TransitionDataset:
    """Record the counting environment; p is whether the count is four."""
    rows, count = record(Counting(seed), transitions, seed)
    return TransitionDataset(**rows, auxiliary=count[rows["source"]] == 4, labels={"count": count.astype(np.int8)})


def taxi(transitions: int, seed: int) -> TransitionDataset:
    """Record Taxi; p is whether the passenger is in the taxi, and observations of one state have one digest."""
    rows, state = record(Taxi(seed), transitions, seed)
    digests = [hashlib.blake2b(bytes([each % 256, each // 256]), digest_size=32).digest() for each in range(500)]
    digest = np.frombuffer(b"".join(digests), np.uint8).reshape(500, 32)[state]
    labels = {"state": state.astype(np.int16)}
    inside = state[rows["source"]] // 4 % 5 == 4
    return TransitionDataset(**rows, auxiliary=inside, observation=digest, labels=labels)
