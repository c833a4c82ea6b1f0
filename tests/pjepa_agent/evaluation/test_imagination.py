import numpy as np
import pytest
import torch
from bisim_theory import TransitionDataset
from pjepa_agent.evaluation.imagination import imagine_counts, imagine_transitions
from support.planned import ExactCounting, folded_embeddings

COUNTS = np.repeat(np.arange(9), 20)


class Counting(ExactCounting):
    """The exact dynamics, or some that take small actions for none."""

    device, training = torch.device("cpu"), False

    def __init__(self, table, threshold=0.0):
        super().__init__(table)
        self.threshold = threshold

    def eval(self):
        return self

    def train(self, mode):
        return self

    def given(self, action):
        return action

    def rollout(self, embedding, actions):
        reached = []
        for action in actions.unbind(1):
            moved = super().rollout(embedding, action[:, None])[:, 0]
            embedding = torch.where(action.abs() < self.threshold, embedding, moved)
            reached.append(embedding)
        return torch.stack(reached, 1)


def imagine(model):
    embedding = model.table[COUNTS].numpy()
    return imagine_counts(model, embedding, COUNTS, embedding, COUNTS, 0)


def test_exact_dynamics_imagine_every_count():
    found = imagine(Counting(folded_embeddings()))
    for name, magnitude in (("uniform_actions", 0.5), ("largest_actions", 1)):
        assert found[name]["accuracy"] == [1] * 8
        assert found[name]["error"] == pytest.approx([0] * 8, abs=1e-6)
        assert found[name]["magnitude"] == pytest.approx(magnitude, abs=0.03)
    assert [row["accuracy"] for row in found["one_step_by_magnitude"]] == [1, 1, 1, 1]


def test_errors_compound_and_belong_to_small_actions_where_those_do_nothing():
    found = imagine(Counting(folded_embeddings(), threshold=0.25))
    accuracy, error = found["uniform_actions"]["accuracy"], found["uniform_actions"]["error"]
    assert 0.7 < accuracy[0] < 0.85  # a quarter of the actions is too small, and some change nothing at 0 and 8
    assert accuracy[3] < accuracy[0] - 0.2
    assert error[3] > error[0] > 0
    assert found["largest_actions"]["accuracy"] == [1] * 8
    small, still_small, *rest = found["one_step_by_magnitude"]
    assert small["accuracy"] <= 0.25
    assert still_small["accuracy"] <= 0.25
    assert [row["accuracy"] for row in rest] == [1, 1]


def walks(lengths):
    """Episodes of the counting world on embeddings of its counts, and these."""
    rng = np.random.default_rng(0)
    source, successor, value, counts = [], [], [], []
    for length in lengths:
        counts.append(int(rng.integers(9)))
        for _ in range(length):
            action = rng.uniform(-1, 1)
            source.append(len(counts) - 1)
            counts.append(min(max(counts[-1] + (1 if action >= 0 else -1), 0), 8))
            successor.append(len(counts) - 1)
            value.append([action])
    value = np.array(value, np.float32)
    data = TransitionDataset(
        source, (value[:, 0] >= 0).astype(int), successor, auxiliary=np.zeros(len(source)), action_value=value,
        episode=np.repeat(np.arange(len(lengths)), lengths),
    )  # fmt: skip
    return data, np.array(counts)


def test_imagination_follows_the_actions_of_episodes_and_none_beyond_their_ends():
    data, counts = walks([3, 1, 6, 2])
    table = folded_embeddings()
    found = imagine_transitions(Counting(table), data, table[counts].numpy(), counts)
    assert found["number"] == [12, 8, 5, 3, 2, 1, 0, 0]
    assert found["accuracy"] == [1] * 6 + [None] * 2
    assert found["error"][:5] == pytest.approx([0] * 5, abs=1e-6)
    assert found["error"][6:] == [None] * 2
    assert 0.3 < found["magnitude"] < 0.7


def test_without_labels_the_error_alone_is_measured():
    data, counts = walks([8] * 6)
    table = folded_embeddings()
    found = imagine_transitions(Counting(table, threshold=0.5), data, table[counts].numpy(), None)
    assert "accuracy" not in found
    assert 0 < found["error"][0] < found["error"][5]
