"""Several seeds by one command. Most tests let a stub train, which writes in a moment what a training would."""

import argparse
import functools
import io
import json
import shutil
import signal
import subprocess
import sys
import time

import pytest
from bisim_theory.theorem.check import EXPLAINED
from pjepa_agent.cli import one_seed, seeds
from pjepa_agent.cli.seed_jobs import Job
from pjepa_agent.cli.seed_options import seed_list
from pjepa_agent.cli.seed_processes import side_by_side, train_in_processes
from pjepa_agent.cli.train import configure, main, make_parser
from pjepa_agent.config import presets
from pjepa_agent.runs.metrics import LEAST_EXPLAINED
from pjepa_agent.runs.progress import TrainingProgress
from pjepa_agent.runs.seeds import FINISHED, WAITING, Outcome, SeedFolder, summary
from support import faults
from support.commands import run_command
from support.forks import Fork, run_forked

run = functools.partial(run_command, main)

STUB = """
import json, os, pathlib, signal, sys, time
common = pathlib.Path(sys.argv[1])
options = sys.argv[2:]
place = pathlib.Path(options[options.index("--resume" if "--resume" in options else "--run-dir") + 1])
seed = int(place.name.removeprefix("seed-"))
how = json.loads((common / "how.json").read_text()).get(str(seed), "finish")
say = lambda text: print(text, file=sys.stderr, flush=True)
if how == "refuse":
    say("pjepa-train: error: auxiliary 'size': must be reward")
    sys.exit(2)
place.mkdir(parents=True, exist_ok=True)
(place / "config.json").write_text(json.dumps({**json.loads((common / "config.json").read_text()), "seed": seed}))
with open(place / "options.jsonl", "a") as file:
    file.write(json.dumps(options) + "\\n")
say(f"update {seed + 1}/9: accuracy 0.9")
if how == "fail":
    say("pjepa-train: error: L_p is no longer finite")
    sys.exit(2)
if how == "quit":
    sys.exit(0)
if how == "die":
    os.kill(os.getpid(), signal.SIGKILL)
if how == "wait":
    def stop(number, frame):
        say(f"pjepa-train: interrupted and saved after 7 updates; go on with: pjepa-train --resume {place}")
        sys.exit(143)
    signal.signal(signal.SIGTERM, stop)
    (place / "waiting").touch()
    time.sleep(60)
report = {"seed": seed, "world": "CountingEnv-v0", "updates": 9, "seconds": 1.5, "nearest_centroid_accuracy":
          0.9 + seed / 100, "best_nearest_centroid_accuracy": 0.95, "within_across_ratio": 0.1}
(place / "report.json").write_text(json.dumps(report))
"""


@pytest.fixture
def stub(tmp_path, monkeypatch):
    """Let the stub train in this folder; return what sets, by seed, how it ends."""
    config = configure(make_parser().parse_args(["--updates", "9"]))
    (tmp_path / "config.json").write_text(json.dumps(config.to_dict()))
    monkeypatch.setattr(seeds, "COMMAND", (sys.executable, "-I", "-S", "-c", STUB, str(tmp_path)))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.chdir(tmp_path)

    def set_how(**how):
        (tmp_path / "how.json").write_text(json.dumps({name.removeprefix("seed_"): each for name, each in how.items()}))

    set_how()
    return set_how


def options_of(folder, seed):
    return [json.loads(line) for line in (folder / f"seed-{seed}" / "options.jsonl").read_text().splitlines()]


def statuses(folder):
    return {each["seed"]: each["status"] for each in json.loads((folder / "seeds.json").read_text())["seeds"]}


def test_seeds_are_ranges_and_lists():
    assert seed_list("0-4") == (0, 1, 2, 3, 4)
    assert seed_list("3") == (3,)
    assert seed_list("7, 0,3-4") == (0, 3, 4, 7)
    for text, message in {
        "3-1": "3-1 ends before it begins; write 1-3",
        "x": "must be seeds such as 0-4 or 0,3,7",
        "": "must be seeds such as",
        "-1": "must be seeds such as",
        "1-": "must be seeds such as",
        "1..3": "must be seeds such as",
        "0-2,2": "names a seed twice",
        "0-99999999999999": "is more than 10000 seeds",
    }.items():
        with pytest.raises(argparse.ArgumentTypeError, match=message):
            seed_list(text)


