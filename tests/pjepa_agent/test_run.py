import contextlib
import dataclasses
import importlib
import io
import json
import logging
import math
import re
import socket
import sys
import threading

import matplotlib
import numpy as np
import pytest
import torch
from bisim_theory import empirical_bisimulation, read_representation, read_transitions, write_transitions
from bisim_theory.cli import main as bisim_check
from pjepa_agent import load
from pjepa_agent.collection.dataset import collect_dataset
from pjepa_agent.config.fields import ConfigError
from pjepa_agent.config.schema import Config
from pjepa_agent.evaluation.held_out import HeldOut
from pjepa_agent.figures.run import write_figures
from pjepa_agent.run import prepare, train_run
from pjepa_agent.runs.directory import RunDirectory, RunError
from pjepa_agent.runs.metrics import MetricsFile
from pjepa_agent.runs.progress import TrainingProgress
from pjepa_agent.training import Interrupted


def start(path, config, **options):
    run = RunDirectory.create(path, config)
    return run, train_run(run, config, "cpu", **options)


def weights(run):
    return torch.load(run.checkpoint, weights_only=True)["model"]


@pytest.mark.usefixtures("rendered_figures")
def test_a_run_leaves_everything_that_design_promises(tiny, tmp_path):
    run, report = start(tmp_path / "run", tiny())
    left = {str(p.relative_to(run.path)) for p in run.path.rglob("*") if p.is_file()}
    assert left == {
        "config.json", "spec.json", "metrics.csv", "checkpoints/last.pt", "checkpoints/last-1.pt",
        "checkpoints/best.pt", "transitions.npz", "representation.npz", "report.json", "provenance.json", ".lock",
        "figures/pca.png", "figures/distances.png", "figures/curves.png",
    }  # fmt: skip
    assert json.loads(run.report.read_text()) == report
    assert report["updates"] == 12
    assert report["best_nearest_centroid_accuracy"] >= report["nearest_centroid_accuracy"] > 0
    assert Config.from_dict(json.loads(run.config.read_text())) == tiny()
    rows = run.metrics.read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == ["update", "0", "5", "10", "12"]

    data, representation = read_transitions(run.path), read_representation(run.representation)
    model = load(run.path)
    images = data.observation[0:50]
    np.testing.assert_allclose(model.encode(images).numpy(), representation.embedding[:50], rtol=1e-4, atol=1e-6)
    predicted = model.predict(representation.embedding[data.source], data.action_value)
    np.testing.assert_allclose(predicted.numpy(), representation.predicted_embedding, rtol=1e-4, atol=1e-6)
    assert empirical_bisimulation(data).distinguished_pairs > 0
    assert bisim_check([str(run.path)]) in (0, 1, 3)


def test_the_most_compact_model_is_kept_beside_the_last(tiny, tmp_path):
    config = tiny(updates=60, schedule="constant", learning_rate=1e-2)
    run, report = start(tmp_path / "run", config)
    held_out = HeldOut(config)
    found = {at: held_out.accuracy(load(run.path, at=at).encode(held_out.images).numpy()) for at in ("last", "best")}
    assert found["last"] == pytest.approx(report["nearest_centroid_accuracy"], abs=1e-5)
    assert found["best"] == pytest.approx(report["best_nearest_centroid_accuracy"], abs=1e-5)
    assert found["best"] > found["last"]
    rows = run.metrics.read_text().splitlines()
    column = rows[0].split(",").index("eval/nearest_centroid_accuracy")
    trained = {int(row.split(",")[0]): float(row.split(",")[column]) for row in rows[2:]}
    assert trained[report["best_update"]] == max(trained.values())


