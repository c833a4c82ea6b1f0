"""The study that compares objectives."""

import math

import numpy as np
import pytest
from pjepa_agent.cli.train import configure, make_parser
from pjepa_agent.config.schema import OBJECTIVES
from pjepa_agent.objectives.registry import make_settings

from benchmarks.studies import objectives
from benchmarks.studies.objectives_figure import alternative, draw
from benchmarks.studies.objectives_tables import beside, tables
from benchmarks.studies.search import RUNGS

CASES = [(world, name) for world in objectives.PLACES for name in objectives.OBJECTIVES]


def of(options):
    return configure(make_parser().parse_args(options))


@pytest.mark.parametrize(("world", "name"), CASES)
def test_every_objective_has_eight_settings_that_can_be_trained(world, name):
    configs = [of(options) for options in objectives.candidate_settings(world, name).values()]
    assert len({str(config) for config in configs}) == RUNGS[0].settings == 8
    for config in configs:
        make_settings(config)
        assert config.objective.name == name.partition("-")[0]


@pytest.mark.parametrize("world", objectives.PLACES)
def test_all_objectives_have_one_network_and_as_many_observations(world):
    """But for what TD-MPC2 has of its own; sequences of three transitions have four observations."""
    configs = [
        (name, of(options))
        for name in objectives.OBJECTIVES
        for options in objectives.candidate_settings(world, name).values()
    ]
    networks = {str(config.network) for name, config in configs if name != "tdmpc2"}
    assert len(networks) == 1
    assert len({str(config.collection) for _, config in configs}) == 1
    for _, config in configs:
        assert config.optimization.batch_size * (1 + config.objective.horizon) == 256


def test_no_objective_is_left_out():
    assert {name.partition("-")[0] for name in objectives.OBJECTIVES} == set(OBJECTIVES)


def test_settings_that_report_are_of_seeds_of_their_own():
    seeds = set(objectives.make_parser().parse_args([]).seeds)
    assert len(seeds) == 5
    assert not seeds & {rung.seed for rung in RUNGS}


def test_embeddings_used_are_counted_at_a_radius():
    centres = 10 * np.eye(9, 16)
    noise = 0.01 * np.random.default_rng(0).standard_normal((900, 16))
    embedding = np.repeat(centres, 100, 0) + noise
    assert objectives.codes_used(embedding, 1.0) == 9
    assert objectives.codes_used(embedding, 100.0) == 1
    assert objectives.codes_used(np.ones((5, 3)), 0.0) == 1
    assert objectives.codes_used(np.eye(5), 0.0) == 5


def report(shift, detached):
    levels = range(1, 6)
    measures = {
        "nearest_centroid_accuracy": 0.9 - shift, "within_across_ratio": 0.2, "rankme": 8.0, "transition_error": 0.1,
        "theorem_collapsed_pairs": 0, "theorem_least_explained_share": 0.8 - shift,
        **{f"theorem_{name}_{level}": 0.99 - shift for name in ("separation", "explained_share") for level in levels},
        **{f"{kind}_probe": {"count": 0.9, "shape": 0.3, "color": 0.1, "position": 0.2} for kind in ("linear", "mlp")},
        "chance": {"count": 0.111, "shape": 0.25, "color": 0.0, "position": 0.0},
    }  # fmt: skip
    held_out = {"trained": measures, "untrained": measures | {"nearest_centroid_accuracy": 0.24}}
    found = {
        "codes": 9, "untrained_codes": 3, "observations": 141, "training_seconds": 60.0,
        "explained_pairs": 0.8, "untrained_explained_pairs": 0.1,
        "shuffled_accuracy": 0.11, "shuffled_separation": [0.5, 0.51, 0.49, 0.5],
    }  # fmt: skip
    return {"report": {"detached": detached, "seconds": 80.0, "held_out": held_out}, "measures": found}


FOUND = {"pjepa": [report(0.0, []), report(0.02, [])], "inverse": [report(0.4, ["dynamics", "head"])]}


@pytest.mark.parametrize(("world", "number"), [("counting", 3), ("grid", 1)])
def test_tables_have_a_row_an_objective_and_their_floors(world, number):
    made = tables(world, FOUND)
    assert len(made) == number
    for table in made:
        names = [row.split(" | ")[0].removeprefix("| ") for row in table.splitlines()[2:]]
        assert names[:3] == ["pjepa", "inverse", "untrained"]
    assert ("0.890 (0.880 to 0.900)" if world == "counting" else "0.980 (0.970 to 0.990)") in made[0]
    assert tables(world, {}) == []


def test_what_learns_beside_an_objective_is_named():
    assert beside(FOUND["pjepa"]) == "none"
    assert beside(FOUND["inverse"]) == "T, P"


@pytest.mark.parametrize("world", objectives.PLACES)
def test_the_figure_is_drawn(world, tmp_path):
    draw(world, FOUND, tmp_path / "objectives.png")
    assert (tmp_path / "objectives.png").stat().st_size > 10_000


@pytest.mark.parametrize(("world", "means"), [("counting", (0.98, 0.59)), ("grid", (0.98, 0.59))])
def test_the_figure_is_said_in_words(world, means):
    said = alternative(world, FOUND)
    assert said.startswith("A dot a seed of 2 objectives: ")
    assert said.endswith("pjepa {:.2f}, inverse {:.2f}, untrained 0.98.".format(*means))


def test_the_score_of_the_search_is_the_weakest_level_that_has_pairs():
    row = {f"theorem/separation_{level}": 0.99 for level in range(1, 6)}
    assert objectives.score_counting(row | {"theorem/separation_3": 0.7, "theorem/separation_5": math.nan}) == 0.7
    assert objectives.score_counting(dict.fromkeys(row, math.nan)) == 0


def test_the_score_of_the_grid_is_the_mean_of_the_first_levels_that_have_pairs():
    row = {f"theorem/explained_share_{level}": 0.2 * level for level in range(1, 6)}
    assert objectives.score_grid(row) == pytest.approx(0.6)
    assert objectives.score_grid(row | {"theorem/explained_share_5": math.nan}) == pytest.approx(0.5)
    assert objectives.score_grid(dict.fromkeys(row, math.nan)) == 0
