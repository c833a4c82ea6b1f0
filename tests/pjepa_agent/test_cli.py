import json
import os
import signal
import subprocess
import sys
import time

import pytest
from pjepa_agent.cli import main

COMMAND = [sys.executable, "-c", "import sys; from pjepa_agent.cli import main; sys.exit(main())"]


def run(capsys, *arguments):
    try:
        status = main([str(argument) for argument in arguments])
    except SystemExit as end:
        status = end.code
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_bad_input_is_one_clear_line_and_status_2(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    used = tmp_path / "used"
    used.mkdir()
    (used / "mine.txt").write_text("mine")
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "config.json").write_text("{")
    cases = {
        "option": (["--speed", "9"], "unrecognized arguments: --speed 9"),
        "value": (["--preset", "desk"], "invalid choice: 'desk'"),
        "experiment": (["--experiment", "rewards"], "invalid choice"),
        "abbreviation": (["--see", "1"], "unrecognized arguments"),
        "number": (["--seed", "one"], "invalid int value: 'one'"),
        "seed": (["--seed", "-1"], "seed=-1: must be in"),
        "updates": (["--updates", "0"], "optimization.updates=0: must be at least 1"),
        "used": (["--run-dir", used], "is already used; continue it with --resume"),
        "file": (["--run-dir", used / "mine.txt" / "run"], "cannot be written to"),
        "resume nothing": (["--resume", tmp_path / "none"], "holds no run"),
        "resume broken": (["--resume", broken], "config.json: cannot be read"),
        "resume and more": (["--resume", used, "--seed", "1"], "--seed: a resumed run keeps its own"),
    }
    import torch

    if not torch.cuda.is_available():
        cases["device"] = (["--device", "cuda", "--run-dir", "gpu"], "finds no CUDA device")
    for name, (arguments, message) in cases.items():
        status, out, err = run(capsys, *arguments)
        assert (status, out) == (2, ""), name
        assert err.startswith("pjepa-train: error: "), name
        assert err.count("\n") == 1, name
        assert message in err, name
    assert [p.name for p in used.iterdir()] == ["mine.txt"]
    assert {p.name for p in tmp_path.iterdir()} == {"used", "broken"}


def test_help_imports_nothing_heavy():
    code = "import sys; from pjepa_agent.cli import main; sys.argv = ['pjepa-train', '--help']\n"
    code += "try: main()\nexcept SystemExit: pass\nprint({'torch', 'numpy', 'wandb'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("set()\n")
    assert "--experiment" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_command_saves_says_how_to_go_on_and_does(tmp_path, number, status):
    run_dir = tmp_path / "run"
    process = subprocess.Popen(
        [*COMMAND, "--updates", "60", "--run-dir", str(run_dir)],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "2"},
    )
    deadline = time.monotonic() + 120
    while not (run_dir / "metrics.csv").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(number)
    error = process.communicate(timeout=120)[1]
    assert process.returncode == status, error
    assert f"go on with: pjepa-train --resume {run_dir}" in error
    assert "Traceback" not in error
    assert not (run_dir / "report.json").exists()
    done = subprocess.run([*COMMAND, "--resume", str(run_dir)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert json.loads((run_dir / "report.json").read_text())["updates"] == 60
    assert f"written to {run_dir}" in done.stdout
    assert "bisim-check" in done.stdout
