import dataclasses

import numpy as np
import pytest
import torch
from bisim_theory import read_representation, read_transitions
from pjepa_agent.auxiliary import Auxiliary
from pjepa_agent.collection import frames, replay
from pjepa_agent.collection.replay import OnlineReplay
from pjepa_agent.config.schema import CollectionConfig
from pjepa_agent.envs.counting import CountingDomain
from pjepa_agent.run import train_run
from pjepa_agent.runs.directory import RunDirectory
from pjepa_agent.training import Interrupted

CPU = torch.device("cpu")


@pytest.fixture(autouse=True, params=[False, True], ids=["rings that fit", "rings that grow"])
def _small_blocks(monkeypatch, request):
    monkeypatch.setattr(replay, "BLOCK", 37)  # so that blocks end in the middle of episodes, and of rings
    if request.param:
        monkeypatch.setattr(replay, "expected_frames", lambda data, transitions: 5)
        monkeypatch.setattr(frames, "PIECE", 37)


def online(config, transitions=60, initial=20, steps=1, **objective):
    return dataclasses.replace(
        config,
        collection=CollectionConfig(
            transitions=transitions, online=True, initial_transitions=initial, steps_per_update=steps
        ),
        objective=dataclasses.replace(config.objective, **objective),
    )


def test_collecting_in_pieces_is_collecting_at_once():
    config = CollectionConfig(transitions=90, max_episode_steps=6)
    whole = CountingDomain(config).collect(seed=5)
    policy, start, frames = CountingDomain(config).collector(seed=5), 0, 0
    for count in (1, 30, 2, 57):
        frames -= policy.in_episode  # the frame in the middle of an episode is there twice
        piece = policy.collect(count)
        rows = slice(start, start + count)
        np.testing.assert_array_equal(piece.source + frames, whole.source[rows])
        np.testing.assert_array_equal(piece.successor + frames, whole.successor[rows])
        for name in ("action_value", "reward", "terminated", "truncated", "episode", "auxiliary"):
            np.testing.assert_array_equal(getattr(piece, name), getattr(whole, name)[rows])
        np.testing.assert_array_equal(piece.observation, whole.observation[frames : frames + piece.frames])
        start, frames = start + count, frames + piece.frames
    assert frames == whole.frames


@pytest.mark.parametrize(("update", "steps"), [(1, 1), (20, 1), (21, 1), (50, 1), (333, 1), (40, 7), (2, 200)])
def test_the_buffer_holds_the_latest_transitions(tiny, update, steps):
    config = online(tiny(batch_size=16), steps=steps)
    recent = OnlineReplay(config, CPU)
    for number in range(1, update + 1):
        recent.collect_until(number)
    seen = max(20, update * steps)
    assert recent.transitions == seen
    whole = CountingDomain(CollectionConfig(transitions=seen)).collect(config.seed)
    kept, rows = recent.dataset(), slice(max(seen - 60, 0), None)
    first = whole.source[rows][0]
    np.testing.assert_array_equal(kept.source + first, whole.source[rows])
    np.testing.assert_array_equal(kept.successor + first, whole.successor[rows])
    for name in ("action", "action_value", "reward", "terminated", "truncated", "episode", "auxiliary"):
        np.testing.assert_array_equal(getattr(kept, name), getattr(whole, name)[rows])
    np.testing.assert_array_equal(kept.observation, whole.observation[first:])
    for name, label in kept.labels.items():
        np.testing.assert_array_equal(label, whole.labels[name][first:])
    assert set(kept.source) | set(kept.successor) == set(range(kept.frames))


@pytest.mark.parametrize(("initial", "steps"), [(20, 1), (16, 30)])
def test_what_is_said_before_the_first_update_is_of_the_transitions_until_then(tiny, initial, steps):
    config = online(tiny(batch_size=16), initial=initial, steps=steps)
    recent = OnlineReplay(config, CPU)
    recent.collect_until(1)
    there, said = recent.dataset(), recent.latest
    assert len(said) == len(there) == max(initial, steps)
    for name in ("source", "successor", "action_value", "auxiliary", "observation"):
        np.testing.assert_array_equal(getattr(said, name), getattr(there, name))


