"""Several seeds by one command, with real trainings in processes of their own."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from filelock import FileLock
from support.faults import same
from support.small import SMALL_OPTIONS

TRAIN = str(Path(sys.executable).with_name("pjepa-train"))
OPTIONS = [*SMALL_OPTIONS, "--updates", "200", "--evaluation.every", "20", "--device", "cpu"]
SEEDS = (5, 6)


def train(folder, *arguments):
    done = subprocess.run([TRAIN, *arguments], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_seeds_whose_command_is_killed_and_resumed_are_the_same_to_the_bit_as_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", str(max(len(os.sched_getaffinity(0)) // 2, 1)))
    command = [TRAIN, *OPTIONS, "--seeds", "5-6", "--run-dir", "several"]
    runs = {seed: tmp_path / "several" / f"seed-{seed}" for seed in SEEDS}
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 300
        while not (runs[5] / "checkpoints" / "last.pt").exists():
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
    for run in runs.values():
        if run.is_dir():
            with FileLock(run / ".lock", timeout=60):
                pass  # its training has ended
    assert not (runs[5] / "report.json").exists()
    assert "2 of 2 seeds finished: accuracy " in train(tmp_path, "--resume", "several")
    content = json.loads((tmp_path / "several" / "seeds.json").read_text())
    assert [each["status"] for each in content["seeds"]] == ["finished", "finished"]
    train(tmp_path, *OPTIONS, "--seed", "5", "--run-dir", "alone")
    same(tmp_path / "alone", runs[5])
