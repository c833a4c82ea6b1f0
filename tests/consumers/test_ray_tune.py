"""The example that trains seeds and settings side by side with Ray Tune."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from support.small import SMALL_OPTIONS

SWEEP = Path(__file__).parents[2] / "examples" / "sweep.py"


def test_the_sweep_trains_every_trial_and_goes_on(tmp_path):
    options = ["--seeds", "5", "--updates", "2", *SMALL_OPTIONS]
    command = [sys.executable, str(SWEEP), str(tmp_path / "sweep"), *options]
    for _ in range(2):
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        rows = [line.split() for line in done.stdout.splitlines() if line.strip().startswith("5 ")]
        assert sorted(row[1] for row in rows) == ["0.2", "0.5"]
    runs = sorted(tmp_path.glob("sweep/seed-*"))
    assert len(runs) == 2
    for run, weight in zip(runs, (0.2, 0.5), strict=True):
        assert json.loads((run / "config.json").read_text())["objective"]["transition_weight"] == weight
        assert len(json.loads((run / "provenance.json").read_text())) == 1  # finished, and not begun again
        accuracy = json.loads((run / "report.json").read_text())["nearest_centroid_accuracy"]
        assert any(float(row[2]) == pytest.approx(accuracy, abs=1e-5) for row in rows)
