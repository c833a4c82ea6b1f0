"""`pjepa-curves`: how compact runs stay, by configuration."""

import dataclasses
import functools
import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pjepa_agent.cli.curves import main
from pjepa_agent.config.presets import make_config
from pjepa_agent.evaluation.compactness import compactness, read_groups, table
from pjepa_agent.evaluation.world_table import with_least_explained, world_table
from pjepa_agent.figures.world_curves import world_panels, world_title
from pjepa_agent.runs.directory import RunDirectory
from pjepa_agent.runs.metrics import ACCURACY, LEAST_EXPLAINED, MetricsFile
from support.commands import run_command

run = functools.partial(run_command, main)


def record(path, accuracy, every=10):
    metrics = MetricsFile(path)
    for number, value in enumerate(accuracy):
        metrics.append({"update": every * number, ACCURACY: value, "eval/gap_over_radius": 2 * value})
    return metrics


def made(path, accuracy, every=10, **changes):
    """A run directory that holds a configuration and a record."""
    config = dataclasses.replace(make_config(), **changes)
    directory = RunDirectory.create(path, config)
    record(directory.metrics, accuracy, every)
    return path


def test_the_course_by_hand(tmp_path):
    metrics = record(tmp_path / "a.csv", [0.99, 0.5, 0.985, 0.9, 0.99, 0.98])  # the first is the untrained
    found = compactness(3, metrics.rows)
    assert dataclasses.astuple(found) == (3, 20, 4, 3, 0.98, 0.99)
    never = compactness(0, record(tmp_path / "b.csv", [0.2, 0.5, 0.9]).rows)
    assert (never.first, never.after, never.compact, never.best) == (None, 0, 0, 0.9)


@given(accuracy=st.lists(st.floats(0, 1), min_size=1, max_size=20), compact=st.floats(0.1, 1))
def test_the_course_says_when_it_stays_compact(accuracy, compact):
    rows = [{"update": i, ACCURACY: value} for i, value in enumerate([0.1, *accuracy])]
    found = compactness(0, rows, compact)
    assert (found.first is None) == (max(accuracy) < compact)
    if found.first is not None:
        assert all(value < compact for value in accuracy[: found.first - 1])
        assert found.compact == sum(value >= compact for value in accuracy)
    assert found.best >= found.final == accuracy[-1]


def test_runs_are_grouped_by_all_but_the_seed(tmp_path):
    slow = dataclasses.replace(make_config().optimization, learning_rate=1e-4, schedule="constant")
    runs = [
        made(tmp_path / "a0", [0.1, 0.99, 0.97, 0.985], seed=0),
        made(tmp_path / "b0", [0.1, 0.3, 0.4, 0.5], seed=0, optimization=slow),
        made(tmp_path / "a1", [0.1, 0.5, 0.99, 0.99], seed=1),
    ]
    first, second = read_groups(runs)
    assert first.name == "reward"
    assert second.name == "learning_rate 0.0001, schedule constant"
    assert (first.reached, second.reached) == (2, 0)
    assert first.share == pytest.approx(4 / 5)  # of three from the first compact one on, and of two
    assert math.isnan(second.share)
    updates, values = first.curves(ACCURACY)
    np.testing.assert_array_equal(updates, [0, 10, 20, 30])
    np.testing.assert_allclose(values, [[0.1, 0.99, 0.97, 0.985], [0.1, 0.5, 0.99, 0.99]])
    rows = table([first, second]).splitlines()
    assert rows[2] == ("| reward | 2 | 2 | 15 (10 to 20) | 0.800 | 0.9875 (0.9850 to 0.9900) | 0.9900 | 0.0050 |")
    assert rows[3] == "| learning_rate 0.0001, schedule constant | 1 | 0 |  |  | 0.5000 | 0.5000 | 0.0000 |"