def test_what_chooses_the_best_state_is_a_named_column(tiny, tmp_path, caplog):
    config = tiny()
    config = dataclasses.replace(config, evaluation=dataclasses.replace(config.evaluation, best="-eval/spread"))
    with caplog.at_level(logging.INFO, "pjepa_agent"):
        run, report = start(tmp_path / "run", config)
    rows = MetricsFile(run.metrics, until=12).rows[1:]
    assert report["best_update"] == min(reversed(rows), key=lambda row: row["eval/spread"])["update"]
    assert any("spread 0." in message for message in caplog.messages)
    wrong = dataclasses.replace(config, evaluation=dataclasses.replace(config.evaluation, best="eval/beauty"))
    with pytest.raises(ConfigError, match=r"evaluation.best='eval/beauty': is no measure of this world; it has eval/"):
        start(tmp_path / "other", wrong)


def test_the_same_seed_gives_the_same_run(tiny, left_alone, tmp_path):
    first, second = map(weights, (left_alone, start(tmp_path / "run", tiny())[0]))
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("stop_at", [0, 5, 7])
def test_an_interrupted_run_ends_like_one_left_alone(tiny, left_alone, tmp_path, stop_at):
    config = tiny()
    run = RunDirectory.create(tmp_path / "parts", config)
    asked = iter(range(100))
    with pytest.raises(Interrupted) as caught:
        train_run(run, config, "cpu", should_stop=lambda: next(asked) >= stop_at)
    assert not run.report.exists()
    assert 0 < caught.value.update <= stop_at + 3
    train_run(*RunDirectory.open(run.path), "cpu")
    first, second = weights(left_alone), weights(run)
    assert all(torch.equal(first[name], second[name]) for name in first)
    updates = [line.split(",")[0] for line in run.metrics.read_text().splitlines()]
    assert updates == ["update", "0", "5", "10", "12"]


def test_training_learns_the_reward(tiny, tmp_path):
    run, _ = start(tmp_path / "run", tiny(updates=60, learning_rate=3e-3))
    rows = [line.split(",") for line in run.metrics.read_text().splitlines()]
    auxiliary = [float(row[rows[0].index("losses/auxiliary")]) for row in rows[2:]]
    assert auxiliary[-1] < 0.3 * auxiliary[0]


@pytest.mark.parametrize("experiment", ["random", "reward-only", "transition-only"])
def test_every_experiment_trains_and_can_be_checked(tiny, tmp_path, experiment):
    run, report = start(tmp_path / experiment, tiny(experiment))
    assert report["experiment"] == experiment
    data = read_transitions(run.path)
    assert data.auxiliary.shape == ((200, 256) if experiment == "random" else (200,))
    read_representation(run.representation).check_against(data)


def test_a_used_directory_is_never_overwritten(tiny, tmp_path):
    config = tiny()
    used = tmp_path / "used"
    used.mkdir()
    (used / "note.txt").write_text("mine")
    for path in (used, used / "note.txt"):
        with pytest.raises(RunError, match="is already used; continue it with --resume"):
            RunDirectory.create(path, config)
    assert (used / "note.txt").read_text() == "mine"
    assert [p.name for p in used.iterdir()] == ["note.txt"]
    with pytest.raises(RunError, match="cannot be written to"):
        RunDirectory.create(used / "note.txt" / "below", config)


