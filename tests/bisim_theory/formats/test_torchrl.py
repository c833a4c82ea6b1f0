"""Storages that TorchRL and TensorDict wrote."""

import os

import numpy as np
import pytest
from bisim_theory import DatasetError, analyse, read_transitions, to_json, to_text
from support.checks import check, frames_of
from support.written_datasets import record, to_tensordict, write_torchrl


def test_reads_only_what_is_filled(tmp_path):
    recorded = record(3)
    check(read_transitions(write_torchrl(tmp_path / "d", recorded, capacity=100)), recorded)
    check(read_transitions(tmp_path / "d" / "storage"), recorded)
    with pytest.raises(DatasetError, match=r"never written.*buffer\.dumps"):
        read_transitions(write_torchrl(tmp_path / "e", recorded, capacity=100, dump=False))
    check(read_transitions(write_torchrl(tmp_path / "f", recorded, dump=False)), recorded)


def test_one_hot_actions_and_plain_memmaps(tmp_path):
    import torch

    recorded = record(3)
    data = to_tensordict(recorded, action=lambda value: torch.nn.functional.one_hot(value, 2).bool())
    data.memmap(tmp_path / "d")
    check(read_transitions(tmp_path / "d"), recorded)


def test_interleaved_trajectories_are_followed_by_their_ids(tmp_path):
    recorded = record(4)
    data = to_tensordict(recorded)
    order = np.argsort(np.concatenate([np.arange(len(each["action"])) for each in recorded]), kind="stable")
    data[order].contiguous().memmap(tmp_path / "d")
    found = read_transitions(tmp_path / "d")
    assert found.frames == sum(len(each["observation"]) for each in recorded)
    np.testing.assert_array_equal(frames_of(found, found.source), data["pixels"].numpy()[order])
    np.testing.assert_array_equal(frames_of(found, found.successor), data["next", "pixels"].numpy()[order])


def test_a_reset_that_looks_like_the_last_frame_is_another_occurrence(tmp_path):
    recorded = record(3)
    for episode in recorded:
        episode["observation"][[0, -1]] = 0
    check(read_transitions(write_torchrl(tmp_path / "d", recorded)), recorded)
    data = to_tensordict(recorded)
    del data["collector"]
    data.memmap(tmp_path / "without")
    check(read_transitions(tmp_path / "without"), recorded)


def test_a_next_frame_that_does_not_come_next_is_an_occurrence_of_its_own(tmp_path):
    data = to_tensordict(record(1, steps=4))
    pixels = data["next", "pixels"]
    pixels[1, 0, 0, 0] ^= 1
    data.memmap(tmp_path / "d")
    found = read_transitions(tmp_path / "d")
    assert found.successor.tolist()[:3] == [1, len(found), 3]
    np.testing.assert_array_equal(frames_of(found, found.successor), pixels.numpy())


def test_unpickles_nothing(tmp_path):
    class Payload:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "executed"),))

    import pickle

    recorded = record(2)
    folder = write_torchrl(tmp_path / "d", recorded)
    for place in (folder, folder / "storage", folder / "storage" / "next"):
        for name in ("other.pickle", "prefetch.pkl"):
            (place / name).write_bytes(pickle.dumps(Payload()))
    check(read_transitions(folder), recorded)
    assert not (tmp_path / "executed").exists()


def test_batches_of_batches_are_refused(tmp_path):
    data = to_tensordict(record(1, steps=4))
    data[: len(data) // 2 * 2].reshape(2, -1).memmap(tmp_path / "d")
    with pytest.raises(DatasetError, match=r"batch shape \(2, .*flatten it"):
        read_transitions(tmp_path / "d")


def corridor(length=10):
    """Steps of a corridor that is walked once, with reward on reaching the last cell but one."""
    import torch
    from tensordict import TensorDict

    cell = torch.arange(length)
    end = (cell == length - 1)[:, None]
    after = {
        "done": end,
        "terminated": end,
        "truncated": torch.zeros_like(end),
        "reward": (cell[:, None] == length - 2).float(),
    }
    return TensorDict(
        {
            "observation": cell[:, None].float(),
            "action": torch.zeros(length, dtype=torch.long),
            "collector": {"traj_ids": torch.zeros(length, dtype=torch.long)},
            "next": {"observation": cell[:, None].float() + 1, **after},
        },
        [length],
    )


def dump(folder, steps, capacity, writer=None):
    """A dumped replay buffer to which steps were added one by one."""
    from torchrl.data import LazyMemmapStorage, TensorDictReplayBuffer

    scratch = folder.with_name(f"{folder.name}.scratch")
    more = {} if writer is None else {"writer": writer}
    buffer = TensorDictReplayBuffer(storage=LazyMemmapStorage(capacity, scratch_dir=scratch), batch_size=2, **more)
    for step in steps:
        buffer.extend(step[None])
    buffer.dumps(folder)
    return folder


def assert_same(found, expected):
    """Check that two datasets are equal in every array."""
    for name in ("source", "action", "successor", "reward", "terminated", "truncated", "episode"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), name)
    np.testing.assert_array_equal(np.asarray(found.observation), np.asarray(expected.observation))


@pytest.mark.parametrize("with_ids", [True, False])
def test_a_ring_that_went_round_is_read_in_order_of_time(tmp_path, with_ids):
    steps = corridor()
    if not with_ids:
        del steps["collector"]
    in_order = read_transitions(dump(tmp_path / "in order", steps[4:], 6))
    round_once = read_transitions(dump(tmp_path / "round", steps, 6))
    assert_same(round_once, in_order)
    assert round_once.metadata == in_order.metadata
    found, expected = (to_json(analyse(data, auxiliary="reward")) for data in (round_once, in_order))
    assert found == expected
    assert found["distinguished_pairs_per_level"] == [5, 4, 3, 2, 1]
    np.testing.assert_array_equal(np.asarray(round_once.observation)[:, 0], np.arange(4, 11))
    assert round_once.successor.tolist() == [1, 2, 3, 4, 5, 6]