def test_bad_input_is_one_line_and_nothing_is_written(stub, tmp_path, capsys, monkeypatch):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "other" / "seed-1").mkdir(parents=True)
    (tmp_path / "other" / "seed-1" / "mine.txt").write_text("mine")
    assert run(capsys, "--updates", "9", "--seeds", "0", "--run-dir", "done")[0] == 0
    shutil.copytree("done", "moved")
    (tmp_path / "moved" / "seeds.json").unlink()
    before = sorted(tmp_path.rglob("*"))
    five = ("--seeds", "0-4")
    cases = {
        ("--seeds", "3-1", "--run-dir", "new"): "argument --seeds: '3-1': 3-1 ends before it begins; write 1-3",
        ("--seeds", "x", "--run-dir", "new"): "argument --seeds: 'x': must be seeds such as 0-4 or 0,3,7",
        ("--seeds", "99999999999999999999", "--run-dir", "new"): "seed=99999999999999999999: must be in 0..2147483647",
        five: "--seeds: needs --run-dir DIR",
        (*five, "--run-dir", ""): "--seeds: needs --run-dir DIR",
        (*five, "--run-dir", "new", "--seed", "1"): "--seeds: excludes --seed",
        (*five, "--run-dir", "file"): "file: is no folder",
        (*five, "--run-dir", "file/new"): "file: is no folder",
        (*five, "--run-dir", "other"): "other/seed-1: is already used, and holds no run",
        (*five, "--run-dir", "done/seed-0"): "done/seed-0: is a run itself",
        (*five, "--run-dir", "done"): "has another configuration (optimization.updates is 9, not 750)",
        ("--resume", "done", *five): "--seeds: a resumed run keeps its own",
        ("--resume", "other"): "holds no run",
        (
            "--resume",
            "moved",
        ): "holds no run (there is no config.json in it); runs of single seeds are in it, as moved/",
    }
    for arguments, message in cases.items():
        status, out, err = run(capsys, *arguments)
        assert (status, out) == (2, ""), arguments
        assert err.startswith("pjepa-train: error: "), arguments
        assert err.count("\n") == 1, arguments
        assert message in err, arguments
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "1")
    assert "leave out torchrun" in run(capsys, *five, "--run-dir", "new")[2]
    assert sorted(tmp_path.rglob("*")) == before


def test_each_seed_is_trained_as_by_a_command_of_its_own(stub, tmp_path, capsys, caplog):
    arguments = ["--seeds=0-2", "--updates", "9", "--device", "cpu", "--run-dir", "five"]
    status, out, err = run(capsys, *arguments)
    assert status == 0, err
    assert [line for line in out.splitlines() if line.startswith("seed ")] == [
        f"seed {seed}: accuracy 0.9{seed}00, within/across 0.100 (9 updates in 2 s)" for seed in range(3)
    ]
    assert out.splitlines()[-1] == (
        "3 of 3 seeds finished: accuracy 0.9100 (0.9000 to 0.9200), within/across 0.100 (0.100 to 0.100)"
    )
    assert caplog.messages == [
        "to train, one after another: seed 0, 1, 2",
        *(f"seed {seed}: update {seed + 1}/9: accuracy 0.9" for seed in range(3)),
    ]
    for seed in range(3):
        (options,) = options_of(tmp_path / "five", seed)
        parsed = make_parser().parse_args(options)
        assert (parsed.seed, parsed.run_dir, parsed.device) == (seed, f"five/seed-{seed}", "cpu")
        assert (parsed.seeds, parsed.updates) == (None, 9)
    written = json.loads((tmp_path / "five" / "seeds.json").read_text())
    assert written["summary"]["nearest_centroid_accuracy"] == pytest.approx(
        {"mean": 0.91, "lowest": 0.9, "highest": 0.92, "seeds": 3}
    )
    # Again, nothing is left to do; more seeds of the same configuration are added.
    assert run(capsys, *arguments)[0] == 0
    assert run(capsys, "--seeds", "7", *arguments[1:])[0] == 0
    assert statuses(tmp_path / "five") == dict.fromkeys([0, 1, 2, 7], FINISHED)
    assert [len(options_of(tmp_path / "five", seed)) for seed in (0, 1, 2, 7)] == [1, 1, 1, 1]


def test_a_seed_that_fails_loses_no_other_and_is_resumed(stub, tmp_path, capsys):
    stub(seed_1="fail", seed_2="die")
    status, out, err = run(capsys, "--seeds", "0-3", "--updates", "9", "--run-dir", "four")
    assert status == 2
    assert "seed 1: failed: L_p is no longer finite\n" in out
    assert "seed 2: failed: ended by SIGKILL\n" in out
    assert out.splitlines()[-1].startswith("2 of 4 seeds finished: accuracy 0.9150 (0.9000 to 0.9300)")
    assert err.splitlines()[-1] == (
        "pjepa-train: error: not finished: seed 1, 2; go on with: pjepa-train --resume four"
    )
    assert statuses(tmp_path / "four") == {0: "finished", 1: "failed", 2: "failed", 3: "finished"}
    stub()
    status, out, _ = run(capsys, "--resume", "four", "--device", "cpu")
    assert status == 0
    assert out.splitlines()[-1].startswith("4 of 4 seeds finished")
    assert options_of(tmp_path / "four", 1)[1][:2] == ["--resume", "four/seed-1"]
    assert len(options_of(tmp_path / "four", 0)) == 1


