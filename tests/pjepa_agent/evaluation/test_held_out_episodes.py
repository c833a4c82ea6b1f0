"""Measures on held-out episodes of other worlds, which need no label."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from bisim_theory import TheoremMonitor, Tolerance, auxiliary_values
from bisim_theory.data.auxiliary import with_auxiliary
from bisim_theory.monitor import measures
from bisim_theory.theorem.check import check_theorem
from bisim_theory.theorem.explained import FEW_PAIRS, ExplainedShare
from pjepa_agent.config.presets import make_config
from pjepa_agent.envs.base import Spec
from pjepa_agent.envs.splits import with_action_values
from pjepa_agent.envs.terminals import absorb_terminals
from pjepa_agent.evaluation.held_out_episodes import HeldOutEpisodes
from pjepa_agent.evaluation.theorem import PAIRS, represent
from pjepa_agent.model import PJEPA
from pjepa_agent.runs import metrics
from support.corridor import PLACES, walks

SMALL = ["network.latent_dim=8", "network.hidden_dim=16", "optimization.autocast=false", "evaluation.transitions=300",
    "objective.auxiliary_dim=0",
]  # fmt: skip


def held_out(absorb=True, labels=False, label="", noise=False):
    data = with_action_values(walks(vector=True))
    data = absorb_terminals(data, 0) if absorb else data
    if noise:  # no observation repeats, so each is one of its own
        data = dataclasses.replace(data, observation=data.observation + np.arange(data.frames)[:, None] / 1e4)
    data = with_auxiliary(data, auxiliary_values(data, "terminated"), "terminated")
    if not labels:
        data = dataclasses.replace(data, labels={}, size=data.frames)
    config = make_config(updates=2, auxiliary="terminated", dataset="walks.npz").override(
        [*SMALL, *([f"evaluation.label={label}"] if label else [])]
    )
    data = dataclasses.replace(data, observation=data.observation.astype(np.float32))
    return HeldOutEpisodes(config, Spec((PLACES,), "float32", 2), data)


def model_of(held_out):
    torch.manual_seed(0)
    return PJEPA(held_out.config, held_out.spec)


def test_classes_of_an_equivalence_serve_as_labels():
    found = held_out()
    assert found.identity == "content"
    assert found.label_name == "class of B_D*"
    observations = found.relation.observations
    assert len(observations) == PLACES
    np.testing.assert_array_equal(found.labels[observations], found.relation.classes)
    assert len(set(found.labels[observations].tolist())) == PLACES
    np.testing.assert_array_equal(found.labels, found.labels[found.ids])  # of every frame, the label of its content
    assert found.measure_all(model_of(found))["label"] == "class of B_D*"
    embedding, labels = found.embed(model_of(found))
    assert (len(embedding), sorted(labels)) == (PLACES, list(range(PLACES)))


def test_a_label_comes_before_classes_and_without_an_equivalence_there_is_none():
    assert held_out(labels=True).label_name == "place"
    alone = held_out(absorb=False, noise=True)
    assert alone.relation.classes is None
    assert alone.label_name is alone.labels is None
    row = alone.measure(model_of(alone))
    left_out = ("eval/nearest_centroid_accuracy", "eval/within_across_ratio", "theorem/separation_1")
    assert all(math.isnan(row[name]) for name in (*left_out, "theorem/certified_share"))
    assert row["theorem/collapsed_pairs"] >= 0


@pytest.mark.parametrize("noise", [False, True])
def test_measures_are_those_of_the_monitor(noise):
    found = held_out(labels=True, noise=noise)
    model = model_of(found)
    row = found.measure(model)
    monitor = TheoremMonitor(found.data, tolerance=Tolerance(sample=PAIRS), levels=5)
    measured = monitor(*model.as_arrays()).numbers
    shared = measured.keys() & row.keys()
    assert len(shared) > 10
    if noise:
        assert "theorem/separation_1" in shared
    for name in shared:
        assert row[name] == pytest.approx(measured[name], rel=1e-3, abs=1e-6), name
    assert {name for name, value in row.items() if not math.isnan(value)} - shared == {
        "eval/spread", "eval/auxiliary_loss", "eval/transition_error", "theorem/certified_share",
    }  # fmt: skip


def test_levels_of_few_pairs_are_counted_that_the_least_share_leaves_out():
    """A model that explains the level of many pairs and none of those of few, which `bisim-check` asks for too."""
    first, few = held_out(), FEW_PAIRS
    relation, model = first.relation, model_of(first)
    check = check_theorem(relation, represent(first.data, model), Tolerance(sample=PAIRS), None)
    whole = ExplainedShare(1.0, 1.0, few, 0, False, 0, False)
    levels = [dataclasses.replace(level, explained=whole) for level in check.levels[:3]]
    all_but_one, none = (ExplainedShare(0.5, 0.5, 2, left, True, 0, False) for left in (1, 2))
    for explained, left in ((all_but_one, 0), (none, 1)):
        levels[1] = dataclasses.replace(levels[1], explained=explained)
        numbers = measures.theorem_numbers(dataclasses.replace(check, levels=levels), 5)
        assert (numbers[measures.LEAST_EXPLAINED], numbers[measures.UNEXPLAINED]) == (1.0, left)


def test_columns_have_one_name_in_both_packages():
    assert (metrics.ACCURACY, metrics.LEAST_EXPLAINED) == (measures.ACCURACY, measures.LEAST_EXPLAINED)
