"""Training on other worlds than the counting one, from the command to the check."""

import dataclasses
import json
import logging

import numpy as np
import pytest
from bisim_theory import read_representation, read_transitions, write_transitions
from bisim_theory.cli import main as bisim_check
from bisim_theory.data.auxiliary import stored_values
from pjepa_agent import load
from pjepa_agent.auxiliary import Auxiliary
from pjepa_agent.collection.dataset import split_world
from pjepa_agent.config.fields import ConfigError
from pjepa_agent.config.presets import make_config
from pjepa_agent.envs.registry import make_domain
from pjepa_agent.evaluation.held_out_episodes import make_held_out
from pjepa_agent.run import prepare, train_run
from pjepa_agent.runs.directory import RunDirectory
from pjepa_agent.training import Interrupted
from support.corridor import PLACES, observe, walks
from support.world_runs import SMALL, rows_of, train


@pytest.fixture(params=["images", "vectors"])
def dataset(request, tmp_path):
    path = tmp_path / "walks.npz"
    write_transitions(path, walks(vector=request.param == "vectors"))
    return path


@pytest.mark.parametrize("terminal", ["leaf", "absorb"])
def test_a_dataset_is_trained_on_and_checked(tmp_path, dataset, terminal, capsys):
    status, run = train(tmp_path, "--data", dataset, "--auxiliary", "reward", "--collection.terminal", terminal)
    assert status == 0
    out = capsys.readouterr().out
    assert "explained share of distinguished pairs, held out, least of the levels with at least 20 pairs: " in out
    data, report = read_transitions(run.path), json.loads(run.report.read_text())
    assert (report["world"], report["auxiliary"]) == (str(dataset), "reward")
    held_out = report["held_out"]["trained"]
    assert (held_out["identity"], held_out["label"]) == ("content", "place")
    assert held_out["probe_score"] == {"place": "accuracy"}
    assert 0 < held_out["chance"]["place"] < held_out["linear_probe"]["place"] <= 1
    assert held_out["probe_content_seen"] > 0.5  # the corridor has five places
    # p is of observations: 1 at the goal, which is a source only where it absorbs; unknown where an episode begins.
    values, place = stored_values(data), data.labels["place"]
    assert set(values.value[values.known & (place == PLACES - 1)]) == {1}
    assert set(values.value[values.known & (place < PLACES - 1)]) == {0}
    goals = np.isin(data.source, np.flatnonzero(place == PLACES - 1))
    assert goals.any() == (terminal == "absorb")
    read_representation(run.representation).check_against(data)
    assert bisim_check([str(run.path), "--json", str(tmp_path / "found.json")]) in (1, 3)
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["identity"] == "content"
    assert found["hypothesis"]["levels"][0]["explained_share"] is not None
    model = load(run.path)
    frames = np.asarray(data.observation[:7])
    np.testing.assert_allclose(
        model.encode(frames).numpy(), read_representation(run.representation).embedding[:7], rtol=1e-4, atol=1e-5
    )
    assert len(rows_of(run)) == 3


def test_an_environment_is_trained_on_and_its_p_may_be_any_name(tmp_path):
    status, run = train(
        tmp_path, "--env", "support.corridor:Corridor-v0", "--env-arg", "vector=true", "--auxiliary", "terminated"
    )
    assert status == 0
    data = read_transitions(run.path)
    assert data.metadata["environment"] == "support.corridor:Corridor-v0"
    assert data.metadata["arguments"] == {"vector": True}
    assert stored_values(data).known.all()
    assert run.read_spec().observation_shape == (12, 20, 3)  # it renders
    np.testing.assert_array_equal(data.observation[0], observe(0, vector=False))
    assert json.loads(run.report.read_text())["best_update"] in (4, 8)


