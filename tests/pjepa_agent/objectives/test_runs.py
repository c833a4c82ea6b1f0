"""Trainings with every objective: they end the same when interrupted, are measured, and say what learnt beside them."""

import copy
import json

import numpy as np
import pytest
import torch
from bisim_theory import DatasetError, write_transitions
from pjepa_agent.cli.train import main
from pjepa_agent.collection.dataset import collect_dataset
from pjepa_agent.config.presets import make_config
from pjepa_agent.config.schema import OBJECTIVES
from pjepa_agent.envs.registry import make_domain
from pjepa_agent.model import Readouts
from pjepa_agent.objectives.base import EncoderObjective, Setup
from pjepa_agent.objectives.registry import CLASSES, make_objective, objective_class
from pjepa_agent.run import prepare
from pjepa_agent.runs.directory import RunDirectory
from pjepa_agent.runs.metrics import MetricsFile
from pjepa_agent.training import Interrupted, Trainer
from pjepa_agent.training.requirements import check_data
from support.corridor import walks
from support.sequences import DISCRETE, make_case, make_config_of, make_episodes, with_columns
from support.small import SMALL

CPU = torch.device("cpu")

TINY = [
    "network.latent_dim=16", "network.hidden_dim=32", "optimization.batch_size=16", "optimization.warmup=2",
    "optimization.autocast=false", "evaluation.every=4", "evaluation.transitions=60",
]  # fmt: skip

OTHERS = [name for name in OBJECTIVES if name != "pjepa"]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "walks.npz"
    write_transitions(path, walks(vector=True))
    return path


def train(path, config, data, stop=None):
    """Train to the end, with a stop after so many updates and a start anew where one is given."""
    run = RunDirectory.create(path, config, make_domain(config.collection).spec)
    if stop is not None:
        calls = iter(range(1, 100))
        with pytest.raises(Interrupted):
            Trainer(config, run, data, CPU).train(should_stop=lambda: next(calls) >= stop)
    trainer = Trainer(config, run, data, CPU)
    trainer.train()
    return trainer, torch.load(run.checkpoint, weights_only=True)


def check_equal(one, other):
    assert one.keys() == other.keys()
    for name, value in one.items():
        if isinstance(value, dict):
            check_equal(value, other[name])
        elif isinstance(value, torch.Tensor):
            assert torch.equal(value, other[name]), name
        elif name != "seconds":
            assert value == other[name], name


@pytest.mark.parametrize("name", OTHERS)
def test_an_interrupted_run_of_every_objective_ends_like_one_left_alone(name, dataset, tmp_path):
    config = make_config(objective=name, dataset=str(dataset), auxiliary="reward", updates=8).override(TINY)
    data = collect_dataset(config)
    whole, state = train(tmp_path / "whole", config, data)
    _, stopped = train(tmp_path / "parts", config, data, stop=6)
    check_equal(state, stopped)
    row = whole.metrics.rows[-1]
    terms = {f"losses/{term}" for term in whole.objective.weights_at(1.0)}
    beside = {"losses/auxiliary_readout"} | ({"losses/transition_readout"} if name == "inverse" else set())
    assert {column for column in row if column.startswith("losses/")} == {"losses/total"} | terms | beside
    assert all(torch.isfinite(torch.tensor(row[column])) for column in (*terms, *beside))
    assert row["theorem/least_explained_share"] >= 0
    first = RunDirectory(tmp_path / "whole").best
    assert first.is_file()
    assert whole.objective.detached == ({"dynamics", "head"} if name == "inverse" else {"head"})


def test_images_of_another_environment_train_it(tmp_path, caplog):
    options = [part for setting in [*TINY, "network.width=4"] for part in ("--set", setting)]
    world = ["--env", "support.corridor:Corridor-v0", "--auxiliary", "terminated", "--collection.transitions", "300"]
    arguments = ["--objective", "tdmpc2", *world, "--updates", "4", "--run-dir", str(tmp_path / "run")]
    assert main([*arguments, *options]) == 0
    row = MetricsFile(tmp_path / "run" / "metrics.csv", until=4).rows[-1]
    assert {"losses/transition", "losses/reward", "losses/value"} <= row.keys()
    assert not any("learns nothing" in message for message in caplog.messages)  # whatever the first few rewards are
    assert "losses/policy" not in row  # discrete actions have no bounds
    assert row["theorem/least_explained_share"] >= 0


