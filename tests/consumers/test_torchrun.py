"""The example that trains one run with several processes, which `torchrun` starts."""

import json
import os
import subprocess
import sys
from pathlib import Path

from support.small import SMALL_OPTIONS

EXAMPLE = Path(__file__).parents[2] / "examples" / "several_processes.sh"


def test_torchrun_trains_a_run_with_two_processes(tmp_path):
    scripts = Path(sys.executable).parent
    run = tmp_path / "run"
    command = [EXAMPLE, "2", "--updates", "4", "--run-dir", run, *SMALL_OPTIONS]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("4 updates in ") == 1
    assert json.loads((run / "report.json").read_text())["updates"] == 4
    assert len(json.loads((run / "provenance.json").read_text())) == 1
