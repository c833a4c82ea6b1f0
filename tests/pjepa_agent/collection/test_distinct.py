import numpy as np
import torch
from bisim_theory import TransitionDataset
from pjepa_agent.collection.distinct import BalancedDraw, find_distinct
from pjepa_agent.collection.replay import DatasetReplay
from pjepa_agent.objectives.base import encode_sequences
from torch import nn

CPU = torch.device("cpu")


def walk(rows=400, images=5, seed=0):
    """A walk over a few images of which the first is seen most often, each occurrence a frame of its own."""
    rng = np.random.default_rng(seed)
    pictures = rng.integers(0, 256, (images, 6, 6, 3), np.uint8)
    shown = np.minimum(rng.geometric(0.6, rows + 1) - 1, images - 1)
    data = TransitionDataset(
        np.arange(rows), rng.choice([1, 4], rows), np.arange(rows) + 1, observation=pictures[shown],
        action_value=np.eye(2, dtype=np.float32)[rng.integers(2, size=rows)],
        observation_auxiliary=shown.astype(float), observation_auxiliary_known=np.arange(rows + 1) % 7 > 0,
        episode=np.zeros(rows, int),
    )  # fmt: skip
    return data, shown


def test_equal_observations_are_found():
    data, shown = walk()
    distinct = find_distinct(data)
    assert len(distinct.frames) == len(set(shown))
    np.testing.assert_array_equal(shown[distinct.frames][distinct.number], shown)
    assert distinct.few
    assert not find_distinct(walk(rows=3)[0]).few


def test_a_balanced_draw_is_even_over_pairs_and_even_within_each():
    data, shown = walk()
    draw = BalancedDraw(data, find_distinct(data), CPU)
    rows = draw(60_000, torch.Generator().manual_seed(1)).numpy()
    pair = shown[data.source] * 10 + data.action
    pairs, count = np.unique(pair, return_counts=True)
    assert len(draw) == len(pairs)
    drawn = np.bincount(rows, minlength=len(data))
    expected = 60_000 / len(pairs) / count[np.searchsorted(pairs, pair)]
    # Within five standard deviations of a Poisson number, for every single row.
    assert (abs(drawn - expected) < 5 * np.sqrt(expected) + 1).all()


def test_what_is_spread_has_one_row_of_every_pair():
    data, shown = walk()
    draw = BalancedDraw(data, find_distinct(data), CPU)
    rows = draw.spread(len(draw)).numpy()
    found = set(zip(shown[data.source[rows]], data.action[rows], strict=True))
    assert len(found) == len(draw)


def test_observations_that_are_held_once_are_those_of_the_transitions():
    data, shown = walk()
    replay = DatasetReplay(data, 64, 0, CPU, horizon=3, share=True)
    assert len(replay.frames) == len(set(shown))
    plain = DatasetReplay(data, 64, 0, CPU, horizon=3)
    batch, expected = replay.sample(), plain.sample()
    content = batch.pop("content")
    assert set(batch.keys()) == set(expected.keys())
    for name, value in batch.items():
        assert torch.equal(value, expected[name]), name
    assert torch.equal(replay.frames.images_of(content), batch["observation"])
    assert len(replay.observations(100)) == len(set(shown))


def test_balanced_batches_resume_where_they_stopped():
    data, _ = walk()
    replay = DatasetReplay(data, 32, 0, CPU, sampling="balanced", share=True)
    replay.sample()
    state = replay.generator.get_state()
    expected = replay.sample()
    again = DatasetReplay(data, 32, 5, CPU, sampling="balanced", share=True)
    again.generator.set_state(state)
    batch = again.sample()
    assert all(torch.equal(batch[name], value) for name, value in expected.items())


def test_equal_observations_are_encoded_once_and_have_the_same_embedding_and_gradient():
    data, _ = walk()
    batch = DatasetReplay(data, 64, 0, CPU, horizon=2, share=True).sample()
    counted = []
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(108, 4, dtype=torch.float64))
    encoder.register_forward_pre_hook(lambda module, inputs: counted.append(len(inputs[0])))
    observation = batch["observation"].double()
    gradients = []
    for content in (batch["content"], None):
        encoder.zero_grad()
        embedding = encode_sequences(encoder, observation, True, content)
        embedding.square().sum().backward()
        gradients.append((embedding.detach(), encoder[1].weight.grad.clone()))
    assert counted == [len(batch["content"].unique()), 3 * 64]
    for once, often in zip(*gradients, strict=True):
        torch.testing.assert_close(once, often)


def test_one_observation_alone_is_encoded_as_often_as_it_occurs():
    observation = torch.ones(3, 2, 1, dtype=torch.float64)
    encoder = nn.BatchNorm1d(1, dtype=torch.float64).train()
    embedding = encode_sequences(encoder, observation, True, torch.zeros(3, 2, dtype=torch.long))
    assert embedding.shape == (2, 3, 1)