def test_many_frames_stay_in_the_dataset(tmp_path, dataset, monkeypatch, caplog):
    monkeypatch.setattr("pjepa_agent.training.transitions.COPIED", 100)
    config = prepare(make_config(updates=8, auxiliary="reward", dataset=str(dataset)).override(SMALL))
    run = RunDirectory.create(tmp_path / "run", config, make_domain(config.collection).spec)
    calls = iter(range(100))
    with caplog.at_level(logging.INFO, "pjepa_agent"), pytest.raises(Interrupted):
        train_run(run, config, "cpu", should_stop=lambda: next(calls) >= 5)
    assert any("leaves out the observations, which stay in" in message for message in caplog.messages)
    train_run(*RunDirectory.open(run.path), "cpu")
    data = read_transitions(run.path)
    assert data.observation is None
    read_representation(run.representation).check_against(data)
    assert bisim_check([str(run.path)]) in (1, 3)


def test_settings_of_an_environment_are_said_to_change_nothing_of_a_dataset(tmp_path, dataset, caplog):
    options = ["--data", dataset, "--auxiliary", "reward", "--collection.environments", "3"]
    assert train(tmp_path, *options, updates=1)[0] == 0
    assert (
        "collection.transitions=300, collection.environments=3: are of an environment and change nothing here"
        in caplog.text
    )


@pytest.mark.parametrize(("size", "said"), [(0, True), (64, False)])
def test_images_that_take_long_are_said_with_how_to_make_them_small(tmp_path, size, said, caplog, monkeypatch):
    monkeypatch.setattr("pjepa_agent.training.transitions.LARGE", 16)
    options = ["--env", "support.corridor:Corridor-v0", "--auxiliary", "terminated", "--collection.size", size]
    with caplog.at_level(logging.INFO, "pjepa_agent"):
        assert train(tmp_path, *options, updates=1)[0] == 0
    assert ("images of 12 x 20 are 0.00022 GB in all and have 0 times the pixels" in caplog.text) == said
    assert ("collection.size=64 resizes them" in caplog.text) == said


def test_a_dataset_is_read_once(tmp_path, dataset, monkeypatch):
    from pjepa_agent.envs import dataset as module

    calls = []
    read = module.read_transitions
    monkeypatch.setattr(module, "read_transitions", lambda *args, **named: calls.append(1) or read(*args, **named))
    assert train(tmp_path, "--data", dataset, "--auxiliary", "reward", updates=1)[0] == 0
    assert len(calls) == 1


def test_held_out_episodes_are_none_that_are_trained_on(tmp_path, dataset):
    _, run = train(tmp_path, "--data", dataset, "--auxiliary", "reward")
    trained = set(read_transitions(run.path).episode.tolist())
    everything = set(walks().episode.tolist())
    assert len(everything - trained) == round(0.2 * len(everything))


def test_a_stopped_run_ends_like_one_left_alone(tmp_path, dataset):
    config = make_config(updates=8, auxiliary="reward", dataset=str(dataset)).override(SMALL)
    config = prepare(config)
    spec = make_domain(config.collection).spec
    whole = RunDirectory.create(tmp_path / "whole", config, spec)
    train_run(whole, config, "cpu")
    parts = RunDirectory.create(tmp_path / "parts", config, spec)
    calls = iter(range(100))
    with pytest.raises(Interrupted):
        train_run(parts, config, "cpu", should_stop=lambda: next(calls) >= 5)
    train_run(*RunDirectory.open(parts.path), "cpu")
    assert rows_of(whole) == rows_of(parts)


