"""Write episodes with other people's libraries, and read them back with the same."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.worlds.environments import Make, play
from benchmarks.worlds.episodes import Episode, digests

LEROBOT = "lerobot>=0.4,<0.5"
"""What `uv` is asked for; version 0.4 writes version 3 of the format."""

Write = Callable[[Path, int], Path]
"""A function that writes some episodes into a folder, and returns the path that `bisim-check` is given."""


class Writer(NamedTuple):
    """Describe how a file is made and read by the library that it belongs to.

    Attributes:
        name: of the library and its format.
        write: writes some episodes.
        read: reads the episodes of a path.
    """

    name: str
    write: Write
    read: Callable[[Path], list[Episode]]


def minari(make: Make) -> Writer:
    """Record with Minari's `DataCollector`, images losslessly, and read with `iterate_episodes`."""
    name = "world/recorded-v0"

    def write(folder: Path, episodes: int) -> Path:
        import minari

        os.environ["MINARI_DATASETS_PATH"] = str(folder)
        env = minari.DataCollector(make(), jpeg_encoding=False)
        play(env, episodes)
        env.create_dataset(name, description="random actions")
        env.close()
        return folder / name

    def read(path: Path) -> list[Episode]:
        import minari

        os.environ["MINARI_DATASETS_PATH"] = str(path.parents[1])
        found = minari.load_dataset(name).iterate_episodes()
        return [Episode(digests(e.observations), e.actions, e.rewards, e.terminations, {}) for e in found]

    return Writer("Minari (HDF5)", write, read)


def torchrl(make: Make) -> Writer:
    """Roll out with TorchRL's `GymWrapper`, write with `ReplayBuffer.dumps`, and read with `load_memmap`."""
    import torch
    from tensordict import TensorDict
    from torchrl.data import LazyMemmapStorage, TensorDictReplayBuffer
    from torchrl.envs import GymWrapper

    def write(folder: Path, episodes: int) -> Path:
        torch.manual_seed(0)
        env = GymWrapper(make())
        rollouts = []
        for seed in range(episodes):
            env.set_seed(seed)
            rollouts.append(env.rollout(100_000))
        rows = torch.cat(rollouts)
        buffer = TensorDictReplayBuffer(storage=LazyMemmapStorage(len(rows)), batch_size=1)
        buffer.extend(rows)
        buffer.dumps(folder / "buffer")
        return folder / "buffer"

    def read(path: Path) -> list[Episode]:
        rows = TensorDict.load_memmap(path / "storage")
        key = "pixels" if "pixels" in rows.keys() else "observation"  # noqa: SIM118 (a TensorDict)
        before, after = digests(rows[key].numpy()), digests(rows["next", key].numpy())
        action, reward = rows["action"].numpy(), rows["next", "reward"].numpy()[:, 0]
        terminated = rows["next", "terminated"].numpy()[:, 0]
        ends = np.flatnonzero(rows["next", "done"].numpy()[:, 0]) + 1
        return [
            Episode([*before[a:b], after[b - 1]], action[a:b], reward[a:b], terminated[a:b], {})
            for a, b in zip([0, *ends[:-1].tolist()], ends.tolist(), strict=True)
        ]

    return Writer("TorchRL (`ReplayBuffer.dumps`)", write, read)


