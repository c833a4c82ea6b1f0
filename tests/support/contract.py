"""One set of recorded episodes, and how each format writes it.

A new format is one more entry of `WRITERS`.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from bisim_theory import TransitionDataset, write_transitions

from support.written_datasets import write_hdf5, write_minari, write_torchrl
from support.written_rows import write_d4rl, write_lance, write_lerobot, write_ogbench, write_robomimic

CELLS = 6

PATHS = [  # actions: 1 steps to the right, 0 stays
    (0, [1, 1, 1, 1, 1]),
    (0, [1, 0, 1, 1]),
    (2, [0, 1, 1, 1]),
    (1, [1]),
    (3, [1, 0, 0, 1]),
]


def corridor(continuous=False):
    """Walks in a corridor: reward at the last cell, where an episode terminates; any other is truncated.

    Continuous actions differ from step to step and have the sign that the code says.
    """
    recorded = []
    for number, (cell, codes) in enumerate(PATHS):
        cells = np.minimum(cell + np.append(0, np.cumsum(codes)), CELLS - 1)
        action = np.array(codes)
        if continuous:
            action = ((action - 0.5) * (1 + np.arange(len(codes)) / 10 + number))[:, None].astype(np.float32)
        last = np.arange(len(codes)) == len(codes) - 1
        recorded.append(
            {
                "observation": np.stack([cells, cells**2], 1).astype(np.float32),
                "count": cells,
                "action": action,
                "reward": (cells[1:] == CELLS - 1).astype(np.float32),
                "terminated": last & (cells[-1] == CELLS - 1),
                "truncated": last & (cells[-1] != CELLS - 1),
            }
        )
    return recorded


def without_last_steps(recorded):
    """The episodes as a format leaves them that stores no observation after the last step."""
    return [{name: values[:-1] for name, values in episode.items()} for episode in recorded]


STEP = ("source", "action", "successor", "reward", "terminated", "truncated", "episode")


def as_dataset(recorded):
    """The transitions, made of the recorded episodes by a loop."""
    steps, frames, counts = [], [], []
    for number, episode in enumerate(recorded):
        for step, value in enumerate(episode["action"].reshape(-1).tolist()):
            source, code = len(frames) + step, int(value > 0)
            ends = [episode[name][step] for name in ("reward", "terminated", "truncated")]
            steps.append((source, code, source + 1, *ends, number))
        frames.extend(episode["observation"])
        counts.extend(episode["count"])
    columns = {name: np.array(values) for name, values in zip(STEP, zip(*steps, strict=True), strict=True)}
    return TransitionDataset(**columns, observation=np.array(frames), labels={"count": np.array(counts)})


def write_npz(path, recorded):
    write_transitions(path, as_dataset(recorded))
    return path


def write_vectors_hdf5(path, recorded):
    return write_hdf5(path, recorded, key="observation")


def write_vectors_torchrl(path, recorded):
    return write_torchrl(path, recorded, key="observation", capacity=100)


def write_rewarded_ogbench(path, recorded):
    return write_ogbench(path, recorded, rewards=np.concatenate([np.append(0, each["reward"]) for each in recorded]))


def write_robomimic_without_successors(path, recorded):
    return write_robomimic(path, recorded, following=False)


@dataclass(frozen=True)
class Writer:
    """How a format writes recorded episodes.

    Attributes:
        write: takes a path and the episodes, and returns the path to read.
        suffix: of the path.
        drops_last: whether it stores no observation after the last step of an episode.
        unread: number of steps without a successor that the reader has to count, of some episodes.
        observes: whether it writes the vectors as observations; False where it writes images.
        missing: fields that it does not write.
        continuous: whether it writes continuous actions.
    """

    write: Callable[[Path, list], Path]
    suffix: str = ""
    drops_last: bool = False
    unread: Callable[[list], int] = lambda recorded: 0
    observes: bool = True
    missing: set = field(default_factory=set)
    continuous: bool = True


WRITERS = {
    "npz": Writer(write_npz, ".npz", continuous=False),
    "hdf5": Writer(write_vectors_hdf5, ".h5"),
    "minari": Writer(write_minari),
    "torchrl": Writer(write_vectors_torchrl),
    "lerobot": Writer(write_lerobot, unread=len, missing={"terminated", "truncated"}),
    "d4rl": Writer(write_d4rl, ".hdf5", drops_last=True, unread=len),
    "d4rl with next": Writer(lambda path, recorded: write_d4rl(path, recorded, following=True), ".hdf5"),
    "lance": Writer(write_lance, ".lance", observes=False),
    "ogbench": Writer(write_rewarded_ogbench, ".npz", unread=len, missing={"terminated", "truncated"}),
    "robomimic": Writer(write_robomimic, ".hdf5", observes=False, missing={"truncated"}),
    "robomimic without next_obs": Writer(
        write_robomimic_without_successors,
        ".hdf5",
        drops_last=True,
        unread=len,
        observes=False,
        missing={"truncated"},
    ),
}