def test_experiments_are_named_by_their_names(tmp_path):
    runs = []
    for experiment in ("reward", "random", "reward-only"):
        config = make_config(experiment=experiment)
        directory = RunDirectory.create(tmp_path / experiment, config)
        record(directory.metrics, [0.1, 0.2])
        runs.append(directory.path)
    assert [group.name for group in read_groups(runs)] == ["reward", "random", "reward-only"]


def test_only_updates_that_all_seeds_have_are_drawn(tmp_path):
    runs = [made(tmp_path / "a", [0.1] * 5, seed=0), made(tmp_path / "b", [0.2] * 3, every=20, seed=1)]
    (group,) = read_groups(runs)
    updates, values = group.curves(ACCURACY)
    np.testing.assert_array_equal(updates, [0, 20, 40])
    assert values.shape == (2, 3)
    assert np.isnan(group.curves("losses/none")[1]).all()


def test_the_command_draws_and_prints(tmp_path, capsys):
    runs = [made(tmp_path / name, [0.1, 0.9, 0.99], seed=seed) for seed, name in enumerate("ab")]
    out = tmp_path / "curves.png"
    status, shown, err = run(capsys, *runs, "--out", out)
    assert (status, err) == (0, "")
    assert "| reward | 2 | 2 | 20 | 1.000 | 0.9900 | 0.9900 | 0.0000 |" in shown
    assert f"written to {out}" in shown
    assert np.asarray(Image.open(out).convert("L")).std() > 10
    assert "| reward | 2 | 2 | 10 | 1.000 |" in run(capsys, *runs, "--out", out, "--compact", "0.9")[1]


def made_world(path, environment, explained, levels=2, seed=0, **fields):
    """A run directory of another world, with the explained share of every level at each evaluation."""
    config = make_config(environment=environment, seed=seed)
    directory = RunDirectory.create(path, config.override([f"{name}={value}" for name, value in fields.items()]))
    metrics = MetricsFile(directory.metrics)
    for number, share in enumerate(explained):
        row = {"update": 10 * number, ACCURACY: math.nan, LEAST_EXPLAINED: share, "losses/transition": 1 / (1 + number)}
        of_level = {f"theorem/explained_share_{level}": share + level / 100 for level in range(1, levels + 1)}
        metrics.append(row | of_level | {"theorem/collapsed_pairs": 5 - number, "eval/rankme": 2.0 + number})
    return path


def test_other_worlds_have_a_table_of_their_own(tmp_path):
    runs = [
        made_world(tmp_path / "a", "FrozenLake-v1", [0.1, 0.7, 0.5]),
        made_world(tmp_path / "b", "FrozenLake-v1", [0.2, 0.6, 0.9], seed=1),
    ]
    rows = world_table(read_groups(runs)).splitlines()
    assert rows[2] == (
        "| FrozenLake-v1 | FrozenLake-v1 | 2 | 0.333 |  | 0.700 (0.500 to 0.900) | 3 | 4.0 | 0.800 (0.700 to 0.900) |"
    )


def test_a_run_without_a_least_share_has_that_of_its_levels(tmp_path):
    rows = [{"update": 0, "theorem/explained_share_1": 0.9, "theorem/explained_share_2": 0.4}, {"update": 1}]
    found = [row[LEAST_EXPLAINED] for row in with_least_explained(rows)]
    assert found[0] == 0.4
    assert math.isnan(found[1])
    assert with_least_explained([{LEAST_EXPLAINED: 0.1, "theorem/explained_share_1": 0.4}])[0][LEAST_EXPLAINED] == 0.1


def test_groups_are_named_by_world_and_by_what_differs_within_one(tmp_path):
    argued = dataclasses.replace(make_config(environment="FrozenLake-v1").collection, arguments={"is_slippery": False})
    other = RunDirectory.create(
        tmp_path / "c", dataclasses.replace(make_config(environment="FrozenLake-v1"), collection=argued)
    )
    record(other.metrics, [0.1, 0.2])
    (other.path / "metrics.csv").write_text(f"update,{LEAST_EXPLAINED}\n0,0.1\n1,0.2\n")
    runs = [
        made(tmp_path / "counting", [0.1, 0.2]),
        made_world(tmp_path / "a", "minigrid:MiniGrid-Empty-5x5-v0", [0.1, 0.2]),
        made_world(tmp_path / "b", "FrozenLake-v1", [0.1, 0.2]),
        other.path,
    ]
    names = [group.name for group in read_groups(runs)]
    assert names == ["CountingEnv-v0", "MiniGrid-Empty-5x5-v0", "FrozenLake-v1", "FrozenLake-v1, is_slippery False"]


