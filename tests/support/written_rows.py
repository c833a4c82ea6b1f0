"""Small datasets of formats that keep a row for each frame, in the layouts that their own libraries write.

Files that the libraries wrote themselves are in `tests/fixtures`.
"""

import json

import numpy as np

RING = 5
"""States of `walk`."""


def vectors(states):
    """Observations (T, 2) of states."""
    return np.stack([states, states**2], 1).astype(np.float32)


def walk(episodes=12, seed=0):
    """Episodes of a walk on a ring as dictionaries of arrays: T steps, T + 1 observations.

    Action 1 steps forward and 0 stays; the reward is 1 for a step that leads to the last state. Episodes end at random.
    """
    rng = np.random.default_rng(seed)
    recorded = []
    for number in range(episodes):
        state, action = [int(rng.integers(RING))], rng.integers(2, size=3 + number % 4)
        for code in action:
            state.append((state[-1] + int(code)) % RING)
        states = np.array(state)
        recorded.append(
            {
                "observation": vectors(states),
                "count": states,
                "action": action,
                "reward": (states[1:] == RING - 1).astype(np.float32),
                "terminated": np.arange(len(action)) == len(action) - 1,
                "truncated": np.zeros(len(action), bool),
            }
        )
    return recorded


def padded(values, length):
    """Give the last of the frames a copy of the last step, as LeRobot does; leave a column of all frames as it is."""
    return values if len(values) == length else np.concatenate([values, values[-1:]])


def write_lerobot(folder, recorded, per_file=5, **more):
    """A folder of LeRobot v3, with Parquet types of its writer; `more` are further columns, one array an episode."""
    import pyarrow
    import pyarrow.parquet

    def save(place, columns):
        path = folder / place
        path.parent.mkdir(parents=True, exist_ok=True)
        pyarrow.parquet.write_table(pyarrow.table(columns), path)

    def arrow(values):
        if values.ndim == 1:
            return pyarrow.array(values)
        flat = pyarrow.array(values.reshape(-1))
        for width in reversed(values.shape[1:]):
            flat = pyarrow.FixedSizeListArray.from_arrays(flat, width)
        return flat

    rows, starts, lengths = [], [], [len(episode["observation"]) for episode in recorded]
    for number, episode in enumerate(recorded):
        length = lengths[number]
        starts.append(sum(lengths[:number]))
        rows.append(
            {
                "observation.state": episode["observation"],
                "action": padded(episode["action"], length),
                "next.reward": padded(episode["reward"], length),
                "next.done": padded(episode["terminated"] | episode["truncated"], length),
                **{name: episode[name] for name in ("count",) if name in episode},
                **{name: values[number] for name, values in more.items()},
                "timestamp": (np.arange(length) / 10).astype(np.float32),
                "frame_index": np.arange(length),
                "episode_index": np.full(length, number),
                "index": starts[number] + np.arange(length),
                "task_index": np.zeros(length, np.int64),
            }
        )
    for start in range(0, len(rows), per_file):
        part = rows[start : start + per_file]
        columns = {name: arrow(np.concatenate([row[name] for row in part])) for name in part[0]}
        save(f"data/chunk-000/file-{start // per_file:03d}.parquet", columns)
    save(
        "meta/episodes/chunk-000/file-000.parquet",
        {
            "episode_index": range(len(rows)),
            "tasks": [["walk"]] * len(rows),
            "length": lengths,
            "data/chunk_index": [0] * len(rows),
            "data/file_index": [number // per_file for number in range(len(rows))],
            "dataset_from_index": starts,
            "dataset_to_index": [start + length for start, length in zip(starts, lengths, strict=True)],
        },
    )
    info = {
        "codebase_version": "v3.0",
        "total_episodes": len(rows),
        "total_frames": sum(lengths),
        "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
        "features": {
            name: {"dtype": str(values.dtype), "shape": list(values.shape[1:]) or [1], "names": None}
            for name, values in rows[0].items()
        },
    }
    (folder / "meta" / "info.json").write_text(json.dumps(info))
    return folder


def check_steps(data, recorded, frames=True):
    """Check that every step is as it was recorded, in order, and that none leads into another episode."""

    def steps(name, rows=slice(None)):
        return np.concatenate([episode[name][rows] for episode in recorded])

    for ids, rows in ((data.source, slice(-1)), (data.successor, slice(1, None))):
        np.testing.assert_array_equal(data.labels["count"][ids], steps("count", rows))
        if frames:
            observed = np.asarray(data.observation[: data.frames])
            np.testing.assert_array_equal(observed[ids], steps("observation", rows))
    np.testing.assert_array_equal(data.action, steps("action"))
    np.testing.assert_array_equal(data.reward, steps("reward"))
    number = np.repeat(np.arange(len(recorded)), [len(episode["action"]) for episode in recorded])
    np.testing.assert_array_equal(data.episode, number)
    inside = np.flatnonzero(np.diff(number) == 0)
    np.testing.assert_array_equal(data.successor[inside], data.source[inside + 1])  # an occurrence has one id
    first = np.unique(number, return_index=True)[1]
    assert not set(data.source[first]) & set(data.successor)


NO_ACTION = np.iinfo(np.int64).min
"""What `numpy.full_like(action, nan)` gives for integers, as stable-worldmodel fills the action of a reset."""


def pictures(states, size=16):
    """Grey images (T, size, size, 3), one for each state."""
    return np.broadcast_to((50 * states)[:, None, None, None], (len(states), size, size, 3)).astype(np.uint8)


def collected(episode):
    """Columns as `World.collect` of stable-worldmodel gives them to a writer: a row a frame, the reset first.

    Rewards and ends are of the step into the row. The action of the reset, a fill value, was moved to the end.
    """
    fill = np.nan if episode["action"].dtype.kind == "f" else NO_ACTION
    last = np.full((1, *episode["action"].shape[1:]), fill).astype(episode["action"].dtype)
    return {
        "pixels": pictures(episode["count"]),
        "state": episode["observation"],
        "action": np.concatenate([episode["action"], last]),
        "reward": np.append(np.nan, episode["reward"]),
        "terminated": np.append(False, episode["terminated"]),
        "truncated": np.append(False, episode["truncated"]),
        "count": episode["count"],
    }


def jpeg(image):
    """Encode an image as stable-worldmodel does."""
    import io

    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="JPEG", quality=95)
    return buffer.getvalue()