@pytest.mark.parametrize("name", ["tdmpc2", "ema"])
def test_images_of_the_counting_world_train_it(name, tmp_path):
    config = make_config(objective=name, updates=2).override([*SMALL, "evaluation.every=2"])
    trainer = Trainer(config, RunDirectory.create(tmp_path / "run", config), collect_dataset(config), CPU)
    before = {part: copy.deepcopy(module.state_dict()) for part, module in trainer.model.named_children()}
    trainer.train()
    for part, module in trainer.model.named_children():
        assert any(not torch.equal(value, before[part][key]) for key, value in module.state_dict().items()), part
    assert trainer.metrics.rows[-1]["theorem/explained_share_1"] >= 0
    assert ("losses/policy" in trainer.metrics.rows[-1]) == (name == "tdmpc2")  # its actions are in [-1, 1]


def test_what_learns_beside_an_objective_changes_nothing_of_the_encoder(dataset, tmp_path, monkeypatch):
    config = make_config(objective="inverse", dataset=str(dataset), auxiliary="reward", updates=5).override(TINY)
    data = collect_dataset(config)
    states = [train(tmp_path / "with", config, data)[1]]
    monkeypatch.setattr("pjepa_agent.model.PJEPA.readouts_beside", lambda model, trained: Readouts(None, None))
    states.append(train(tmp_path / "without", config, data)[1])
    encoders, heads = (
        [{key: value for key, value in state["model"].items() if key.startswith(part)} for state in states]
        for part in ("encoder", "head")
    )
    check_equal(*encoders)
    assert any(not torch.equal(value, heads[1][key]) for key, value in heads[0].items())
    for state in states:
        check_equal(state["objective"], states[0]["objective"])


def test_a_policy_of_one_action_has_nothing_to_classify():
    data = make_episodes()
    check_data(make_config_of("inverse"), DISCRETE, data)
    with pytest.raises(
        DatasetError, match="action: objective inverse needs at least two, and this data holds a single"
    ):
        check_data(make_config_of("inverse"), DISCRETE, with_columns(data, action=np.zeros_like(data.action)))


def test_every_name_is_a_class_with_its_equation_and_source():
    assert tuple(CLASSES) == OBJECTIVES
    for name in OTHERS:
        found = objective_class(make_config_of(name))
        assert issubclass(found, EncoderObjective)
        text = __import__(found.__module__, fromlist=["x"]).__doc__
        assert "Source: " in text
        assert "Deviations: " in text


def test_the_networks_of_an_objective_are_drawn_from_a_stream_of_their_own():
    case = make_case("deepmdp")
    states = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        objective = make_objective(Setup(case.config, case.model.spec, case.model.core, (0, 1)))
        states.append((objective.state_dict(), torch.rand(1)))
    check_equal(states[0][0], states[1][0])
    assert not torch.equal(states[0][1], states[1][1])  # and the global one goes on as if there were none


def test_a_run_of_an_objective_says_what_learnt_beside_it(dataset, tmp_path, capsys):
    options = [part for setting in TINY for part in ("--set", setting)]
    run = tmp_path / "run"
    arguments = ["--objective", "inverse", "--data", str(dataset), "--auxiliary", "reward", "--updates", "4"]
    assert main([*arguments, *options, "--run-dir", str(run)]) == 0
    assert "T and P: learnt on detached embeddings, beside objective inverse" in capsys.readouterr().out
    report = json.loads((run / "report.json").read_text())
    assert (report["objective"], report["detached"]) == ("inverse", ["dynamics", "head"])
    assert prepare(RunDirectory.open(run)[1]) == RunDirectory.open(run)[1]