def test_panels_are_those_that_were_measured(tmp_path):
    groups = read_groups([made_world(tmp_path / "a", "FrozenLake-v1", [0.1, 0.2], levels=3)])
    rows = world_panels(groups)
    assert [list(row) for row in rows] == [
        ["losses/transition", LEAST_EXPLAINED, "theorem/collapsed_pairs", "eval/rankme"],
        [f"theorem/explained_share_{level}" for level in (1, 2, 3)],
    ]


def test_the_command_draws_runs_of_several_worlds(tmp_path, capsys):
    runs = [
        made(tmp_path / "counting", [0.1, 0.2]),
        made_world(tmp_path / "a", "minigrid:MiniGrid-Empty-5x5-v0", [0.1, 0.2, 0.4], levels=5),
        made_world(tmp_path / "b", "FrozenLake-v1", [0.1, 0.2]),
    ]
    out = tmp_path / "curves.png"
    status, shown, err = run(capsys, *runs, "--out", out)
    assert (status, err) == (0, "")
    assert "| MiniGrid-Empty-5x5-v0 | MiniGrid-Empty-5x5-v0 | 1 | 0.333 |  | 0.400 | 3 | 4.0 | 0.400 |" in shown
    assert "| CountingEnv-v0 | CountingEnv-v0 | 1 |  |  |  |  |  |  |" in shown
    first = out.read_bytes()
    assert run(capsys, *runs, "--out", out)[0] == 0
    assert out.read_bytes() == first
    several = world_title(read_groups(runs))
    assert several.startswith("3 worlds")
    assert "of different worlds are not the same ones" in several
    assert "worlds" not in world_title(read_groups(runs[1:2]))


def test_bad_input_is_one_clear_line_and_status_2(tmp_path, capsys):
    begun = RunDirectory.create(tmp_path / "begun", make_config())
    damaged = made(tmp_path / "damaged", [0.1, 0.2])
    (damaged / "metrics.csv").write_text("update,a\n1,b\n")
    other = made(tmp_path / "other", [0.1, 0.2])
    (other / "metrics.csv").write_text("update,a\n1,2\n2,3\n")
    broken = made(tmp_path / "broken", [0.1, 0.2])
    (broken / "config.json").write_text(json.dumps({"seed": "x"}))
    fine = made(tmp_path / "fine", [0.1, 0.2])
    world = made_world(tmp_path / "world", "FrozenLake-v1", [0.1])
    cases = {
        "the following arguments are required: RUN": [],
        "world/metrics.csv: has no evaluation after the first update yet": [fine, world],
        "holds no run": [tmp_path],
        "begun/metrics.csv: has no evaluation after the first update yet": [begun.path],
        "damaged/metrics.csv: is damaged": [damaged],
        "other/metrics.csv: has no evaluation": [other],
        "seed='x': must be of type int": [broken],
        "must end in .png, .pdf, .svg": [fine, "--out", "curves.txt"],
        "--compact 0: must be above 0": [fine, "--compact", "0"],
        "--compact nan: must be above 0": [fine, "--compact", "nan"],
    }
    before = sorted(tmp_path.rglob("*"))
    for message, arguments in cases.items():
        status, out, err = run(capsys, *arguments)
        assert (status, out) == (2, ""), message
        assert err.startswith("pjepa-curves: error: "), message
        assert err.count("\n") == 1, message
        assert message in err, message
    assert sorted(tmp_path.rglob("*")) == before