def test_a_damaged_run_is_refused_by_name(tiny, tmp_path):
    config = tiny()
    run, _ = start(tmp_path / "run", config)
    with pytest.raises(RunError, match="is finished"):
        train_run(run, config, "cpu")
    with pytest.raises(RunError, match="holds no run"):
        load(tmp_path)
    whole = run.checkpoint.read_bytes()
    run.checkpoint.write_bytes(whole[:1000])
    with pytest.raises(RunError, match=r"last\.pt: is no checkpoint, or a damaged one"):
        load(run.path)
    run.checkpoint.unlink()
    with pytest.raises(RunError, match=r"last\.pt: does not exist"):
        load(run.path)
    run.config.write_text('{"network": {"width": "wide"}}')
    with pytest.raises(RunError, match=r"network\.width='wide': must be of type int"):
        RunDirectory.open(run.path)
    run.config.write_text("[1")
    with pytest.raises(RunError, match="it is no configuration"):
        RunDirectory.open(run.path)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"experiment": "x"}, "experiment='x': must be one of reward"),
        ({"unknown": 1}, "unknown: is no field"),
        ({"optimization": {"updates": 0}}, r"optimization\.updates=0: must be in 1\.\."),
        ({"optimization": {"learning_rate": float("nan")}}, r"learning_rate=nan: must be in"),
        ({"optimization": {"clip": -1.0}}, r"clip=-1\.0: must be in"),
        ({"network": {"latent_dim": 1}}, r"latent_dim=1: must be in 2\.\."),
        ({"network": {"blocks": 0}}, r"blocks=0: must be in"),
        ({"collection": {"target": 99}}, r"target=99: must be in 0\.\.8"),
        ({"collection": {"environment": "CartPole-v1", "dataset": "a.h5"}}, "dataset='a.h5': excludes collection.env"),
        ({"collection": {"environment": "CartPole-v1", "online": True}}, "online=True: only the counting world"),
        ({"collection": {"environment": "CartPole-v1", "arguments": [1]}}, r"arguments=\[1\]: must be a JSON object"),
        ({"collection": {"arguments": {"target": 3}}}, "arguments: are of another environment; use collection.target"),
        ({"collection": {"max_episode_steps": 0}}, "max_episode_steps=0: the counting world needs at least 1"),
        ({"evaluation": {"every": 0}}, r"every=0: must be in"),
        ({"preset": "desk"}, "preset='desk': must be one of laptop"),
        ({"optimization": {"updates": True}}, r"optimization\.updates=True: must be of type int"),
        ({"collection": {"transitions": 10}}, r"batch_size=128: exceeds collection\.transitions=10"),
        ({"seed": -1}, "seed=-1: must be in"),
        ({"network": 3}, "network: must be an object"),
    ],
)
def test_wrong_configurations_are_named(values, message):
    with pytest.raises(ConfigError, match=message):
        Config.from_dict(values)


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("optimization.batch_size", "'optimization.batch_size': must be SECTION.FIELD=VALUE, the section one of coll"),
        ("seed=3", "'seed=3': must be SECTION.FIELD=VALUE"),
        ("optimization.=3", "must be SECTION.FIELD=VALUE"),
        ("optimization.speed=3", "optimization.speed: is no field"),
        ("optimization.batch_size=many", "optimization.batch_size='many': must be of type int"),
        ("optimization.batch_size=1e99", r"optimization.batch_size=1e\+99: must be of type int"),
        ("network.normalization=3", "network.normalization=3: must be one of batch"),
        ("optimization.learning_rate=NaN", "optimization.learning_rate=nan: must be in"),
    ],
)
def test_wrong_assignments_are_named(assignment, message):
    with pytest.raises(ConfigError, match=message):
        Config().override([assignment])


def test_any_field_can_be_assigned():
    config = Config().override(["network.normalization=none", "optimization.batch_size=64", "network.decoder=true"])
    assert (config.network.normalization, config.optimization.batch_size, config.network.decoder) == ("none", 64, True)
    values = config.to_dict()
    again = Config().override(
        f"{section}.{name}={json.dumps(value)}"
        for section, fields in values.items() if isinstance(fields, dict) for name, value in fields.items()
    )  # fmt: skip
    assert again == config


def test_wandb_offline_touches_no_network(tiny, tmp_path, monkeypatch):
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(0.2)
    address = f"http://127.0.0.1:{listener.getsockname()[1]}"
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy", "WANDB_BASE_URL"):
        monkeypatch.setenv(name, address)
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    connections, done = [], threading.Event()

    def listen():
        while not done.is_set():
            with contextlib.suppress(TimeoutError):
                connections.append(listener.accept())
                done.set()

    thread = threading.Thread(target=listen)
    thread.start()
    try:
        run, _ = start(tmp_path / "run", tiny(), wandb="offline")
        # The listener would have seen it: a connection of our own arrives.
        assert connections == []
        socket.create_connection(listener.getsockname()).close()
        thread.join(5)
        assert len(connections) == 1
    finally:
        done.set()
        thread.join()
        listener.close()
    files = list((run.path / "wandb").rglob("*.wandb"))
    assert len(files) == 1
    assert files[0].stat().st_size > 0