def stable_worldmodel(name: str, kind: str, steps: int, labels: tuple[str, ...] = (), **arguments: Any) -> Writer:
    """Record with `World.collect` of stable-worldmodel, and read columns with h5py or lance, as its readers do.

    Args:
        name: of the environment.
        kind: ``hdf5`` or ``lance``.
        steps: of an episode at most.
        labels: columns to read as labels.
        **arguments: of `World`.
    """
    key = "pixels" if arguments.get("add_pixels", True) else "observation"

    def write(folder: Path, episodes: int) -> Path:
        import minigrid  # noqa: F401 (registers its environments)
        from stable_worldmodel import World
        from stable_worldmodel.policy import RandomPolicy

        world = World(name, num_envs=1, max_episode_steps=steps, **arguments)
        world.set_policy(RandomPolicy(seed=0))
        path = folder / ("recorded.h5" if kind == "hdf5" else "recorded.lance")
        world.collect(path, episodes=episodes, seed=0, format=kind, progress=False)
        world.close()
        return path

    def columns(path: Path) -> tuple[dict[str, np.ndarray], np.ndarray]:
        if kind == "hdf5":
            import h5py

            with h5py.File(path) as file:
                lengths = file["ep_len"][:]
                return {name: file[name][:] for name in (key, "action", "reward", "terminated", *labels)}, lengths
        import lance

        table = lance.dataset(str(path)).to_table().to_pydict()
        found = {name: np.array(table[name]) for name in (key, "action", "reward", "terminated", *labels)}
        found = {name: each if name in (key, *labels, "action") else each.ravel() for name, each in found.items()}
        return found, np.unique(table["episode_idx"], return_counts=True)[1]

    def read(path: Path) -> list[Episode]:
        found, lengths = columns(path)
        ends = np.cumsum(lengths)
        rows = [{name: each[b - n : b] for name, each in found.items()} for b, n in zip(ends, lengths, strict=True)]
        return [
            # The action of a row leaves it; its reward and its end are of the step into it.
            Episode(
                digests(r[key]),
                r["action"][:-1],
                r["reward"][1:],
                r["terminated"][1:] != 0,
                {name: r[name] for name in labels},
            )
            for r in rows
        ]

    return Writer(f"stable-worldmodel ({'HDF5' if kind == 'hdf5' else 'Lance'})", write, read)


def lerobot(make: Make) -> Writer:
    """Write with LeRobot's `add_frame` and `save_episode` in an environment of its own, and read with pyarrow.

    A row holds the observation and, of the step out of it, action and reward; where the last step led is not stored.
    """
    from pyarrow import parquet

    script = Path(__file__).with_name("lerobot_script.py")

    def write(folder: Path, episodes: int) -> Path:
        played = play(make(), episodes)
        np.savez(
            folder / "arrays.npz",
            lengths=[len(each.actions) for each in played],
            **{
                "observation.state": np.concatenate([each.observations[:-1] for each in played]).astype(np.float32),
                "action": np.concatenate([each.actions for each in played]).astype(np.float32),
                "next.reward": np.concatenate([each.rewards for each in played]).astype(np.float32)[:, None],
            },
        )
        command = ["uv", "run", "--isolated", "--no-project", "--with", LEROBOT, "python", script]
        subprocess.run([*command, folder / "arrays.npz", folder / "recorded"], check=True, capture_output=True)
        return folder / "recorded"

    def read(path: Path) -> list[Episode]:
        table = parquet.read_table(path / "data")
        columns = {name: np.array(table[name].to_pylist()) for name in ("observation.state", "action", "next.reward")}
        number = table["episode_index"].to_numpy()
        found = []
        for each in range(number[-1] + 1):
            observation, action, reward = (value[number == each] for value in columns.values())
            steps = len(action) - 1
            found.append(Episode(digests(observation), action[:-1], reward.ravel()[:-1], np.zeros(steps, bool), {}))
        return found

    return Writer("LeRobot v3 (Parquet)", write, read)


def npz(make: Make) -> Writer:
    """Write `transitions.npz` with `numpy.savez`, and read with `numpy.load`."""

    def write(folder: Path, episodes: int) -> Path:
        played = play(make(), episodes)
        lengths = np.array([len(each.observations) for each in played])
        first = np.repeat(np.cumsum(lengths) - lengths, lengths - 1)
        step = np.concatenate([np.arange(n - 1) for n in lengths])
        np.savez(
            folder / "transitions.npz",
            observation=np.concatenate([np.asarray(each.observations) for each in played]),
            source=first + step,
            successor=first + step + 1,
            action=np.concatenate([each.actions for each in played]),
            reward=np.concatenate([each.rewards for each in played]),
            terminated=np.concatenate([each.terminated for each in played]),
            truncated=np.concatenate([each.truncated for each in played]),
            episode=np.repeat(np.arange(len(played)), lengths - 1),
        )
        return folder / "transitions.npz"

    def read(path: Path) -> list[Episode]:
        with np.load(path) as file:
            names = ("observation", "source", "action", "reward", "terminated", "episode")
            observation, source, action, reward, terminated, episode = (file[name] for name in names)
        contents = digests(observation)
        found = []
        for number in range(episode[-1] + 1):
            rows = episode == number
            begin, end = int(source[rows][0]), int(source[rows][-1]) + 2
            found.append(Episode(contents[begin:end], action[rows], reward[rows], terminated[rows], {}))
        return found

    return Writer("NumPy (`savez`)", write, read)
