"""The study of what auxiliary functions protect and what encoders keep."""

import dataclasses

import numpy as np
import pytest
from pjepa_agent.cli.train import configure, make_parser
from pjepa_agent.config.presets import LAPTOP
from pjepa_agent.envs.counting import CountingDomain
from pjepa_agent.run import prepare, train_run
from pjepa_agent.runs.directory import RunDirectory
from support.small import SMALL_OPTIONS

from benchmarks.studies import auxiliaries, promise
from benchmarks.studies.promise_figure import alternative, draw
from benchmarks.studies.promise_tables import kept_table, rows_of, unprotected_table
from benchmarks.studies.study import A_THOUSAND_UPDATES, ONE_FROZEN_STEP, settings

FUNCTIONS = [auxiliaries.is_empty, auxiliaries.at_least_five, auxiliaries.parity, auxiliaries.count_mod_3,
             auxiliaries.shape, auxiliaries.reward_and_shape, auxiliaries.colour, auxiliaries.constant]  # fmt: skip


RECORDED = [*A_THOUSAND_UPDATES, *ONE_FROZEN_STEP]
"""Options with which the default is as it was when the runs were recorded."""


def of(options):
    return configure(make_parser().parse_args(options))


@pytest.mark.parametrize("name", promise.OF_A_LABEL)
def test_every_auxiliary_is_trained_as_the_default_was(name):
    config = of(promise.VARIANTS[name])
    assert config == of(["--auxiliary", config.objective.auxiliary, *RECORDED])


def test_the_counting_world_as_if_it_were_anybodys_is_trained_as_the_default_was():
    config, recorded = of(promise.VARIANTS[promise.TERMINATED]), of(RECORDED)
    assert not config.counting
    for section in ("network", "optimization", "compute", "ablation"):
        assert getattr(config, section) == getattr(recorded, section)
    assert dataclasses.replace(config.objective, auxiliary="reward") == recorded.objective
    for name in ("transitions", "max_episode_steps", "action_repeat"):
        assert getattr(config.collection, name) == getattr(LAPTOP.collection, name)


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda each: each.__name__)
def test_equal_images_have_one_value(function):
    """An image without objects is black, whatever shape and colour were drawn."""
    images, labels = CountingDomain(LAPTOP.collection).balanced_observations(40, 0)
    values = np.asarray(function(images, labels), np.float64).reshape(len(images), -1)
    assert len(np.unique(values[labels["count"] == 0], axis=0)) == 1
    assert np.isfinite(values).all()


def test_colours_are_split_where_pairs_of_colours_are():
    images, labels = CountingDomain(LAPTOP.collection).balanced_observations(40, 0)
    seen = labels["count"] > 0
    values = auxiliaries.colour(images, labels)[seen]
    look = promise.kinds_of(labels).looks["colour"][seen]
    assert len(np.unique(values, axis=0)) == len(np.unique(look)) == 8
    assert len(np.unique(np.column_stack([values, look]), axis=0)) == 8


def test_the_share_of_p_that_is_learnt():
    value = np.array([0.0, 1, 2, 3])
    assert promise.learnt(value, value) == 1
    assert promise.learnt(np.full(4, 1.5), value) == 0
    assert promise.learnt(value, np.ones(4)) is None


def measures(learnt, protected, free, alike=("positions 3",)):
    kinds = {
        "count 3/4": [1, 0.5, 1, 40, protected, 0.55],
        "count 2/3": [2, 0.25, 2, 30, protected, 0.45],
        "shape 3": [0, 0.0, 0, 20, free, 0.5],
        "hidden look 0": [2, 0.1, None, 9, 0.0, 0.0],
        "positions 3": [0, 0.0, None, 9, 0.5, 0.5],
    }
    return {
        "learnt": learnt,
        "explained": [[100, 0.99], [50, 0.87], [3, 0.0]],
        "embeddings": [5, False],
        "embeddings_by_label": [9, True],
        "alike": list(alike),
        "kinds": kinds,
    }


FOUND = {
    "count=4": [measures(0.999, 0.995, 0.52), measures(0.998, 0.985, 0.995)],
    "random": [measures(0.6, None, None)],
}


def test_tables_hold_what_is_protected_against_what_is_not():
    kept = [row.split(" | ") for row in kept_table(FOUND).splitlines()]
    columns = dict(zip(kept[0], kept[2], strict=True))
    assert columns["kinds protected"] == "2 of 3"
    assert columns["levels"] == "1 to 2"
    assert columns["separation"] == "0.990 (0.985 to 0.995)"
    assert columns["at 0.99 or more"] == "2 of 4"
    assert columns["embeddings needed"] == "at least 5"
    assert columns["if equal labels are one"] == "9"
    assert columns["levels explained"] == "1"
    assert columns["of their kinds, at 0.99 or more"] == "1 of 2"
    assert columns["explained, least level |"] == "0.870 |"
    assert dict(zip(kept[0], kept[3], strict=True))["levels explained"] == "0"  # p was not learnt
    other = [row.split(" | ") for row in unprotected_table(FOUND).splitlines()]
    row = dict(zip(other[0], other[2], strict=True))
    assert row["pairs that differ in"] == "shape"
    assert (row["merged"], row["between"], row["kept for free"]) == ("50%", "0%", "50%")


def test_pairs_that_separations_are_measured_against_are_no_rows():
    assert "positions" not in {row.kind.group for row in rows_of(FOUND["count=4"][0])}


def test_the_figure_is_said_in_words(tmp_path):
    draw(FOUND, tmp_path / "promise.png")
    assert (tmp_path / "promise.png").stat().st_size > 10_000
    said = alternative(FOUND)
    assert (
        "2 of 4 protected kinds lie at 0.99 or more, the lowest at 0.985; of levels that are explained, 1 of 2." in said
    )
    assert "Of 2 that nothing protects, 1 lie at 0.6 or less and 1 at 0.99 or more" in said


@pytest.mark.slow
@pytest.mark.parametrize("name", ["shape", promise.TERMINATED])
def test_a_finished_run_is_measured(tmp_path, name):
    """A shape is protected at level 1 wherever it is seen; what terminates is no function of an image."""
    small = [*SMALL_OPTIONS, *settings("collection.transitions=600", "evaluation.transitions=300")]
    config = prepare(of([*promise.VARIANTS[name], *small, "--updates", "2"]))
    run = RunDirectory.create(tmp_path / "run", config)
    train_run(run, config, "cpu")
    found = promise.measure(tmp_path / "run")
    rows = {row.kind.name: row for row in rows_of(found)}
    if name == promise.TERMINATED:
        assert found["embeddings_by_label"] is None
        assert not {"positions 3", "positions 5"} <= set(found["alike"])
    else:
        assert {row.level for row in rows.values() if row.kind.group == "shape"} == {1}
        assert {row.level for row in rows.values() if row.kind.group == "colour"} == {0}
        assert found["embeddings_by_label"][0] >= 5
        assert all(0 <= row.separation <= 1 for row in rows.values() if row.separation is not None)
    assert name in kept_table({name: [found]})
    assert name in unprotected_table({name: [found]})