def test_a_seed_that_ends_by_itself_before_it_is_finished_has_failed(stub, tmp_path, capsys):
    stub(seed_1="quit")
    status, out, _ = run(capsys, "--seeds", "0-1", "--updates", "9", "--run-dir", "two")
    assert status == 2
    assert "seed 1: failed: ended with status 0 before it was finished\n" in out


OTHER_WORLD = {"world": "other", "held_out": {}, "updates": 1, "seconds": 2}


@pytest.mark.parametrize("content", ["{", "[]", "3", json.dumps(OTHER_WORLD), '{"updates": 9, "seconds": null}'])
def test_a_damaged_run_stops_no_other_seed(stub, tmp_path, capsys, content):
    stub(seed_3="die")
    assert run(capsys, "--seeds", "0-3", "--updates", "9", "--run-dir", "four")[0] == 2
    report, folder = (tmp_path / "four" / "seed-0" / "report.json", tmp_path / "four" / "seed-1")
    report.write_text(content)
    (folder / "config.json").unlink()
    (tmp_path / "four" / "seed-2" / "config.json").write_text("{")
    stub()
    for command in (["--resume", "four"], ["--seeds", "0-3", "--updates", "9", "--run-dir", "four"]):
        status, out, err = run(capsys, *command)
        assert status == 2
        assert "seed 0: failed: four/seed-0/report.json: cannot be read; restore it, or remove four/seed-0\n" in out
        assert "seed 1: failed: four/seed-1: has no config.json, but other files; restore it, or remove" in out
        assert "seed 2: failed: four/seed-2/config.json: cannot be read: it is no configuration\n" in out
        assert "seed 3: accuracy" in out
        assert err.splitlines()[-1].startswith("pjepa-train: error: not finished: seed 0, 1, 2; go on with")
    assert report.read_text() == content
    assert len(options_of(tmp_path / "four", 0)) == 1
    shutil.rmtree(folder)
    shutil.rmtree(report.parent)
    shutil.rmtree(tmp_path / "four" / "seed-2")
    assert run(capsys, "--resume", "four")[0] == 0


def test_a_fault_of_a_seed_is_said_in_one_line_and_what_is_printed_is_logged(capsys, monkeypatch):
    def main(say_results):
        assert not say_results
        print("printed")
        raise ValueError("my encoder\nis broken")

    monkeypatch.setattr(one_seed, "main", main)
    assert one_seed.train() == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines()[0] == "printed"
    assert "Traceback (most recent call last):" in err
    assert err.splitlines()[-1] == "pjepa-train: error: ValueError: my encoder is broken"


def test_what_no_seed_can_begin_with_is_one_line(stub, tmp_path, capsys, caplog):
    stub(seed_0="refuse", seed_1="refuse")
    status, out, err = run(capsys, "--seeds", "0-1", "--updates", "9", "--run-dir", "new")
    assert (status, out) == (2, "")
    assert err == "pjepa-train: error: auxiliary 'size': must be reward\n"
    assert caplog.messages == []
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_stops_all_seeds_and_they_are_resumed(stub, tmp_path, capsys, monkeypatch, number, status):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr("pjepa_agent.cli.seed_processes._cores", lambda: 2)
    stub(seed_0="wait", seed_1="wait")
    arguments = ["--seeds", "0-2", "--updates", "9", "--device", "cpu", "--run-dir", "three"]
    process = Fork(lambda: main(arguments))
    folder = tmp_path / "three"
    deadline = time.monotonic() + 60
    while not all((folder / f"seed-{seed}" / "waiting").exists() for seed in (0, 1)):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send(number)
    stopped = process.wait()
    assert stopped.status == status, stopped.stderr
    assert "seed 1: interrupted: interrupted and saved after 7 updates" in stopped.stdout
    assert "seed 2: not begun" in stopped.stdout
    assert stopped.stderr.splitlines()[-1].endswith("go on with: pjepa-train --resume three")
    assert statuses(folder) == {0: "interrupted", 1: "interrupted", 2: "not begun"}
    stub()
    assert run(capsys, "--resume", "three")[0] == 0
    assert statuses(folder) == dict.fromkeys(range(3), FINISHED)


def test_a_seed_stops_when_what_started_it_is_killed(tmp_path):
    code = "import time; from pjepa_agent.cli.one_seed import stop_with_parent; stop_with_parent(); time.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE)
    time.sleep(0.1)
    assert process.poll() is None
    process.stdin.close()
    assert process.wait(30) == -signal.SIGTERM


