"""Studies train what is not recorded, and nothing twice."""

import shutil
import sys

import pytest
from pjepa_agent.cli.train import configure, make_parser
from pjepa_agent.run import prepare, train_run
from pjepa_agent.runs.directory import RunDirectory, RunError
from support.small import SMALL_OPTIONS

from benchmarks.studies import study as studies
from benchmarks.studies.records import Records
from benchmarks.studies.study import Study


@pytest.fixture
def in_process(monkeypatch):
    """Do in this process what `pjepa-train` does with the command line of a study."""

    def execute(command, threads):
        options = make_parser().parse_args(command[1:])
        monkeypatch.setattr(sys, "argv", command)  # what the run's provenance says
        try:
            if options.resume:
                run, config = RunDirectory.open(options.resume)
            else:
                config = prepare(configure(options))
                run = RunDirectory.create(options.run_dir, config)
        except RunError as error:
            return 2, f"pjepa-train: {error}\n"
        train_run(run, config, "cpu")
        return 0, ""

    monkeypatch.setattr(studies, "execute", execute)


def make_study(folder, updates=2, **variants):
    variants = variants or {"short": [*SMALL_OPTIONS, "--updates", str(updates)]}
    records = Records(folder / "records", "study")
    return Study(folder / "runs", variants, [3], records, lambda path: {"run": path.name})


@pytest.mark.slow
def test_a_study_trains_and_records_what_is_missing(tmp_path, capfd, in_process):
    runs, records = tmp_path / "runs", tmp_path / "records"
    make_study(tmp_path).complete(lanes=2)
    study = make_study(tmp_path)
    (report,) = study.reports("short")
    assert (report["seed"], report["updates"]) == (3, 2)
    assert study.measures("short") == [{"run": "short-3"}]
    assert sorted(path.name for path in records.iterdir()) == ["study.csv", "study.json"]
    assert str(tmp_path) not in (records / "study.json").read_text()
    assert [row["update"] for row in study.metrics("short")[0]] == [0, 2]
    (group,) = study.groups()
    assert (group.name, group.summaries[0].final) == ("short", report["nearest_centroid_accuracy"])
    assert capfd.readouterr().err.count("trained (") == 1

    # One that was stopped before its report is continued, not begun anew.
    (runs / "short-3" / "report.json").unlink()
    shutil.rmtree(records)
    config = (runs / "short-3" / "config.json").stat().st_mtime_ns
    make_study(tmp_path).complete(lanes=1)
    again = make_study(tmp_path).reports("short")[0]
    assert again["nearest_centroid_accuracy"] == report["nearest_centroid_accuracy"]
    assert (runs / "short-3" / "config.json").stat().st_mtime_ns == config
    started, resumed = Records(records, "study").runs()["short", 3]["starts"]
    assert "--resume short-3" in resumed["command"]
    assert started["provenance"] == resumed["provenance"] == 0

    # Of a recorded run nothing else is needed, on whatever machine it was.
    shutil.rmtree(runs)
    capfd.readouterr()
    make_study(tmp_path).complete(lanes=1)
    assert capfd.readouterr().err == ""
    assert list(runs.iterdir()) == []

    with pytest.raises(SystemExit, match="has another configuration than this study"):
        make_study(tmp_path, updates=3).complete(lanes=1)


def test_a_run_that_fails_is_named_and_not_recorded(tmp_path, in_process):
    taken = tmp_path / "runs" / "bad-3"
    taken.mkdir(parents=True)
    (taken / "mine.txt").write_text("mine")
    with pytest.raises(SystemExit, match=r"not trained: .*bad-3"):
        make_study(tmp_path, bad=SMALL_OPTIONS).complete(lanes=1)
    assert [path.name for path in taken.iterdir()] == ["mine.txt"]
    assert not (tmp_path / "records").exists()


def test_a_study_runs_the_installed_command_and_shows_its_error(tmp_path, capfd):
    with pytest.raises(SystemExit, match=r"not trained: .*bad-3"):
        make_study(tmp_path, bad=["--resume", "elsewhere"]).complete(lanes=1)
    shown = capfd.readouterr().err
    assert f"{tmp_path / 'runs' / 'bad-3'}: pjepa-train: " in shown
    assert "a resumed run keeps its own" in shown
    assert not (tmp_path / "records").exists()


def test_a_run_directory_of_another_configuration_is_refused(tmp_path):
    RunDirectory.create(tmp_path / "runs" / "short-3", configure(make_parser().parse_args(["--seed", "3"])))
    with pytest.raises(SystemExit, match="short-3: has another configuration than this study"):
        make_study(tmp_path).complete(lanes=1)