def test_a_label_that_is_named_serves_as_ground_truth(tmp_path, dataset):
    _, run = train(tmp_path, "--data", dataset, "--auxiliary", "reward", "--evaluation.label", "place")
    assert float(rows_of(run)[0]["theorem/certified_share"]) > 0
    status, _ = train(tmp_path / "other", "--data", dataset, "--auxiliary", "reward", "--evaluation.label", "room")
    assert status == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--env", "support.corridor:Corridor-v0", "--data", "DATA"], "--env: excludes --data; a run has one world"),
        (["--data", "DATA", "--auxiliary", "health"], "auxiliary='health': this dataset offers"),
        (["--data", "nowhere.h5"], "nowhere.h5: does not exist"),
        (["--data", "BARE"], "observation: is missing, and an encoder needs observations"),
        (["--data", "ONE"], "needs 2 episodes to measure with and 2 to train on, and there are 1"),
        (["--data", "DATA", "--env-arg", "vector"], "--env-arg vector: must be NAME=JSON"),
        (["--data", "DATA", "--collection.online", "true"], "online=True: only the counting world"),
        (["--data", "DATA", "--evaluation.best", "eval/beauty"], "evaluation.best='eval/beauty': is no measure"),
        (["--data", "DATA", "--collection.stack", "4"], "collection.stack=4: is of an environment, and a dataset is"),
        (["--data", "DATA", "--collection.size", "32"], "collection.size=32: is of an environment"),
        (["--data", "DATA", "--collection.grayscale", "true"], "collection.grayscale=True: is of an environment"),
        (["--data", "SAME"], "have the code 1, so that nothing can be learnt of actions; record several"),
        (
            ["--data", "DATA", "--encoder", "support.models:too_wide"],
            "models:too_wide: returns (4, 17) float32",
        ),
        (["--data", "VECTORS", "--encoder", "support.models:Flat"], "encoder support.models:Flat: fails in training"),
        (["--data", "DATA", "--evaluation.label", "beauty"], "evaluation.label='beauty': this world has no such label"),
        (["--env", "support.toy_worlds:make", "--env-arg", "fault=raises"], "raised ZeroDivisionError: of two lines"),
        (["--env", "support.toy_worlds:make", "--collection.stack", "13"], "in a stack of 13 have 39 channels"),
        (["--env", "Corridor-v1"], "Corridor-v1"),
        (["--env", "no_such_module:Corridor-v0"], "no_such_module"),
    ],
)
def test_what_cannot_be_trained_on_is_one_line(tmp_path, arguments, message, capsys):
    data = walks()
    write_transitions(tmp_path / "DATA", data)
    write_transitions(tmp_path / "BARE", dataclasses.replace(data, observation=None))
    write_transitions(tmp_path / "ONE", walks(episodes=1))
    write_transitions(tmp_path / "SAME", dataclasses.replace(data, action=data.action * 0 + 1))
    write_transitions(tmp_path / "VECTORS", walks(vector=True))
    written = [path.name for path in tmp_path.iterdir()]
    paths = [str(tmp_path / each) if each in written else each for each in arguments]
    try:
        status, _ = train(tmp_path, *paths)
    except SystemExit as ended:
        status = ended.code
    assert not (tmp_path / "run").exists()
    err = [line for line in capsys.readouterr().err.splitlines() if line.startswith("pjepa-train: error: ")]
    assert status == 2
    assert len(err) == 1
    assert message in err[0]