def decoded(content):
    """Decode an image file with Pillow."""
    import io

    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(content)))


def write_lance(folder, recorded, collect=collected, **more):
    """A table in the layout of stable-worldmodel: all numbers as lists of float32, ``pixels`` as JPEG files."""
    import lance
    import pyarrow

    columns = {}
    for number, episode in enumerate(recorded):
        rows = collect(episode)
        length = len(rows["action"])
        index = {"episode_idx": np.full(length, number, np.int32), "step_idx": np.arange(length, dtype=np.int32)}
        for name, values in {**index, **rows}.items():
            columns.setdefault(name, []).append(values)
    table = {}
    for name, parts in columns.items():
        values = np.concatenate(parts)
        if name.startswith("pixels"):
            table[name] = pyarrow.array([jpeg(image) for image in values], pyarrow.binary())
        elif name in ("episode_idx", "step_idx"):
            table[name] = pyarrow.array(values)
        else:
            flat = values.astype(np.float32).reshape(len(values), -1)
            table[name] = pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(flat.reshape(-1)), flat.shape[1])
    lance.write_dataset(pyarrow.table({**table, **more}), str(folder))
    return folder


def joined(recorded, name, rows=slice(None)):
    """Concatenate a column of all episodes."""
    return np.concatenate([episode[name][rows] for episode in recorded])


def ogbench_columns(recorded):
    """Arrays of a file of OGBench: all frames, of which the last of each trajectory has an action and no successor."""
    lengths = [len(episode["observation"]) for episode in recorded]
    action = [padded(episode["action"], length) for episode, length in zip(recorded, lengths, strict=True)]
    return {
        "observations": joined(recorded, "observation"),
        "actions": np.concatenate(action),
        "terminals": np.concatenate([np.arange(length) == length - 1 for length in lengths]),
        "count": joined(recorded, "count"),
    }


def write_ogbench(path, recorded, **more):
    """A file of OGBench, as its generators write it; `more` are further arrays."""
    np.savez_compressed(path, **{**ogbench_columns(recorded), **more})
    return path


def write_d4rl(path, recorded, following=False, **more):
    """A flat HDF5 file like those of D4RL: a row a step, so that the last frame of an episode is no row.

    With `following` the frames that the steps led to are stored beside them. `more` are further arrays.
    """
    import h5py

    with h5py.File(path, "w") as file:
        for name, column in {
            "observations": joined(recorded, "observation", slice(-1)),
            "actions": joined(recorded, "action"),
            "rewards": joined(recorded, "reward"),
            "terminals": joined(recorded, "terminated"),
            "timeouts": joined(recorded, "truncated"),
            "infos/count": joined(recorded, "count", slice(-1)),
            **({"next_observations": joined(recorded, "observation", slice(1, None))} if following else {}),
            **more,
        }.items():
            if column is not None:
                file.create_dataset(name, data=column, compression="gzip")
    return path


def write_robomimic(path, recorded, following=True, images=False, masks=None):
    """A file of robomimic: a group for each demonstration, named in another order than their numbers.

    Entries of an observation are ``place`` and ``count``, with `images` also ``eye``.
    """
    import h5py

    with h5py.File(path, "w") as file:
        for number, episode in enumerate(recorded):
            demo = file.create_group(f"data/demo_{number}")
            demo["actions"], demo["rewards"] = episode["action"].reshape(len(episode["action"]), -1), episode["reward"]
            demo["dones"] = episode["terminated"].astype(np.int64)
            demo["states"] = episode["count"][:-1, None]
            entries = {"place": episode["observation"], "count": episode["count"][:, None]}
            if images:
                entries["eye"] = pictures(episode["count"])
            for name, values in entries.items():
                demo[f"obs/{name}"] = values[:-1]
                if following:
                    demo[f"next_obs/{name}"] = values[1:]
        for name, demos in (masks or {}).items():
            file[f"mask/{name}"] = np.array(demos, "S")
    return path
