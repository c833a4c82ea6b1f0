"""Small datasets of the counting world and of vectors, written by the libraries whose formats `bisim-check` reads."""

import counting_env  # noqa: F401 - registers the environment
import gymnasium
import h5py
import numpy as np

FAST = {"image_size": 32, "max_count": 4, "target": 2}


def record(episodes=4, steps=6, discrete=True, seed=0, **arguments):
    """Episodes of CountingEnv-v0 as dictionaries of arrays: T steps, T + 1 frames."""
    env = gymnasium.make("CountingEnv-v0", discrete_actions=discrete, **{**FAST, **arguments})
    env.action_space.seed(seed)
    recorded = []
    for number in range(episodes):
        frame, info = env.reset(seed=seed + number)
        frames, counts, colors, done = [frame], [info["count"]], [info["color"]], []
        actions, rewards = [], []
        while len(done) < steps and not (done and any(done[-1])):
            action = env.action_space.sample()
            frame, reward, terminated, truncated, info = env.step(action)
            frames.append(frame)
            counts.append(info["count"])
            colors.append(info["color"])
            actions.append(action)
            rewards.append(reward)
            done.append((terminated, truncated or len(done) + 1 == steps))
        recorded.append(
            {
                "observation": np.stack(frames),
                "count": np.array(counts),
                "color": np.stack(colors),
                "action": np.array(actions),
                "reward": np.array(rewards),
                "terminated": np.array([ends[0] for ends in done]),
                "truncated": np.array([ends[1] for ends in done]),
            }
        )
    return recorded


def record_vectors(episodes=3, steps=5, seed=0):
    """Episodes of vectors (T + 1, 3) float32 with two continuous actions."""
    rng = np.random.default_rng(seed)
    return [
        {
            "observation": rng.normal(size=(steps + 1, 3)).astype(np.float32),
            "action": rng.uniform(-1, 1, (steps, 2)).astype(np.float32),
            "reward": rng.normal(size=steps),
            "terminated": np.zeros(steps, bool),
            "truncated": np.arange(steps) == steps - 1,
        }
        for _ in range(episodes)
    ]


def spaces_of(recorded):
    frames, action = recorded[0]["observation"], recorded[0]["action"]
    if frames.dtype == np.uint8:
        observation = gymnasium.spaces.Box(0, 255, frames.shape[1:], np.uint8)
    else:
        observation = gymnasium.spaces.Box(-np.inf, np.inf, frames.shape[1:], frames.dtype)
    if action.dtype.kind == "f":
        return observation, gymnasium.spaces.Box(-1, 1, action.shape[1:], np.float32)
    return observation, gymnasium.spaces.Discrete(max(2, *(int(each["action"].max()) + 1 for each in recorded)))


def write_minari(folder, recorded, jpeg_encoding=False, observe=lambda frames: frames, space=None, **more):
    """A Minari folder (without the name around it) by Minari's own storage."""
    from minari.data_collector.episode_buffer import EpisodeBuffer
    from minari.dataset.minari_storage import MinariStorage

    observation, action = spaces_of(recorded)
    folder.mkdir(parents=True)
    storage = MinariStorage.new(folder, space or observation, action, jpeg_encoding=jpeg_encoding, **more)
    buffers = []
    for number, episode in enumerate(recorded):
        infos = {name: list(episode[name]) for name in ("count", "color") if name in episode}
        if "count" in infos:
            inner = {"count": infos.pop("count")}
            infos = {**infos, "inner": inner, "name": ["x"] * len(inner["count"])}
        buffers.append(
            EpisodeBuffer(
                id=number,
                observations=observe(episode["observation"]),
                actions=episode["action"],
                rewards=list(episode["reward"]),
                terminations=list(episode["terminated"]),
                truncations=list(episode["truncated"]),
                infos=infos or None,
            )
        )
    storage.update_episodes(buffers)
    storage.update_metadata({"dataset_id": "counting/test-v0", "minari_version": "0.5.4"})
    return folder


