import functools
import json
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest
from bisim_theory.data.auxiliary_names import NAMES
from pjepa_agent.cli.train import main, make_parser
from pjepa_agent.config import presets
from pjepa_agent.config.schema import RANDOM_AUXILIARIES, SCALAR_AUXILIARIES
from pjepa_agent.training.trainer import Trainer
from support.commands import run_command
from support.forks import Fork, run_forked

run = functools.partial(run_command, main)


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
        "auxiliary": (["--auxiliary", "size", "--run-dir", "new"], "auxiliary 'size': must be reward, q"),
        "environment": (["--set", "collection.environment=no_such_module:World-v0"], "collection.environment"),
        "import": (["--auxiliary", "no_such_module:f", "--run-dir", "new"], "cannot be imported"),
        "random": (["--experiment", "random", "--auxiliary", "q"], "experiment random has random or random-network"),
        "updates": (["--updates", "0"], "optimization.updates=0: must be in 1..1e+09"),
        "large": (["--seed", "99999999999999999999"], "seed=99999999999999999999: must be in 0..2147483647"),
        "no updates": (["--optimization.updates", "0"], "; --collect-only collects the transitions and trains nothing"),
        "set": (["--set", "network.width=0"], "network.width=0: must be in 1..4096"),
        "set nothing": (["--set", "width=3"], "'width=3': must be SECTION.FIELD=VALUE"),
        "used": (["--run-dir", used], "is already used; continue it with --resume"),
        "file": (["--run-dir", used / "mine.txt" / "run"], "cannot be written to"),
        "resume nothing": (["--resume", tmp_path / "none"], "holds no run"),
        "resume broken": (["--resume", broken], "config.json: cannot be read"),
        "resume and auxiliary": (["--resume", used, "--auxiliary", "q"], "--auxiliary: a resumed run keeps its own"),
        "resume and set": (["--resume", used, "--set", "network.width=3"], "--set: a resumed run keeps its own"),
        "resume and more": (["--resume", used, "--seed", "1"], "--seed: a resumed run keeps its own"),
    }
    import torch

    if not torch.cuda.is_available():
        for device in ("cuda", "cuda:1"):
            message = f"--device {device}: PyTorch finds no CUDA device here; use --device cpu or auto"
            cases[device] = (["--device", device, "--run-dir", "gpu"], message)
            cases[f"field {device}"] = (["--set", f"compute.device={device}", "--run-dir", "gpu"], message)
    for device in ("gpu", "cuda:", "cuda:-1", "cuda:01", "cuda:1:2", "cpu:0", "mps", "cuda: 1", ""):
        wrong = "auto, cpu, cuda, or cuda:N for the GPU of number N"
        cases[f"no device {device}"] = (["--device", device], wrong)
        cases[f"no field {device}"] = (["--set", f"compute.device={device}"], wrong)
    for name, (arguments, message) in cases.items():
        status, out, err = run(capsys, *arguments)
        assert (status, out) == (2, ""), name
        assert err.startswith("pjepa-train: error: "), name
        assert err.count("\n") == 1, name
        assert message in err, name
    assert [p.name for p in used.iterdir()] == ["mine.txt"]
    assert {p.name for p in tmp_path.iterdir()} == {"used", "broken"}


def test_help_imports_nothing_heavy():
    code = "import sys; from pjepa_agent.cli.train import main; sys.argv = ['pjepa-train', '--help']\n"
    code += "try: main()\nexcept SystemExit: pass\nprint({'torch', 'numpy', 'wandb'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("set()\n")
    assert "--experiment" in done.stdout


def test_help_names_every_form_of_p():
    shown = next(action.help for action in make_parser()._actions if "--auxiliary" in action.option_strings)
    words = re.split(r"[\s,;.()]+", shown)
    forms = ("NAME:bins:K", "NAME:round:STEP", "a+b", "module:function")
    for name in (*NAMES, *SCALAR_AUXILIARIES, *RANDOM_AUXILIARIES, *forms):
        assert name in words


