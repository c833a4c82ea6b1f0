"""An objective in one file of the user's: the README's trains, resumes and is measured; wrong ones are refused."""

import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from bisim_theory import write_transitions
from bisim_theory.cli import main as bisim_check
from pjepa_agent.cli.train import main
from pjepa_agent.run import train_run
from pjepa_agent.runs.directory import RunDirectory
from pjepa_agent.training import Interrupted
from support.corridor import walks
from support.sequences import with_columns

README = Path(__file__).parents[3] / "packages" / "pjepa-agent" / "README.md"

TINY = [
    "network.latent_dim=16", "network.hidden_dim=32", "optimization.batch_size=16", "optimization.warmup=2",
    "optimization.autocast=false", "evaluation.every=4", "evaluation.transitions=60",
]  # fmt: skip


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with a dataset and the README's objective as mine.py."""
    monkeypatch.chdir(tmp_path)
    write_transitions("walks.npz", walks(vector=True))
    blocks = re.findall(r"^```python\n(.*?)^```", README.read_text(), re.S | re.M)
    (code,) = [block for block in blocks if "EncoderObjective" in block]
    name = f"mine_{abs(hash(str(tmp_path)))}"  # a module is imported once a process
    Path(f"{name}.py").write_text(code)
    return name


def command(objective, *arguments):
    options = [part for setting in TINY for part in ("--set", setting)]
    data = str(Path("walks.npz").resolve())  # a domain of the same name would be that of another test
    return main(
        ["--objective", objective, "--data", data, "--auxiliary", "reward", "--updates", "8", "--run-dir", "run",
         *options, *arguments]
    )  # fmt: skip


def status_of(*arguments):
    """The exit status of a command, which options that cannot be used end at once."""
    try:
        return command(*arguments)
    except SystemExit as error:
        return error.code


def test_the_objective_of_the_readme_trains_resumes_and_is_measured(folder, capsys):
    assert command(f"{folder}:Contrast", "--objective-arg", "temperature=0.2") == 0
    assert f"P: learnt on detached embeddings, beside objective {folder}:Contrast" in capsys.readouterr().out
    run, config = RunDirectory.open("run")
    assert config.objective.arguments == {"temperature": 0.2}
    whole = torch.load(run.checkpoint, weights_only=True)
    assert set(whole["objective"]) == {"project.weight", "project.bias"}
    assert "losses/contrast" in run.metrics.read_text()
    assert bisim_check(["run"]) in (1, 3)

    parts = RunDirectory.create("parts", config, run.read_spec())
    calls = iter(range(1, 100))
    with pytest.raises(Interrupted):
        train_run(parts, config, "cpu", should_stop=lambda: next(calls) >= 6)
    assert main(["--resume", "parts"]) == 0
    other = torch.load(parts.checkpoint, weights_only=True)
    for section in ("model", "objective"):
        assert all(torch.equal(value, other[section][name]) for name, value in whole[section].items())


def test_a_file_that_has_changed_is_said_on_resuming(folder, caplog):
    assert command(f"{folder}:Contrast") == 0
    (first,) = json.loads(Path("run/provenance.json").read_text())
    assert list(first["sources"]) == [f"{folder}:Contrast"]
    for change in ("", "# other weights\n"):
        with open(f"{folder}.py", "a") as file:
            file.write(change)
        for _ in range(2):  # a change is said once
            Path("run/report.json").unlink()
            caplog.clear()
            assert main(["--resume", "run"]) == 0
            said = [message for message in caplog.messages if "its file has changed" in message]
            assert [message.split(": ")[0] for message in said] == [f"{folder}:Contrast"] * bool(change)
            change = ""


OTHER_P = ["--auxiliary", "terminated"]

WRONG = """
import torch
from pjepa_agent.objectives.base import EncoderObjective, Terms

number = 3

class NoTerms(EncoderObjective):
    weights = {"x": 1.0}

class Base(NoTerms):
    def value(self, model, batch, z):
        return z.square().mean()
    def terms(self, model, batch):
        z = self.encode(model, batch)
        return Terms({"x": self.value(model, batch, z)}, z)

class Raises(Base):
    def value(self, model, batch, z):
        return batch["smell"]

class Vector(Base):
    def value(self, model, batch, z):
        return z[0, :, 0]

class NotFinite(Base):
    def value(self, model, batch, z):
        return z.mean() / 0

class OtherNames(Base):
    weights = {"y": 1.0}

class Detached(Base):
    def __init__(self, setup, settings):
        super().__init__(setup, settings)
        self.own = torch.nn.Linear(16, 1)
    def value(self, model, batch, z):
        return self.own(z.detach()).mean()

class Shape(Base):
    def terms(self, model, batch):
        terms = super().terms(model, batch)
        return Terms(terms.losses, terms.embedding[0])

class Taken(Base):
    weights = {"total": 1.0}
    def terms(self, model, batch):
        z = self.encode(model, batch)
        return Terms({"total": z.mean()}, z)

class Head(Base):
    def value(self, model, batch, z):
        return model.head(z[0]).mean()

class Long(Base):
    least_horizon = 3

class Smell(Base):
    needs = frozenset({"smell"})

class OneName(Base):
    needs = "reward"

class Listed(Base):
    needs = ("action", "touch")

class Constructor(Base):
    def __init__(self, setup, settings):
        raise OSError("no\\nroom")
"""