def to_tensordict(recorded, key="pixels", action=lambda values: values):
    """One TensorDict with a row a step, as a collector gives it."""
    import torch
    from tensordict import TensorDict

    def steps(name, rows=slice(None)):
        return torch.from_numpy(np.concatenate([episode[name][rows] for episode in recorded]))

    number = [np.full(len(episode["action"]), 7 * n) for n, episode in enumerate(recorded)]
    rows = sum(map(len, number))
    after = {name: steps(name)[:, None] for name in ("terminated", "truncated")}
    after["reward"] = steps("reward")[:, None].float()
    after["done"] = after["terminated"] | after["truncated"]
    after[key] = steps("observation", slice(1, None))
    before = {key: steps("observation", slice(-1)), "action": action(steps("action"))}
    if "count" in recorded[0]:
        before["count"], after["count"] = steps("count", slice(-1))[:, None], steps("count", slice(1, None))[:, None]
    collector = {"traj_ids": torch.from_numpy(np.concatenate(number))}
    return TensorDict({**before, "next": after, "collector": collector}, [rows])


def write_torchrl(folder, recorded, capacity=None, dump=True, **more):
    """A folder of `ReplayBuffer.dumps`, or the scratch folder of the storage."""
    from torchrl.data import LazyMemmapStorage, TensorDictReplayBuffer

    data = to_tensordict(recorded, **more)
    scratch = folder.with_name(folder.name + ".scratch")
    storage = LazyMemmapStorage(capacity or len(data), scratch_dir=scratch)
    buffer = TensorDictReplayBuffer(storage=storage, batch_size=2)
    buffer.extend(data)
    if not dump:
        return scratch
    buffer.dumps(folder)
    return folder


def write_hdf5(path, recorded, key="pixels", **more):
    """A flat HDF5 file with the types and chunks of stable-worldmodel's writer.

    Its package brings a gigabyte of others, so the file is made here, after its `HDF5Writer` and `World.collect`: a
    row a frame; the reward of the step that led to the row, NaN at a reset; the action taken from it, NaN at the end.
    """
    with h5py.File(path, "w", libver="latest") as file:
        columns = {name: [] for name in (key, "action", "reward", "terminated", "truncated", "count", "step_idx")}
        for episode in recorded:
            last = np.full((1, *episode["action"].shape[1:]), np.nan if episode["action"].dtype.kind == "f" else 0)
            columns[key].append(episode["observation"])
            columns["action"].append(np.concatenate([episode["action"], last]).astype(episode["action"].dtype))
            columns["reward"].append(np.append(np.nan, episode["reward"]))
            columns["terminated"].append(np.append(False, episode["terminated"]))
            columns["truncated"].append(np.append(False, episode["truncated"]))
            columns["step_idx"].append(np.arange(len(episode["observation"])))
            if "count" in episode:
                columns["count"].append(episode["count"])
        for name, parts in columns.items():
            if parts:
                value = np.concatenate(parts)
                file.create_dataset(name, data=value, chunks=(1, *value.shape[1:]), maxshape=(None, *value.shape[1:]))
        lengths = np.array([len(episode["observation"]) for episode in recorded])
        file.create_dataset("ep_len", data=lengths.astype(np.int32), maxshape=(None,))
        file.create_dataset("ep_offset", data=(np.cumsum(lengths) - lengths).astype(np.int64), maxshape=(None,))
        for name, value in more.items():
            file[name] = value
    return path


def write_nested(folder, recorded):
    """A Minari folder of JPEG-coded images beside numbers and text."""
    image, _ = spaces_of(recorded)
    numbers = gymnasium.spaces.Box(0, 99, (2,), np.float32)
    space = gymnasium.spaces.Dict({"image": image, "n": numbers, "task": gymnasium.spaces.Text(9)})

    def observe(frames):
        rows = np.arange(2 * len(frames), dtype=np.float32).reshape(-1, 2)
        return {"image": frames, "n": rows, "task": ["go"] * len(frames)}

    return write_minari(folder, recorded, jpeg_encoding=True, observe=observe, space=space)


def write_ring(folder, recorded):
    """A dumped replay buffer that went round, with resets and padding marked."""
    import shutil

    import torch
    from torchrl.data import LazyMemmapStorage, TensorDictReplayBuffer

    steps = to_tensordict(recorded)
    rows = len(steps)
    steps["is_init"] = torch.arange(rows)[:, None] == 0
    steps["collector", "mask"] = torch.arange(rows) != rows - 2
    scratch = folder.with_name(folder.name + ".scratch")
    buffer = TensorDictReplayBuffer(storage=LazyMemmapStorage(rows - 3, scratch_dir=scratch), batch_size=2)
    for step in steps:
        buffer.extend(step[None])
    buffer.dumps(folder)
    shutil.rmtree(scratch)
    return folder