def test_a_damaged_run_is_refused_by_resume(tiny, tmp_path, capsys):
    import numpy as np
    from pjepa_agent.run import train_run
    from pjepa_agent.runs.checkpoint import load_checkpoint, save_checkpoint
    from pjepa_agent.runs.directory import RunDirectory

    whole = RunDirectory.create(tmp_path / "whole", tiny())
    train_run(whole, tiny(), "cpu")
    whole.report.unlink()  # as if it had been stopped after its last checkpoint

    def arrays(run, **changes):
        with np.load(run.transitions, allow_pickle=False) as file:
            kept = {name: file[name] for name in file.files}
        kept |= changes
        np.savez(run.transitions, **{name: value for name, value in kept.items() if value is not None})

    def state(run, **changes):
        saved = load_checkpoint(run.checkpoint) | changes
        save_checkpoint(run.checkpoint, {name: value for name, value in saved.items() if value is not None})

    def config(run, **network):
        values = json.loads(run.config.read_text())
        values["network"] |= network
        run.config.write_text(json.dumps(values))

    damages = {
        "transitions.npz": lambda run: run.transitions.write_bytes(run.transitions.read_bytes()[:5000]),
        "source: must be": lambda run: arrays(run, source=np.zeros((2, 2), int)),
        "observation: is missing": lambda run: arrays(run, observation=None),
        "action_value: is missing": lambda run: arrays(run, action_value=None),
        "auxiliary: is (200, 2), this run needs (200,)": lambda run: arrays(run, auxiliary=np.zeros((200, 2))),
        "does not fit the run's config.json (KeyError)": lambda run: state(run, sampler=None),
        "does not fit the run's config.json (RuntimeError)": lambda run: config(run, latent_dim=8),
        "was saved on cuda; go on with --device cuda": lambda run: state(run, device="cuda"),
        "is no checkpoint, or a damaged one": lambda run: [path.write_bytes(b"PK" * 99) for path in run.checkpoints(2)],
        "metrics.csv: is damaged": lambda run: run.metrics.write_text("update,seconds\n0,1\n5\n"),
        "metrics.csv: has lost the column": lambda run: run.metrics.write_text(
            run.metrics.read_text().replace("eval/nearest_centroid_accuracy", "eval/nearest", 1)
        ),
        "metrics.csv: has lost the rows before update 12": lambda run: run.metrics.unlink(),
    }
    for number, (message, damage) in enumerate(damages.items()):
        run_ = RunDirectory(tmp_path / str(number))
        shutil.copytree(whole.path, run_.path)
        damage(run_)
        before = {path: path.stat().st_mtime_ns for path in run_.path.rglob("*")}
        status, out, err = run(capsys, "--resume", run_.path, "--device", "cpu")
        assert (status, out) == (2, ""), message
        assert err.splitlines()[-1].startswith("pjepa-train: error: "), message
        assert message in err
        assert "Traceback" not in err
        assert before == {path: path.stat().st_mtime_ns for path in run_.path.rglob("*")}, message
    # And undamaged it finishes.
    assert run(capsys, "--resume", whole.path, "--device", "cpu")[0] == 0
    assert whole.report.is_file()


