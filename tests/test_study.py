"""The runner behind the studies in benchmarks/: what is finished is not trained again, and nothing else is mixed in."""

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))

from pjepa_agent.cli import configure, make_parser
from pjepa_agent.config import LAPTOP
from stability import LEVERS
from study import Study, markdown, seed_range, spread

SMALL = [
    part
    for each in (
        "collection.transitions=200", "network.width=4", "network.latent_dim=16", "network.hidden_dim=32",
        "optimization.batch_size=16", "evaluation.reference_per_count=4", "evaluation.scored_per_count=30",
        "evaluation.transitions=120", "evaluation.probe_per_count=0", "evaluation.statistics=0",
    )
    for part in ("--set", each)
]  # fmt: skip


@pytest.mark.slow
def test_a_study_trains_what_is_missing(tmp_path, capfd):
    variants = {"short": [*SMALL, "--updates", "2"]}
    study = Study(tmp_path, variants, [3])
    study.complete(lanes=2)
    (report,) = study.reports("short")
    assert (report["seed"], report["updates"]) == (3, 2)
    assert capfd.readouterr().err.count("trained (") == 1

    before = (tmp_path / "short-3" / "report.json").stat().st_mtime_ns
    study.complete(lanes=1)
    assert (tmp_path / "short-3" / "report.json").stat().st_mtime_ns == before

    # One that was stopped before its report is continued, not begun anew.
    (tmp_path / "short-3" / "report.json").unlink()
    config = (tmp_path / "short-3" / "config.json").stat().st_mtime_ns
    study.complete(lanes=1)
    again = study.reports("short")[0]
    assert again["nearest_centroid_accuracy"] == pytest.approx(report["nearest_centroid_accuracy"], abs=1e-5)
    assert (tmp_path / "short-3" / "config.json").stat().st_mtime_ns == config

    with pytest.raises(SystemExit, match="has another configuration than this study"):
        Study(tmp_path, {"short": [*SMALL, "--updates", "3"]}, [3]).complete(lanes=1)


def test_a_run_that_fails_is_named(tmp_path):
    (tmp_path / "bad-0").mkdir()
    (tmp_path / "bad-0" / "mine.txt").write_text("mine")
    with pytest.raises(SystemExit, match=r"not trained: .*bad-0"):
        Study(tmp_path, {"bad": SMALL}, [0]).complete(lanes=1)
    assert [path.name for path in (tmp_path / "bad-0").iterdir()] == ["mine.txt"]


def test_tables():
    assert seed_range("3") == [3]
    assert seed_range("0-2") == [0, 1, 2]
    assert spread([1.0, 3.0, None], ".1f") == "2.0 (1.0 to 3.0)"
    assert (spread([2.0, 2.0], ".1f"), spread([])) == ("2.0", "")
    assert markdown(["a", "b"], [["1", "2"]]) == "| a | b |\n| --- | --- |\n| 1 | 2 |"


def test_reports_are_read_from_the_runs(tmp_path):
    (tmp_path / "x-1").mkdir()
    (tmp_path / "x-1" / "report.json").write_text(json.dumps({"updates": 7}))
    assert Study(tmp_path, {"x": []}, [1]).reports("x") == [{"updates": 7}]


def test_every_lever_is_another_run_of_the_same_size():
    default, *others = [configure(make_parser().parse_args(options)) for options in LEVERS.values()]
    assert default == LAPTOP
    assert len({str(config) for config in others} - {str(default)}) == len(others)
    for name, config in zip(list(LEVERS)[1:], others, strict=True):
        observations = config.optimization.batch_size * (1 + config.objective.horizon) * config.optimization.updates
        assert observations / (256 * 2 * 1_500) == pytest.approx(2 if name == "twice-as-long" else 1, rel=0.01), name
