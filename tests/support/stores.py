"""Frames in every store that `read_transitions` gives out, each with the array that they are."""

import numpy as np
from bisim_theory import TransitionDataset, read_transitions, write_transitions

from support.written_datasets import record, record_vectors, write_hdf5, write_minari, write_torchrl
from support.written_rows import decoded, jpeg, pictures, walk, write_d4rl, write_lance, write_ogbench, write_robomimic


def frames_of(recorded):
    """The frames of recorded episodes, one after another."""
    return np.concatenate([episode["observation"] for episode in recorded])


def sources_first(recorded):
    """The frames as a storage of steps has them: those acted from, then the last one of each episode."""
    return np.concatenate(
        [*(each["observation"][:-1] for each in recorded), *(e["observation"][-1:] for e in recorded)]
    )


def chain(frames):
    steps = np.arange(len(frames) - 1)
    return TransitionDataset(steps, 0 * steps, steps + 1, observation=frames)


def compressed_npz(folder):
    frames = frames_of(record(3, steps=4))
    write_transitions(folder / "t.npz", chain(frames))
    return read_transitions(folder / "t.npz").observation, frames


def stored_npz(folder):
    frames = frames_of(record_vectors(4))
    steps = np.arange(len(frames) - 1)
    np.savez(folder / "t.npz", source=steps, action=0 * steps, successor=steps + 1, observation=frames)
    return read_transitions(folder / "t.npz").observation, frames


def single_numbers(folder):
    frames = np.arange(20, dtype=np.int16) ** 2
    write_transitions(folder / "t.npz", chain(frames))
    return read_transitions(folder / "t.npz").observation, frames


def hdf5(folder):
    recorded = record_vectors(4)
    return read_transitions(write_hdf5(folder / "d.h5", recorded, key="observation"), actions="sign").observation, (
        frames_of(recorded)
    )


def hdf5_channels_first(folder):
    recorded = record(3, steps=4)
    first = [{**each, "observation": np.moveaxis(each["observation"], -1, 1)} for each in recorded]
    return read_transitions(write_hdf5(folder / "d.h5", first)).observation, frames_of(recorded)


def minari(folder):
    recorded = record(4, steps=3)
    return read_transitions(write_minari(folder / "d", recorded)).observation, frames_of(recorded)


def torchrl(folder):
    recorded = record(4, steps=3)
    return read_transitions(write_torchrl(folder / "d", recorded, capacity=40)).observation, sources_first(recorded)


def torchrl_bools(folder):
    recorded = record_vectors(4)
    for episode in recorded:
        episode["observation"] = episode["observation"] > 0
    folder = write_torchrl(folder / "d", recorded, key="observation")
    return read_transitions(folder, actions="sign").observation, sources_first(recorded)


def lance(folder):
    recorded = walk(5)
    images = pictures(np.concatenate([episode["count"] for episode in recorded]))
    expected = np.stack([decoded(jpeg(image)) for image in images])
    return read_transitions(write_lance(folder / "d.lance", recorded)).observation, expected


def ogbench(folder):
    recorded = walk(5)
    return read_transitions(write_ogbench(folder / "d.npz", recorded)).observation, frames_of(recorded)


def as_pictures(recorded):
    """Episodes that observe images; vectors with stored successors are read into memory."""
    return [{**episode, "observation": pictures(episode["count"], 8)} for episode in recorded]


def d4rl(folder):
    recorded = as_pictures(walk(5))
    return read_transitions(write_d4rl(folder / "d.h5", recorded, following=True)).observation, sources_first(recorded)


def robomimic(folder):
    recorded = walk(5)
    images = pictures(sources_first([{"observation": each["count"]} for each in recorded]))
    return read_transitions(write_robomimic(folder / "d.h5", recorded, images=True)).observation, images


STORES = [
    compressed_npz,
    stored_npz,
    single_numbers,
    hdf5,
    hdf5_channels_first,
    minari,
    torchrl,
    torchrl_bools,
    lance,
    ogbench,
    d4rl,
    robomimic,
]


def wrong_reads(frames, expected, seed, times=100):
    """Number of slices that are not as in the array; runs in threads and in other processes."""
    rng = np.random.default_rng(seed)
    wrong = 0
    for _ in range(times):
        start, stop = rng.integers(0, len(expected) + 1, 2)
        wrong += not np.array_equal(frames[start:stop], expected[start:stop])
        wrong += not np.array_equal(frames[: len(expected) // 2], expected[: len(expected) // 2])
    return wrong


def report_wrong_reads(queue, stores, seed):
    """Send the wrong reads of every store, or what went wrong instead."""
    try:
        queue.put([wrong_reads(*store, seed) for store in stores])
    except Exception as error:
        queue.put(f"{type(error).__name__}: {error}")