def test_an_auxiliary_of_two_values_is_refused(tmp_path):
    data = walks()
    shared = dataclasses.replace(data, source=data.source * 0, successor=data.successor * 0 + 1, reward=data.reward)
    write_transitions(tmp_path / "data.npz", dataclasses.replace(shared, episode=np.arange(len(data)) // 100))
    config = make_config(auxiliary="reward", dataset=str(tmp_path / "data.npz")).override(SMALL)
    with pytest.raises(ConfigError, match="two auxiliary values"):
        prepare(config)


def test_the_figures_of_a_run_are_drawn_and_the_command_draws_it_again(tmp_path, dataset, capsys):
    from pjepa_agent.cli.figure import main as figure

    _, run = train(tmp_path, "--data", dataset, "--auxiliary", "reward")
    assert {path.name for path in run.figures.iterdir()} == {
        "pca.png", "distances.png", "witnesses.png", "curves.png",
    }  # fmt: skip
    capsys.readouterr()
    out = tmp_path / "figure.png"
    for at in ("last", "best"):
        assert figure([str(run.path), "--out", str(out), "--at", at]) == 0
        shown = capsys.readouterr().out
        assert "walks.npz, p: reward, seed 0: least explained share (of 20 pairs): " in shown
        assert "count" not in shown
    assert out.stat().st_size > 1_000


def test_the_untrained_encoder_of_vectors_is_standardised_like_the_trained_one(tmp_path):
    path = tmp_path / "walks.npz"
    far = walks(vector=True)
    write_transitions(path, dataclasses.replace(far, observation=far.observation * 1e6 + 1e7))
    _, run = train(tmp_path, "--data", path, "--auxiliary", "reward")
    untrained = json.loads(run.report.read_text())["held_out"]["untrained"]
    assert 1e-6 < untrained["spread"] < 100


@pytest.mark.parametrize("far", [-1, 0], ids=["far episode held out", "far episode trained on"])
def test_bins_of_p_are_those_of_the_training(tmp_path, far, capsys):
    path, data = tmp_path / "walks.npz", walks()
    write_transitions(path, data)
    held_out = split_world(make_config(dataset=str(path)).override(SMALL), 0)[1].episode
    stretched = held_out[0] if far else np.setdiff1d(data.episode, held_out)[0]
    height = np.where(data.episode == stretched, 100.0, 1.0) * (1 + data.labels["place"][data.successor])
    write_transitions(path, dataclasses.replace(data, reward=height))

    status, run = train(tmp_path, "--data", path, "--auxiliary", "reward:bins:4", updates=1)
    assert status == 0
    trained = read_transitions(run.path)
    assert set(np.unique(held_out)).isdisjoint(trained.episode)
    bins = run.read_spec().auxiliary_bins["reward:bins:4"]
    assert (bins.low, bins.high) == ((trained.reward.min(),), (trained.reward.max(),))

    def same_p(part):
        values = stored_values(part)
        assert values.known[part.successor].all()
        wanted = np.floor((part.reward - bins.low[0]) / (bins.high[0] - bins.low[0]) * 4).clip(0, 3)
        np.testing.assert_array_equal(values.value[part.successor], wanted)

    config = RunDirectory.open(run.path)[1]
    same_p(trained)
    same_p(make_held_out(config, run.read_spec(), Auxiliary(config, bins=run.read_spec().auxiliary_bins)).data)
    assert load(run.path).spec.auxiliary_bins == {"reward:bins:4": bins}
    assert bisim_check([str(run.path)]) in (1, 3)
    assert f"reward:bins:4 is the number of one of 4 equal bins: {bins.intervals(0)}" in capsys.readouterr().out


def test_a_run_goes_on_with_the_bins_that_it_began_with(tmp_path):
    path, data = tmp_path / "walks.npz", walks()
    write_transitions(path, dataclasses.replace(data, reward=1.0 + data.labels["place"][data.successor]))
    config = prepare(make_config(updates=8, auxiliary="reward:bins:3", dataset=str(path)).override(SMALL))
    run = RunDirectory.create(tmp_path / "run", config, make_domain(config.collection).spec)
    assert run.read_spec().auxiliary_bins == {}
    calls = iter(range(100))
    with pytest.raises(Interrupted):
        train_run(run, config, "cpu", should_stop=lambda: next(calls) >= 5)
    first = run.read_spec()
    assert set(first.auxiliary_bins) == {"reward:bins:3"}
    run.transitions.unlink()  # it is collected again, which changes no bin
    train_run(*RunDirectory.open(run.path), "cpu")
    assert run.read_spec() == first
    assert read_transitions(run.path).metadata["auxiliary_bins"]["reward:bins:3"]["low"] == [1.0]


def test_a_function_that_leaves_is_refused_in_one_line(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "leaving.py").write_text("def p(images, labels): raise SystemExit(7)\n")
    with pytest.raises(ConfigError, match="auxiliary leaving:p: raised SystemExit: 7"):
        prepare(make_config(auxiliary="leaving:p"))
