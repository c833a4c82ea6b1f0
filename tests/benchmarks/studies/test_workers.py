"""Worker processes train as `pjepa-train` does."""

import json
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from pjepa_agent.cli.train import configure, make_parser
from pjepa_agent.run import train_run
from pjepa_agent.runs.directory import RunDirectory
from pjepa_agent.runs.metrics import MetricsFile

from benchmarks.studies.records import Records
from benchmarks.studies.study import Study, settings
from benchmarks.studies.workers import last_evaluation, train_here

TINY = settings(
    "collection.transitions=200", "network.latent_dim=16", "network.width=4", "network.hidden_dim=32",
    "optimization.batch_size=16", "optimization.autocast=false", "evaluation.every=3",
    "evaluation.reference_per_count=4", "evaluation.scored_per_count=30", "evaluation.transitions=120",
    "evaluation.probe_per_count=0",
)  # fmt: skip


def alone(path, options):
    """Train as `pjepa-train` does, and return the rows of its metrics."""
    config = configure(make_parser().parse_args(options))
    run = RunDirectory.create(path, config)
    train_run(run, config)
    return MetricsFile(run.metrics, until=4).rows


def without_times(row):
    return {name: value for name, value in row.items() if "second" not in name}


def test_a_training_of_a_search_ends_where_pjepa_train_does(tmp_path):
    options = [*TINY, "--updates", "4"]
    row = last_evaluation(tmp_path / "search", options)
    assert row["update"] == 4
    assert without_times(row) == pytest.approx(without_times(alone(tmp_path / "run", options)[-1]), nan_ok=True)


def test_a_training_that_diverges_has_no_evaluation(tmp_path):
    options = [*TINY, *settings("network.normalization=none", "optimization.learning_rate=1000"), "--updates", "50"]
    assert last_evaluation(tmp_path / "search", options) is None


def test_runs_one_after_the_other_in_a_worker_are_those_of_the_command(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(sys, "argv", ["study"])
    rates = {
        rate: [*TINY, *settings(f"optimization.learning_rate={rate}"), "--updates", "4"] for rate in ("1e-3", "1e-2")
    }
    study = Study(tmp_path / "runs", rates, [3], Records(tmp_path / "records", "study", ("losses/total",)))
    with ThreadPoolExecutor(1) as pool:
        study.complete_in(pool, train_here)
        assert capfd.readouterr().err.count("trained (") == 2
        study.complete_in(pool, train_here)
        assert capfd.readouterr().err == ""
    found = MetricsFile(tmp_path / "runs" / "1e-2-3" / "metrics.csv", until=4).rows
    expected = alone(tmp_path / "alone", [*rates["1e-2"], "--seed", "3"])
    assert found[-1]["update"] == 4
    assert without_times(found[-1]) == pytest.approx(without_times(expected[-1]), nan_ok=True)
    (start,) = json.loads((tmp_path / "runs" / "1e-2-3" / "provenance.json").read_text())
    assert start["command"].startswith("pjepa-train --set ")
    assert start["command"].endswith(f"--seed 3 --run-dir {tmp_path / 'runs' / '1e-2-3'}")


def test_a_study_goes_on_seed_by_seed(tmp_path):
    done = []
    study = Study(tmp_path / "runs", {"a": [], "b": []}, [1, 2], Records(tmp_path / "records", "study"))
    with ThreadPoolExecutor(1) as pool, pytest.raises(SystemExit):
        study.complete_in(pool, lambda path, options: done.append((path.name, list(options))) or path)
    assert done == [(f"{name}-{seed}", ["--seed", str(seed)]) for seed in (1, 2) for name in "ab"]


def test_a_run_that_diverges_is_named(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(sys, "argv", ["study"])
    options = [*TINY, *settings("network.normalization=none", "optimization.learning_rate=1000"), "--updates", "50"]
    study = Study(tmp_path / "runs", {"fast": options}, [0], Records(tmp_path / "records", "study"))
    with ThreadPoolExecutor(1) as pool, pytest.raises(SystemExit, match=r"not trained: .*fast-0"):
        study.complete_in(pool, train_here)
    assert "fast-0: diverged (" in capfd.readouterr().err