@pytest.mark.parametrize(
    ("objective", "message"),
    [
        ("beauty", "objective.name='beauty': must be one of pjepa, deepmdp, dbc,"),
        ("wrong:nothing", "has no attribute 'nothing'"),
        ("nowhere:Class", "objective nowhere:Class: "),
        ("wrong:number", "is a int, must be a subclass of"),
        ("wrong:torch.nn.Linear", "is the class Linear, must be a subclass of pjepa_agent.objectives.base.Enc"),
        ("wrong:NoTerms", "has no terms; define it"),
        ("wrong:Raises", "fails on its first batch: KeyError: 'smell'"),
        ("wrong:Vector", "loss 'x' must be one floating-point number"),
        ("wrong:NotFinite", "loss 'x' is "),
        ("wrong:OtherNames", "losses ['x'] have weights ['y']; the names must be the same"),
        ("wrong:Detached", "no gradient reaches the encoder"),
        ("wrong:Shape", "must be (2, 8, 16): that of every observation of the batch"),
        ("wrong:Taken", "loss 'total' has the name of a loss of this package"),
        ("wrong:Head", "head is no part of what this objective trains; name it in `trains`"),
        ("wrong:Long", "objective.horizon=1: must be at least 3 for objective wrong_"),
        ("wrong:Smell", "needs smell; what can be needed is action, reward, terminated"),
        ("wrong:OneName", "needs is 'reward'; give a set of names"),
        ("wrong:Listed", "needs touch; what can be needed is"),
        ("wrong:Constructor", "raised OSError: no room"),
    ],
)  # fmt: skip
def test_a_wrong_objective_is_refused_in_one_line_before_anything_is_written(folder, objective, message, capsys):
    Path(f"wrong_{folder}.py").write_text(WRONG)
    assert status_of(objective.replace("wrong:", f"wrong_{folder}:")) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert message in lines[-1]
    assert "Traceback" not in "".join(lines)
    assert not Path("run").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--objective-arg", "temperature"], "--objective-arg temperature: must be NAME=JSON"),
        (
            ["--objective-arg", "temperatur=1"],
            "objective.arguments.temperatur: is no field of the configuration; there are temperature",
        ),
        (["--objective-arg", "temperature=-1"], "objective.arguments.temperature=-1: must be in 0.001..100"),
        (["--objective-arg", "temperature=hot"], "objective.arguments.temperature='hot': must be of type float"),
        (["--objective.transition-weight", "2"], "objective.transition_weight: is of pjepa; objective "),
        (["--experiment", "random"], "has no experiment random, which is pjepa's"),
    ],
)
def test_wrong_settings_are_refused(folder, arguments, message, capsys):
    assert status_of(f"{folder}:Contrast", *arguments) == 2
    assert message in capsys.readouterr().err
    assert not Path("run").exists()


@pytest.mark.parametrize(
    ("objective", "change", "arguments", "message"),
    [
        ("deepmdp", {"reward": None}, OTHER_P, "reward: is missing, and objective deepmdp needs it"),
        ("tdmpc2", {"terminated": None}, [], "terminated: is missing, and objective tdmpc2 needs it"),
        ("inverse", {"action": 0}, [], "so that nothing can be learnt of actions"),
        ("tdmpc2", {}, ["--objective.horizon", "40"], "needs sequences of 40 transitions (objective.horizon), and"),
        ("deepmdp", {}, ["--objective.horizon", "2"], "objective.horizon=2: must be 1 for objective deepmdp"),
        ("tdmpc2", {}, ["--network.latent-dim", "12"], "network.latent_dim=12: must be a multiple of 8"),
    ],
)  # fmt: skip
def test_what_the_data_lacks_is_said_before_training(folder, objective, change, arguments, message, capsys):
    data = walks(vector=True)
    values = {name: value for name, value in change.items() if value is None}
    if "action" in change:
        values["action"] = np.zeros_like(data.action)
    write_transitions("walks.npz", with_columns(data, **values))
    assert status_of(objective, *arguments) == 2
    assert message in capsys.readouterr().err.strip().splitlines()[-1]
    assert not Path("run").exists()


def test_why_the_reward_is_missing_is_said_with_the_file(folder, capsys):
    data = walks(vector=True)
    why = {"left_out": ["the rewards, of which that of row 2 is not finite"]}
    without = with_columns(data, reward=None)
    write_transitions("walks.npz", dataclasses.replace(without, metadata={**data.metadata, **why}))
    assert status_of("deepmdp", *OTHER_P) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert "walks.npz: reward: is missing, and objective deepmdp needs it" in said
    assert "(left out: the rewards, of which that of row 2 is not finite)" in said


def test_names_of_what_is_needed_can_stand_in_any_collection(folder):
    text = Path(f"{folder}.py").read_text()
    assert "stochastic = False" in text
    Path(f"{folder}.py").write_text(
        text.replace("stochastic = False", "stochastic, needs = False, ['reward', 'action']")
    )
    assert command(f"{folder}:Contrast") == 0


def test_a_reward_that_is_always_the_same_is_said(folder, caplog):
    data = walks(vector=True)
    write_transitions("walks.npz", with_columns(data, reward=np.zeros(len(data))))
    assert command("deepmdp", "--auxiliary", "terminated") == 0
    assert any("reward: is 0 in all" in message for message in caplog.messages)
