"""The study of the recipe for other worlds."""

import dataclasses

import numpy as np
import pytest
from bisim_theory import TransitionDataset, empirical_bisimulation
from pjepa_agent.cli.train import configure, make_parser
from pjepa_agent.config.presets import make_config

from benchmarks.studies.recipes import ABLATIONS, VARIANTS, equal_content, least, unseen_share
from benchmarks.studies.study import A_THOUSAND_UPDATES

RECIPE = make_config(dataset="any")
SECTIONS = ("network", "optimization", "compute", "ablation", "evaluation")


def of(options):
    return configure(make_parser().parse_args(options))


@pytest.mark.parametrize("name", VARIANTS)
def test_every_world_has_the_recipe_as_it_is(name):
    config = of(VARIANTS[name])
    assert all(getattr(config, section) == getattr(RECIPE, section) for section in SECTIONS)
    objective = dataclasses.replace(config.objective, auxiliary=RECIPE.objective.auxiliary)
    assert objective == RECIPE.objective


@pytest.mark.parametrize("name", ABLATIONS)
def test_a_part_that_is_left_out_is_as_it_was_in_the_counting_world(name):
    config, counting = of(ABLATIONS[name]), of(A_THOUSAND_UPDATES)
    changed = [
        (section, field.name)
        for section in (*SECTIONS, "objective")
        for field in dataclasses.fields(getattr(config, section))
        if field.name not in ("auxiliary", "transitions")
        and getattr(getattr(config, section), field.name) != getattr(getattr(RECIPE, section), field.name)
    ]
    ((section, field),) = changed
    assert getattr(getattr(config, section), field) == getattr(getattr(counting, section), field)


def walk(frames, actions):
    number = np.arange(len(actions))
    return TransitionDataset(number, np.array(actions), number + 1, observation=np.array(frames, np.uint8)[:, None])


def test_what_the_training_has_not_seen_is_told_by_content():
    training = walk([5, 6, 5, 7], [0, 1, 1])
    assert unseen_share(training, walk([5, 6, 6, 5], [1, 1, 0])) == pytest.approx(1 / 3)
    assert unseen_share(training, training) == 0


class HeldOut:
    """Held-out transitions that are told apart by occurrence."""

    identity = "occurrence"

    def __init__(self, data):
        self.data, self.relation = data, empirical_bisimulation(data)


def test_only_distinguished_pairs_of_equal_content_are_counted():
    data = dataclasses.replace(walk([5, 6, 5, 6, 7, 5], [0, 1, 0, 1, 1]), auxiliary=np.array([0.0, 0, 0, 0, 1]))
    held_out = HeldOut(data)
    content = data.observation[: data.frames, 0]
    ids = held_out.relation.observations
    pairs = [(x, y) for x in ids for y in ids if x < y and content[x] == content[y] and held_out.relation.level(x, y)]
    assert equal_content(held_out) == len(pairs) > 0
    held_out.identity = "content"
    assert equal_content(held_out) == 0


def test_without_a_level_of_many_pairs_there_is_no_least_share():
    assert least([]) is None