def test_a_ring_of_frames_that_look_alike_begins_at_the_oldest_and_ends_at_the_newest(tmp_path):
    steps = corridor()
    steps["observation"][:] = 0
    steps["next", "observation"][:] = 0
    steps["next", "done"][:] = False
    found = read_transitions(dump(tmp_path / "round", steps, 6))
    assert found.successor.tolist() == [1, 2, 3, 4, 5, 6]
    assert found.frames == 7


def test_trajectories_that_a_ring_cuts_are_followed_within_themselves(tmp_path):
    recorded = record(4)
    data = to_tensordict(recorded)
    order = np.argsort(np.concatenate([np.arange(len(each["action"])) for each in recorded]), kind="stable")
    steps = data[order].contiguous()
    kept = len(steps) - 5
    assert_same(
        read_transitions(dump(tmp_path / "d", steps, kept)), read_transitions(dump(tmp_path / "e", steps[5:], kept))
    )


def test_rows_that_a_writer_chose_follow_nothing(tmp_path):
    from torchrl.data import TensorDictMaxValueWriter

    steps = corridor()
    steps["score"] = steps["observation"].clone()
    steps["next", "score"] = steps["score"].clone()
    writer = TensorDictMaxValueWriter(rank_key=("next", "score"))
    found = read_transitions(dump(tmp_path / "best", steps, 6, writer))
    assert not set(found.source) & set(found.successor)
    np.testing.assert_array_equal(
        np.asarray(found.observation)[found.successor], np.asarray(found.observation)[found.source] + 1
    )
    assert "its writer kept the best rows" in found.metadata["convention"]


def test_a_row_that_a_reset_leads_to_follows_nothing(tmp_path):
    steps = corridor()
    del steps["collector"]
    steps["is_init"] = steps["observation"] == 3
    steps.memmap(tmp_path / "d")
    found = read_transitions(tmp_path / "d")
    assert found.successor[2] == 10
    assert found.successor[3] == 4
    assert "as they were stored, since no writer says which is the oldest" in found.metadata["convention"]
    assert found.episode.tolist() == [0] * 3 + [1] * 7


@pytest.mark.parametrize("n_steps", [1, 3])
def test_steps_that_multi_step_summed_are_refused(tmp_path, n_steps):
    from torchrl.data import MultiStep

    steps = MultiStep(gamma=0.9, n_steps=n_steps)(corridor()[None].refine_names(None, "time"))
    steps = steps.reshape(-1).contiguous()
    steps.memmap(tmp_path / "d")
    if n_steps == 1:
        assert_same(read_transitions(tmp_path / "d"), read_transitions(dump(tmp_path / "e", corridor(), 10)))
        return
    with pytest.raises(DatasetError, match=r"steps_to_next_obs: holds 3, so rows are n-step .* before MultiStep"):
        read_transitions(tmp_path / "d")
    steps.exclude("steps_to_next_obs").memmap(tmp_path / "unknown")
    with pytest.raises(DatasetError, match="so MultiStep made its rows, and no steps_to_next_obs"):
        read_transitions(tmp_path / "unknown")


def test_padding_is_left_out_and_said(tmp_path):
    from torchrl.collectors.utils import split_trajectories

    recorded = record(4)
    recorded[1] = {name: values[: 4 if name in ("observation", "count") else 3] for name, values in recorded[1].items()}
    recorded[1]["truncated"][-1] = True
    steps = to_tensordict(recorded)
    padded = split_trajectories(steps, trajectory_key=("collector", "traj_ids"))
    rows = padded.numel()
    assert rows > len(steps)
    padded.reshape(-1).contiguous().memmap(tmp_path / "d")
    found = read_transitions(tmp_path / "d")
    check(found, recorded)
    padding = f"{rows - len(steps)} rows that collector/mask calls padding"
    assert found.metadata["left_out"] == [padding]
    assert f"Left out: {padding}\n" in to_text(analyse(found, auxiliary="reward"))
    padded["collector", "mask"][:] = False
    padded.reshape(-1).contiguous().memmap(tmp_path / "none")
    with pytest.raises(DatasetError, match="collector/mask: calls every row padding"):
        read_transitions(tmp_path / "none")


def test_of_several_observations_one_is_chosen_and_the_others_are_said(tmp_path):
    recorded = record(3)
    steps = to_tensordict(recorded)
    steps["observation"] = steps["count"].double()
    steps["next", "observation"] = steps["next", "count"].double()
    steps.memmap(tmp_path / "d")
    found = read_transitions(tmp_path / "d")
    check(found, recorded)
    assert found.metadata["left_out"] == [
        "observation, as the observation is pixels; it is the label observation_label "
        "(--observation observation takes it)"
    ]
    np.testing.assert_array_equal(found.labels["observation_label"], found.labels["count"])
    numbers = read_transitions(tmp_path / "d", observation="observation")
    np.testing.assert_array_equal(np.asarray(numbers.observation)[:, 0][numbers.source], steps["count"][:, 0])
    assert numbers.metadata["left_out"] == ["pixels, as the observation is observation (--observation pixels takes it)"]
    for key in ("reward", "done", "action", "nothing"):
        with pytest.raises(DatasetError, match=f"--observation {key}: is none of its observations"):
            read_transitions(tmp_path / "d", observation=key)