def test_batches_are_of_what_is_there(tiny):
    config = online(tiny(batch_size=16))
    recent = OnlineReplay(config, CPU)
    whole = CountingDomain(CollectionConfig(transitions=200)).collect(config.seed)
    for update in (1, 100, 170):
        recent.collect_until(update)
        batch = recent.sample()
        frames, number = whole.observation, batch["number"]
        assert number.min() >= recent.transitions - 60
        assert number.max() < recent.transitions
        np.testing.assert_array_equal(batch["observation"][:, 0], frames[whole.source[number]])
        np.testing.assert_array_equal(batch["observation"][:, 1], frames[whole.successor[number]])
        np.testing.assert_array_equal(batch["auxiliary"][:, 0], whole.auxiliary[number])


@pytest.mark.parametrize("horizon", [1, 2])
@pytest.mark.parametrize("name", ["reward", "q"])
def test_p_of_successors_is_drawn_where_it_is_asked_for_and_kept_of_sources(tiny, horizon, name):
    config = online(tiny(batch_size=16), horizon=horizon, auxiliary=name, auxiliary_of_successors=False)
    alone, all_of_it = OnlineReplay(config, CPU), OnlineReplay(online(config, auxiliary_of_successors=True), CPU)
    for each in (alone, all_of_it):
        each.collect_until(55)
    batch, sources = all_of_it.sample(), alone.sample()
    assert torch.equal(batch["auxiliary"][:, :1], sources["auxiliary"])
    assert torch.equal(batch["auxiliary_known"], torch.cat([torch.ones(16, 1, dtype=torch.bool), batch["present"]], 1))
    whole = CountingDomain(config.collection).collect(config.seed)
    p = Auxiliary(config)(whole.observation, whole.labels).astype(np.float32)
    reached = batch["observation"][:, 1:][batch["present"]].numpy()
    frames = [(whole.observation == image).all((1, 2, 3)).argmax() for image in reached]
    np.testing.assert_array_equal(batch["auxiliary"][:, 1:][batch["present"]], p[frames])
    for column in ("auxiliary", "observation_auxiliary"):
        np.testing.assert_array_equal(getattr(all_of_it.dataset(), column), getattr(alone.dataset(), column))


def test_collecting_up_to_an_update_at_once_is_collecting_for_each_update(tiny):
    config = online(tiny("random", batch_size=16), auxiliary_dim=3)
    slowly, at_once = OnlineReplay(config, CPU), OnlineReplay(config, CPU)
    for update in range(1, 151):
        slowly.collect_until(update)
    at_once.collect_until(150)
    batch, other = slowly.sample(), at_once.sample()
    assert all(torch.equal(value, other[name]) for name, value in batch.items())
    first, second = slowly.dataset(), at_once.dataset()
    np.testing.assert_array_equal(first.auxiliary, second.auxiliary)
    np.testing.assert_array_equal(first.observation, second.observation)


def test_an_interrupted_online_run_ends_like_one_left_alone(tiny, tmp_path):
    config = online(tiny(updates=45, batch_size=8), transitions=30, initial=10)
    config = dataclasses.replace(
        config,
        network=dataclasses.replace(config.network, control_heads=True, decoder=True, q_members=3),
        evaluation=dataclasses.replace(config.evaluation, every=40),
    )
    whole = RunDirectory.create(tmp_path / "whole", config)
    train_run(whole, config, "cpu")
    run = RunDirectory.create(tmp_path / "parts", config)
    asked = iter(range(1000))
    with pytest.raises(Interrupted):
        train_run(run, config, "cpu", should_stop=lambda: next(asked) >= 7)
    assert not run.transitions.exists()
    asked = iter(range(1000))
    with pytest.raises(Interrupted):
        train_run(*RunDirectory.open(run.path), "cpu", should_stop=lambda: next(asked) >= 20)
    train_run(*RunDirectory.open(run.path), "cpu")
    states = [torch.load(each.checkpoint, weights_only=True) for each in (whole, run)]
    first, second = (state["model"] | {"sampler": state["sampler"]} for state in states)
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    data, other = (read_transitions(each.path) for each in (whole, run))
    assert len(data) == 30
    np.testing.assert_array_equal(data.observation[0 : data.frames], other.observation[0 : other.frames])
    np.testing.assert_array_equal(data.source, other.source)
    read_representation(run.representation).check_against(other)