class Terminal(io.StringIO):
    def isatty(self):
        return True


ROW = {
    "update": 5, "losses/total": 1.0, "losses/transition": 0.25, "losses/auxiliary": 0.5,
    "eval/nearest_centroid_accuracy": 0.75, "charts/updates_per_second": 10.0,
}  # fmt: skip


def test_progress_is_a_bar_on_a_terminal_of_eighty_columns():
    stream = Terminal()
    with TrainingProgress(1_000, 0, stream=stream) as progress:
        progress.update(5)
        progress.metrics({**ROW, "losses/auxiliary": 3.5355})
    shown = stream.getvalue().split("\r")[-1].strip("\n")
    assert " left, accuracy 0.750, L_dyn 0.25, L_p 3.54" in shown
    # A bar of any width, and a rate as a training has it.
    usual = re.sub(r"[\d.]+/s", "99.99/s", re.sub(r"\|.*\|", "|####|", shown))
    assert "|####| 5/1000, 99.99/s, " in usual
    assert len(usual) <= 80


def test_progress_is_a_line_elsewhere(caplog):
    stream = io.StringIO()
    with caplog.at_level(logging.INFO, "pjepa_agent"), TrainingProgress(10, 0, stream=stream) as progress:
        progress.update(5)
        progress.metrics(ROW)
    assert stream.getvalue() == ""
    assert caplog.messages == ["update 5/10: L_dyn 0.2500, L_p 0.5000, accuracy 0.750, 10.0 updates/s, 0:00 left"]


def test_progress_shows_the_losses_of_any_objective_and_none_of_readouts(caplog):
    row = {name: value for name, value in ROW.items() if not name.startswith("losses/")}
    row |= {"losses/total": 1.0, "losses/inverse_dynamics": 0.5, "losses/reward": math.nan, "losses/decoder": 0.125}
    with caplog.at_level(logging.INFO, "pjepa_agent"):
        TrainingProgress(10, 0, stream=io.StringIO()).metrics(row)
    assert caplog.messages == ["update 5/10: inverse_dynamics 0.5000, accuracy 0.750, 10.0 updates/s, 0:00 left"]


@pytest.fixture
def interrupted(tiny, tmp_path, monkeypatch):
    """A run with a function of the user's as p that was stopped after its first update."""

    def make(source, *overrides):
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.setattr(sys, "dont_write_bytecode", True)  # which a change of the same second and size leaves stale
        (tmp_path / "own_p.py").write_text(source)
        config = prepare(tiny().override(["objective.auxiliary=own_p:p", *overrides]))
        run = RunDirectory.create(tmp_path / "run", config)
        with pytest.raises(Interrupted):
            train_run(run, config, "cpu", should_stop=lambda: True)
        return run, config

    yield make
    sys.modules.pop("own_p", None)


def test_a_function_that_changed_since_the_run_began_is_refused(interrupted, tmp_path):
    run, config = interrupted("def p(images, labels):\n    return labels['count'] * 1.0\n")
    before = run.checkpoint.read_bytes()
    (tmp_path / "own_p.py").write_text("def p(images, labels):\n    return 8.0 - labels['count']\n")
    sys.modules.pop("own_p")
    importlib.invalidate_caches()
    with pytest.raises(RunError, match=r"auxiliary: holds other values than own_p:p now has, so the function has"):
        train_run(run, config, "cpu")
    assert run.checkpoint.read_bytes() == before
    assert not run.report.exists()