def test_a_function_of_the_users_takes_the_rewards_place(tiny, tmp_path, capsys, monkeypatch):
    (tmp_path / "halves_of_mine.py").write_text(
        "import numpy as np\n"
        "def light(images, labels): return np.asarray(images[:]).reshape(len(images), 2, -1).mean(2)\n"
        "def rarely(images, labels): return np.where(np.arange(len(images)) == 150, np.nan, 0)\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(presets, "PRESETS", {"laptop": tiny()})
    options = ["--updates", "2", "--device", "cpu", "--run-dir"]
    status, out, err = run(capsys, "--auxiliary", "halves_of_mine:light", *options, "good")
    assert status == 0, err
    assert json.loads((tmp_path / "good" / "config.json").read_text())["objective"]["auxiliary_dim"] == 2
    assert json.loads((tmp_path / "good" / "report.json").read_text())["auxiliary"] == "halves_of_mine:light"
    # Good for the few observations that are looked at first, and not for all: still before training.
    status, out, err = run(capsys, "--auxiliary", "halves_of_mine:rarely", *options, "bad")
    assert (status, out) == (2, "")
    assert err.splitlines()[-1] == (
        "pjepa-train: error: auxiliary halves_of_mine:rarely: is not finite for observation 150"
    )
    assert not (tmp_path / "bad" / "metrics.csv").exists()


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_stopped_command_saves_says_how_to_go_on_and_does(tiny, tmp_path, monkeypatch, number, status):
    monkeypatch.setattr(presets, "PRESETS", {"laptop": tiny()})
    run_dir = tmp_path / "run"
    process = Fork(lambda: main(["--updates", "2000", "--device", "cpu", "--run-dir", str(run_dir)]))
    deadline = time.monotonic() + 120
    while not (run_dir / "metrics.csv").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send(number)
    stopped = process.wait()
    assert stopped.status == status, stopped.stderr
    assert f"go on with: pjepa-train --resume {run_dir}" in stopped.stderr
    assert "Traceback" not in stopped.stderr
    assert not (run_dir / "report.json").exists()
    config = json.loads((run_dir / "config.json").read_text())
    saved = int(re.search(r"after ([\d,]+) updates?;", stopped.stderr).group(1).replace(",", ""))
    config["optimization"]["updates"] = saved + 5  # what is left takes a moment
    (run_dir / "config.json").write_text(json.dumps(config))
    done = run_forked(lambda: main(["--resume", str(run_dir), "--device", "cpu"]))
    assert done.status == 0, done.stderr
    assert json.loads((run_dir / "report.json").read_text())["updates"] == saved + 5
    assert f"written to {run_dir}" in done.stdout
    assert f"bisim-check {run_dir}" in done.stdout


def test_code_that_ends_the_program_while_it_trains_is_an_error(tiny, tmp_path, capsys, monkeypatch):
    step = Trainer.step

    def ends(trainer):
        if trainer.update == 7:
            raise SystemExit(0)
        return step(trainer)

    monkeypatch.setattr(presets, "PRESETS", {"laptop": tiny()})
    monkeypatch.setattr(Trainer, "step", ends)
    path = tmp_path / "run"
    status, out, err = run(capsys, "--run-dir", path, "--device", "cpu")
    assert (status, out) == (2, "")
    assert err.splitlines()[-1] == (
        f"pjepa-train: error: ended before it was finished: SystemExit: 0; go on with: pjepa-train --resume {path}"
    )
    monkeypatch.setattr(Trainer, "step", step)
    assert run(capsys, "--resume", path, "--device", "cpu")[0] == 0


def test_ctrl_c_while_pytorch_is_imported_ends_the_command_without_a_word(tmp_path, monkeypatch, capsys):
    def interrupted():
        raise KeyboardInterrupt

    monkeypatch.setattr("pjepa_agent.cli.train.heavy_imports", interrupted)
    assert main(["--run-dir", str(tmp_path / "run")]) == 130
    assert main(["--resume", str(tmp_path)]) == 130
    assert "Traceback" not in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


FEWER = ("collection.transitions=3000", "evaluation.reference_per_count=30", "evaluation.scored_per_count=30",
         "evaluation.transitions=300", "evaluation.probe_per_count=100")  # fmt: skip
"""The data of the laptop preset in amounts that are handled in seconds."""


@pytest.mark.slow
def test_the_default_preset_with_fewer_data_runs_from_end_to_end(tmp_path):
    """All that the preset says of networks, objective and optimisation is the default."""
    settings = [part for each in FEWER for part in ("--set", each)]
    arguments = ["--updates", "2", "--device", "cpu", "--run-dir", str(tmp_path / "run"), *settings]
    done = run_forked(lambda: main(arguments), timeout=600)
    assert done.status == 0, done.stderr
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert (report["preset"], report["experiment"], report["seed"], report["updates"]) == ("laptop", "reward", 0, 2)
    assert "update 2/2: L_dyn" in done.stderr