def test_processes_are_ended_where_nobody_waits_for_the_others():
    code = "import sys, time; print('begun', file=sys.stderr, flush=True); time.sleep(60 * int(sys.argv[1]))"
    said = []
    ended = train_in_processes(
        [Job(0, ["0"], "0"), Job(1, ["1"], "1")],
        2,
        lambda: False,
        lambda *each: said.append(each),
        (sys.executable, "-c", code),
    )
    assert next(ended).seed == 0
    started = time.monotonic()
    ended.close()
    assert time.monotonic() - started < 30
    assert (0, "begun") in said


def test_what_a_run_left_that_was_killed_as_it_began_is_no_obstacle(stub, tmp_path, capsys):
    left = tmp_path / "two" / "seed-0"
    (left / "checkpoints").mkdir(parents=True)
    (left / ".config.json.77.partial").write_text("{")
    (left / "spec.json").write_text("{}")
    SeedFolder(tmp_path / "two").clear_beginning(0)
    assert not left.exists()
    left.mkdir(parents=True)
    (left / "spec.json").write_text("{}")
    assert run(capsys, "--seeds", "0", "--updates", "9", "--run-dir", "two")[0] == 0


def test_as_many_train_side_by_side_as_have_the_threads_that_one_has_alone(monkeypatch):
    monkeypatch.setattr("pjepa_agent.cli.seed_processes._cores", lambda: 8)
    for threads, number in {"": 1, "1": 8, "3": 2, "8": 1, "16": 1, "0": 1, "x": 1, "4,2": 2}.items():
        monkeypatch.setenv("OMP_NUM_THREADS", threads)
        assert side_by_side("cpu") == number, threads
    import torch

    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    for found, number in ((True, 1), (False, 8)):
        monkeypatch.setattr(torch.cuda, "is_available", lambda found=found: found)
        assert side_by_side("auto") == number


def test_other_worlds_are_summed_up_by_what_theorem_3_explains():
    reports = [
        {"world": "Taxi-v4", "held_out": {"trained": {"theorem_least_explained_share": share,
                                                      "theorem_collapsed_pairs": None}}}
        for share in (0.5, 0.75)
    ]  # fmt: skip
    outcomes = [Outcome(seed, FINISHED, report=report) for seed, report in enumerate(reports)]
    found = summary([*outcomes, Outcome(2, WAITING)])
    assert found == {"theorem_least_explained_share": {"mean": 0.625, "lowest": 0.5, "highest": 0.75, "seeds": 2}}


def test_the_process_of_a_seed_leaves_what_a_command_alone_does(stub, tmp_path, capsys, tiny, monkeypatch):
    monkeypatch.setattr(presets, "PRESETS", {"laptop": tiny()})
    options = ["--updates", "9", "--network.width", "5"]
    config = configure(make_parser().parse_args(options))
    (tmp_path / "config.json").write_text(json.dumps(config.to_dict()))
    assert run(capsys, *options, "--seeds", "5", "--run-dir", "several", "--device", "cpu")[0] == 0
    (given,) = options_of(tmp_path / "several", 5)
    shutil.rmtree(tmp_path / "several" / "seed-5")
    done = run_forked(lambda: main(given))
    assert done.status == 0, done.stderr
    assert run_forked(lambda: main([*options, "--seed", "5", "--run-dir", "alone", "--device", "cpu"])).status == 0
    faults.same(tmp_path / "alone", tmp_path / "several" / "seed-5")


def test_of_other_worlds_what_is_asked_stands_beside_the_measures(tmp_path):
    held_out = {"trained": {"theorem_least_explained_share": 0.875, "theorem_unexplained_levels": 2,
                            "theorem_collapsed_pairs": 3}}  # fmt: skip
    report = {"world": "other", "held_out": held_out, "updates": 1, "seconds": 2}
    line, _, last = seeds.describe([Outcome(0, FINISHED, report=report)], tmp_path).splitlines()
    assert line == (
        f"seed 0: explained share 0.8750 (asked: {EXPLAINED}), levels not explained 2 (asked: 0), collapsed pairs 3 "
        "(asked: 0) (1 update in 2 s)"
    )
    assert last == (
        f"1 of 1 seed finished: explained share 0.8750 (0.8750 to 0.8750, asked: {EXPLAINED}), levels not "
        "explained 2 (2 to 2, asked: 0), collapsed pairs 3 (3 to 3, asked: 0)"
    )


def test_the_progress_of_other_worlds_names_what_is_asked(caplog):
    caplog.set_level("INFO", "pjepa_agent")
    row = {"update": 5, "losses/transition": 0.5, LEAST_EXPLAINED: 0.875, "charts/updates_per_second": 0.0}
    TrainingProgress(10, 0, LEAST_EXPLAINED, io.StringIO()).metrics(row)
    assert f" 0.875 (asked: {EXPLAINED})" in caplog.messages[-1]