def test_a_function_that_is_written_differently_is_the_same_function(interrupted, tmp_path):
    run, config = interrupted("def p(images, labels):\n    return labels['count'] * 1.0\n")
    (tmp_path / "own_p.py").write_text("def p(images, labels):\n    return 0.5 * (labels['count'] + labels['count'])\n")
    sys.modules.pop("own_p")
    importlib.invalidate_caches()
    assert train_run(run, config, "cpu")["updates"] == 12


@pytest.mark.parametrize("lost", ["nothing", "the transitions and the checkpoint"])
@pytest.mark.parametrize("online", ["true", "false"])
def test_a_function_that_changed_is_refused_without_stored_transitions(interrupted, tmp_path, online, lost):
    settings = [f"collection.online={online}", "collection.initial_transitions=100"]
    run, config = interrupted("def p(images, labels):\n    return labels['count'] * 1.0\n", *settings)
    if lost != "nothing":  # as of a run that was killed early
        for path in (*run.checkpoints(2), run.transitions):
            path.unlink(missing_ok=True)
    files = {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()}

    def become(source):
        (tmp_path / "own_p.py").write_text(source)
        sys.modules.pop("own_p")
        importlib.invalidate_caches()

    become("def p(images, labels):\n    return labels['count'] * 1.0 + (labels['count'] == 6)\n")
    with pytest.raises(RunError, match=r"auxiliary: (own_p:p had other values|holds other values than own_p:p now)"):
        train_run(run, config, "cpu")
    assert files == {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()}
    become("def p(images, labels):\n    return labels['count'] / 7 * 7.0\n")
    assert train_run(run, config, "cpu")["updates"] == 12
    assert len(json.loads(run.provenance.read_text())) == 2


@pytest.mark.parametrize(("name", "said"), [("FrozenLake-v1", "FrozenLake-v1"), (None, "an unnamed environment")])
def test_transitions_of_another_world_are_refused(tiny, tmp_path, name, said):
    run = RunDirectory.create(tmp_path / "run", tiny())
    data = collect_dataset(tiny())
    others = {} if name is None else {"environment": name}
    write_transitions(run.transitions, dataclasses.replace(data, metadata=others))
    with pytest.raises(RunError, match=rf"holds transitions of {said}, this run needs those of CountingEnv-v0; "):
        train_run(run, tiny(), "cpu")
    assert not run.metrics.exists()


def test_a_picture_that_fails_costs_no_report(tiny, tmp_path, monkeypatch, caplog):
    def fail(*arguments):
        raise RuntimeError("latex\ncould not be found")

    monkeypatch.setattr("pjepa_agent.figures.run.draw_pca", fail)
    run, report = start(tmp_path / "run", tiny())
    assert json.loads(run.report.read_text()) == report
    assert f"{run.figures}: cannot be drawn (RuntimeError: latex could not be found)" in caplog.text


@pytest.mark.usefixtures("rendered_figures")
def test_the_users_settings_of_matplotlib_reach_no_picture(tmp_path):
    metrics = MetricsFile(tmp_path / "metrics.csv")
    metrics.append({"update": 0, "eval/nearest_centroid_accuracy": 0.1, "eval/within_across_ratio": 1.0})
    metrics.append({"update": 5, "eval/nearest_centroid_accuracy": 0.9, "eval/within_across_ratio": 0.5})
    embedding = np.random.default_rng(0).normal(size=(40, 3))
    pictures = []
    for settings in ({}, {"text.usetex": True, "axes.facecolor": "red", "savefig.dpi": 7}):
        with matplotlib.rc_context(settings):
            write_figures(tmp_path / str(len(settings)), embedding, np.arange(40) % 4, metrics)
        pictures.append({path.name: path.read_bytes() for path in (tmp_path / str(len(settings))).iterdir()})
    assert pictures[0].keys() == {"pca.png", "distances.png", "curves.png"}
    assert pictures[0] == pictures[1]
