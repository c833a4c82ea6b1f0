"""Batches of both replay buffers: rows of the data, and what follows them in the episode."""

import dataclasses

import numpy as np
import pytest
import torch
from bisim_theory import read_transitions
from pjepa_agent.collection.dataset import collect_dataset
from pjepa_agent.collection.replay import DatasetReplay, OnlineReplay
from pjepa_agent.config.schema import CollectionConfig
from pjepa_agent.run import train_run
from pjepa_agent.runs.directory import RunDirectory
from support.configs import with_sections

CPU = torch.device("cpu")


@pytest.mark.parametrize("count", [1, 6, 41, 600])
def test_observations_are_spread_over_the_transitions(tiny, count):
    data = collect_dataset(tiny())
    images = DatasetReplay(data, 16, 0, CPU).observations(count)
    rows = np.arange((count + 1) // 2) * len(data) // ((count + 1) // 2)
    frames = np.stack([data.source[rows], data.successor[rows]], 1).ravel()[:count]
    np.testing.assert_array_equal(images, data.observation[frames])


@pytest.mark.parametrize("online", [False, True])
def test_what_follows_is_the_rest_of_the_episode(tiny, online):
    config = with_sections(tiny(batch_size=64), objective={"horizon": 3})
    if online:
        collection = CollectionConfig(transitions=70, initial_transitions=70, online=True)
        config = dataclasses.replace(config, collection=collection)
        sampler = OnlineReplay(config, CPU)
        sampler.collect_until(95)  # the ring has begun to be written over
        rows = sampler.buffer[:]
        names = ("source", "successor", "action", "code", "reward", "terminated")
        data = {name: rows[name].numpy() for name in names}
    else:
        whole = collect_dataset(config)
        sampler = DatasetReplay(whole, 64, 0, CPU, 3)
        data = {name: getattr(whole, name) for name in ("source", "successor", "reward", "terminated")}
        data |= {"action": whole.action_value, "code": whole.action}
    by_source = {int(source): row for row, source in enumerate(data["source"])}
    batch = sampler.sample()
    lengths = set()
    for row in range(64):
        frame, present = int(batch["source"][row]), True
        assert torch.equal(batch["observation"][row, 0], sampler.frames.images[frame % len(sampler.frames)])
        for step in range(3):
            following = by_source.get(frame) if present else None
            present = following is not None
            assert bool(batch["present"][row, step]) == present
            if present:
                frame = int(data["successor"][following])
                for name in ("action", "code", "reward", "terminated"):
                    np.testing.assert_array_equal(batch[name][row, step], data[name][following])
            image = sampler.frames.images[frame % len(sampler.frames)]
            assert torch.equal(batch["observation"][row, step + 1], image)
        lengths.add(int(batch["present"][row].sum()))
    assert lengths == {1, 2, 3}


def start(path, config, **options):
    run = RunDirectory.create(path, config)
    return run, train_run(run, config, "cpu", **options)


def test_batches_are_the_transitions_of_the_data(tiny, tmp_path):
    run, _ = start(tmp_path / "run", tiny(updates=1))
    data = read_transitions(run.path)
    batch = DatasetReplay(data, 64, 0, torch.device("cpu")).sample()
    assert batch["observation"].shape == (64, 2, 64, 64, 3)
    frames = data.observation[0 : data.frames]
    np.testing.assert_array_equal(batch["observation"][:, 0], frames[batch["source"]])
    np.testing.assert_array_equal(batch["observation"][:, 1], frames[batch["successor"]])
    rows = {(s, t): (a, p) for s, t, a, p in zip(data.source, data.successor, data.action_value, data.auxiliary)}  # noqa: B905
    columns = (batch[name].numpy() for name in ("source", "successor", "action", "auxiliary"))
    for s, t, a, p in zip(*columns, strict=True):
        assert rows[s, t] == (a, p)
