"""The script of the rows that need a GPU goes through all of its parts in small, on a CPU."""

import contextlib
import io
import json
import sys
from concurrent.futures import Executor, Future
from pathlib import Path

import pytest
import torch
from bisim_theory.cli import main as bisim_check
from pjepa_agent.cli.figure import main as figure
from pjepa_agent.cli.train import main as train

from benchmarks.speed import gpu

MAINS = {"pjepa-train": train, "pjepa-figure": figure, "bisim-check": bisim_check}


class OneAfterAnother(Executor):
    """Does what it is given at once, since a command takes signals in the main thread alone."""

    def __init__(self, number):
        super().__init__()

    def submit(self, function, *arguments):
        done = Future()
        done.set_result(function(*arguments))
        return done


@pytest.fixture
def _here(monkeypatch):
    """Commands in this process, and no tests within a test."""

    def execute(command, seconds):
        name = Path(command[0]).name
        if name not in MAINS:
            return 0, "4 passed in 61 s\n"
        with contextlib.redirect_stdout(io.StringIO()) as text:
            return MAINS[name](command[1:]), text.getvalue()

    monkeypatch.setattr(gpu, "execute", execute)
    monkeypatch.setattr(gpu, "ThreadPoolExecutor", OneAfterAnother)


@pytest.mark.slow
@pytest.mark.usefixtures("_here")
def test_in_small_all_of_it_is_measured_trained_drawn_and_checked(tmp_path, capsys):
    folder = tmp_path / "gpu"
    gpu.main(["--quick", "--device", "cpu", "--out", str(folder), "--seeds", "3"])
    values = json.loads((folder / "gpu.json").read_text())
    assert values["tests"] == "status 0: 4 passed in 61 s"
    assert values["provenance"]["hardware"]["device"] == "cpu"
    rows = {row["name"]: row for row in values["rows"]}
    eager = [name for name in rows if name.startswith("eager")]
    assert list(rows) == ["baseline", *eager, "2 seeds in turn, eager, bfloat16"]
    assert values["milliseconds, 2 encoders"].keys() == {"one after the other", "stacked"}
    assert len(eager) == 3
    assert all(row["rates"][0] > 0 for row in rows.values())
    first, second, _ = (rows[name]["losses"] for name in eager)
    assert first.keys() == second.keys() >= {"total", "transition", "q", "decoder"}
    found = values["training, seed 3"]
    assert found["updates"] == 8
    assert [found[name]["status"] for name in ("pjepa-train", "pjepa-figure")] == [0, 0]
    assert found["bisim-check"]["status"] in (0, 1, 3, 4)
    assert found["verdict"]
    assert len(found["updates_per_second"]) == 1
    assert (folder / "seed-3" / "figure-2.png").stat().st_size > 1000
    assert "Self CPU" in (folder / "profile.txt").read_text()
    lines = (folder / "table.md").read_text().splitlines()
    assert len(lines) == 2 + 1 + len(eager) + 1
    assert lines[2].split(" | ")[3] == "1.00"
    assert lines[0] in capsys.readouterr().out


def test_every_way_to_compute_has_a_row_on_a_gpu():
    names = list(gpu.rows(torch.device("cuda")))
    for way in gpu.WAYS:
        assert {f"{way}, float32", f"{way}, bfloat16"} <= set(names)
    assert len(names) == len(set(names)) == 10


def test_updates_are_what_the_slowest_rate_allows():
    assert gpu.updates_in(400, 2, [130.0, 120.0, 140.0]) == 19_000
    assert gpu.updates_in(400, 2, []) == 6_000
    assert gpu.updates_in(-10, 2, [120.0]) == 1_000


def test_what_was_not_measured_is_named(tmp_path):
    report = gpu.Report(tmp_path)
    report.row("baseline", [20.0, 22.0, 21.0])
    report.row("eager, float32", [42.0], warm_seconds=1.25, memory_gb=1.5)
    report.row("one graph, bfloat16", reason="not measured, no time")
    assert json.loads((tmp_path / "gpu.json").read_text()) == report.values
    lines = gpu.table(report.values).splitlines()
    assert [cell.strip() for cell in lines[3].split("|")[1:4]] == ["eager, float32", "42.0", ""]
    assert "2.00 | 1.2 | 1.50" in lines[3]
    assert lines[4:] == ["", "one graph, bfloat16: not measured, no time"]


def test_a_row_that_no_time_is_left_for_is_named(tmp_path):
    config = gpu.small(gpu.make_config("paper")).override(gpu.TINY)
    report = gpu.Report(tmp_path)
    gpu.throughput(config, torch.device("cpu"), gpu.QUICK, gpu.Budget(50.0), 0.0, report)
    _, *others = report.values["rows"]
    assert [row["reason"] for row in others] == ["not measured, no time"] * 3


def test_a_command_that_takes_too_long_is_ended():
    status, text = gpu.execute([sys.executable, "-c", "print(1, flush=True); import time; time.sleep(60)"], 2)
    assert (status, text) == (124, "1\n")
    assert gpu.execute([sys.executable, "-c", "print(2); raise SystemExit(3)"], 60) == (3, "2\n")
