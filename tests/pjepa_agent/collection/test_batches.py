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
        data = {name: rows[name].numpy() for name in ("source", "successor", "action")}
    else:
        whole = collect_dataset(config)
        sampler = DatasetReplay(whole, 64, 0, CPU, 3)
        data = {"source": whole.source, "successor": whole.successor, "action": whole.action_value}
    by_source = {int(source): row for row, source in enumerate(data["source"])}
    batch = sampler.sample()
    lengths = set()
    for row in range(64):
        frame, present = int(batch["successor"][row]), True
        for step in range(2):
            following = by_source.get(frame) if present else None
            present = following is not None
            assert bool(batch["later_present"][row, step]) == present
            if present:
                frame = int(data["successor"][following])
                np.testing.assert_array_equal(batch["later_action"][row, step], data["action"][following])
            image = sampler.frames.images[frame % len(sampler.frames)]
            assert torch.equal(batch["later_image"][row, step], image)
        lengths.add(int(batch["later_present"][row].sum()))
    assert lengths == {0, 1, 2}


def start(path, config, **options):
    run = RunDirectory.create(path, config)
    return run, train_run(run, config, "cpu", **options)


def test_batches_are_the_transitions_of_the_data(tiny, tmp_path):
    run, _ = start(tmp_path / "run", tiny(updates=1))
    data = read_transitions(run.path)
    batch = DatasetReplay(data, 64, 0, torch.device("cpu")).sample()
    assert batch["source_image"].shape == (64, 64, 64, 3)
    frames = data.observation[0 : data.frames]
    np.testing.assert_array_equal(batch["source_image"].numpy(), frames[batch["source"]])
    np.testing.assert_array_equal(batch["successor_image"].numpy(), frames[batch["successor"]])
    rows = {(s, t): (a, p) for s, t, a, p in zip(data.source, data.successor, data.action_value, data.auxiliary)}  # noqa: B905
    for s, t, a, p in zip(*(batch[n].numpy() for n in ("source", "successor", "action", "auxiliary")), strict=True):
        assert rows[s, t] == (a, p)
