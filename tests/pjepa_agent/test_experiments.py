"""The four experiments of the paper as four values of one configuration, at two scales."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from pjepa_agent import load
from pjepa_agent.config.fields import ConfigError
from pjepa_agent.config.presets import PRESETS, make_config
from pjepa_agent.config.schema import EXPERIMENTS, Config, EvaluationConfig
from pjepa_agent.model import PJEPA
from pjepa_agent.run import prepare, train_run
from pjepa_agent.runs.directory import RunDirectory
from pjepa_agent.runs.metrics import MetricsFile
from pjepa_agent.training import Interrupted
from pjepa_agent.training.optimizer import learning_rate_factor


def small(config, updates=6):
    """A preset with all its parts, made to train in seconds."""
    return dataclasses.replace(
        config,
        collection=dataclasses.replace(config.collection, transitions=60, initial_transitions=20),
        network=dataclasses.replace(config.network, width=4, blocks=1, latent_dim=16, hidden_dim=32),
        optimization=dataclasses.replace(config.optimization, updates=updates, batch_size=8),
        evaluation=EvaluationConfig(
            every=4, reference_per_count=2, scored_per_count=30, transitions=120, probe_per_count=0
        ),
    )


def test_the_paper_preset_is_the_papers():
    config = make_config("paper")
    assert config.optimization.learning_rate == 3e-4
    assert config.optimization.encoder_learning_rate_factor == 0.3
    assert {learning_rate_factor(update, config.optimization) for update in (0, 1, 1000, 299_999)} == {1.0}
    assert (config.optimization.clip, config.optimization.batch_size, config.optimization.updates) == (
        200,
        256,
        300_000,
    )
    collection = config.collection
    assert (collection.transitions, collection.action_repeat, collection.max_episode_steps) == (100_000, 4, 4)
    assert (collection.online, collection.steps_per_update, config.optimization.autocast) == (True, 1, False)
    assert (config.network.normalization, config.network.initialization) == ("none", "truncated-normal")
    neutral = (config.objective.transition_warmup, config.objective.horizon, config.objective.latent_noise)
    assert (*neutral, config.objective.regularizer) == (0, 1, 0, "none")
    assert not config.objective.auxiliary_of_successors
    optimization = config.optimization
    assert (optimization.averaging_age, config.ablation.weight_decay, optimization.epsilon) == (0, 0, 1e-8)
    assert (config.ablation.pixel_offset, config.ablation.convolution_gain) == (-0.5, 0)
    assert (config.network.latent_normalization, config.evaluation.batch_norm_samples) == ("none", 0)
    reward_only = make_config("paper", "reward-only").optimization
    assert (reward_only.learning_rate, reward_only.encoder_learning_rate_factor) == (1e-5, 1)
    assert make_config("paper", "random").optimization == config.optimization


@pytest.mark.parametrize(
    "elsewhere",
    [
        {"environment": "CartPole-v1"},
        {"dataset": "walks.npz"},
        {"objective": "deepmdp"},
        {"objective": "tdmpc2", "environment": "CartPole-v1"},
    ],
)
def test_the_short_recipe_is_of_pjepa_in_the_counting_world_alone(elsewhere):
    short, long = make_config(), make_config(**elsewhere)
    assert make_config(environment="counting_env:CountingEnv-v0").optimization == short.optimization
    drawn = [each.optimization.updates * each.optimization.batch_size for each in (short, long)]
    assert 2 * drawn[0] < drawn[1]
    assert long.optimization.learning_rate < short.optimization.learning_rate
    assert short.objective.auxiliary_of_successors
    assert not long.objective.auxiliary_of_successors
    assert make_config(updates=9, **elsewhere).optimization.updates == 9


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_an_experiment_is_a_value_that_json_can_say(preset, experiment):
    config = make_config(preset, experiment, seed=3)
    assert Config.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    same = {"objective": None, "experiment": None, "optimization": None}
    base = make_config(preset, seed=3)
    if experiment == "random":  # of which noise would hide the values
        base = base.override(["objective.latent_noise=0"])
    assert config.to_dict() | same == base.to_dict() | same


def test_a_configuration_of_before_these_fields_is_the_same_run():
    config = make_config("laptop", "random").override(["optimization.encoder_learning_rate_factor=1"])
    old = config.to_dict()
    for name in ("control_heads", "q_members", "q_dropout", "decoder"):
        del old["network"][name]
    for name in ("online", "initial_transitions", "steps_per_update"):
        del old["collection"][name]
    for name in ("discount", "polyak", "entropy_weight", "value_weight", "policy_weight", "termination_weight"):
        del old["objective"][name]
    for name in ("encoder_learning_rate_factor", "schedule"):
        del old["optimization"][name]
    assert Config.from_dict(json.loads(json.dumps(old))) == config


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"collection": {"online": True, "initial_transitions": 100}},
            r"batch_size=128: exceeds collection\.initial_transitions=100",
        ),
        (
            {"collection": {"online": True, "initial_transitions": 500, "transitions": 300}},
            r"collection\.initial_transitions=500: exceeds collection\.transitions=300",
        ),
        ({"collection": {"steps_per_update": 0}}, "steps_per_update=0: must be in"),
        ({"collection": {"online": 1}}, "online=1: must be of type bool"),
        ({"network": {"q_members": 0}}, "q_members=0: must be in"),
        ({"network": {"q_dropout": 1.0}}, r"q_dropout=1\.0: must be in"),
        ({"objective": {"discount": 1.0}}, r"discount=1\.0: must be in"),
        ({"objective": {"polyak": float("nan")}}, "polyak=nan: must be in"),
        ({"objective": {"auxiliary": ""}}, "must be a name, or module:function"),
        ({"objective": {"auxiliary": "module:"}}, "must be a name, or module:function"),
        ({"objective": {"auxiliary": 3}}, "auxiliary=3: must be of type str"),
        ({"experiment": "random"}, "experiment random has random or random-network"),
        ({"objective": {"auxiliary": "random", "auxiliary_dim": 0}}, "auxiliary_dim=0: random has at least one value"),
        ({"optimization": {"schedule": "linear"}}, "schedule='linear': must be one of cosine, constant"),
        ({"optimization": {"encoder_learning_rate_factor": -1.0}}, "factor=-1.0: must be in"),
    ],
)
def test_wrong_values_are_named(values, message):
    with pytest.raises(ConfigError, match=message):
        Config.from_dict(values)


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_trains_at_the_papers_settings(tmp_path, experiment):
    config = small(make_config("paper", experiment))
    run = RunDirectory.create(tmp_path / "run", config)
    report = train_run(run, config, "cpu")
    assert (report["preset"], report["experiment"], report["updates"]) == ("paper", experiment, 6)
    assert load(run.path).decode(np.zeros((1, 16))).shape == (1, 64, 64, 3)


@pytest.mark.slow
def test_the_full_paper_model_trains_and_resumes_exactly(tmp_path):
    config = make_config("paper", updates=2)
    config = dataclasses.replace(
        config,
        collection=dataclasses.replace(config.collection, transitions=30, initial_transitions=10),
        optimization=dataclasses.replace(config.optimization, batch_size=4),
        evaluation=EvaluationConfig(
            every=2, reference_per_count=1, scored_per_count=2, transitions=20, probe_per_count=0
        ),
    )
    whole, parts = (RunDirectory.create(tmp_path / name, config) for name in ("whole", "parts"))
    trained = [name for name, _ in PJEPA(config).named_parameters()]
    train_run(whole, config, "cpu")
    with pytest.raises(Interrupted):
        train_run(parts, config, "cpu", should_stop=lambda: True)
    train_run(*RunDirectory.open(parts.path), "cpu")
    first, second = (torch.load(run.checkpoint, weights_only=True)["model"] for run in (whole, parts))
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    assert sum(first[name].numel() for name in trained) == 14_866_965
    for run in (whole, parts):
        for path in (run.checkpoint, run.best):  # these are large, and pytest keeps what is left
            path.unlink()


@pytest.mark.slow
def test_the_full_paper_model_learns_for_a_hundred_updates(tmp_path):
    config = make_config("paper", updates=100)
    config = dataclasses.replace(
        config,
        # Frames of the paper's 100,000 transitions would only be zeroed.
        collection=dataclasses.replace(config.collection, initial_transitions=100, transitions=1_000),
        optimization=dataclasses.replace(config.optimization, batch_size=4),
        evaluation=EvaluationConfig(
            every=25, reference_per_count=2, scored_per_count=4, transitions=40, probe_per_count=0
        ),
    )
    run = RunDirectory.create(tmp_path / "run", config)
    assert train_run(run, config, "cpu")["updates"] == 100
    rows = MetricsFile(run.metrics, until=100).rows
    assert [row["update"] for row in rows] == [0, 25, 50, 75, 100]
    first, last = rows[1], rows[-1]
    for name in ("auxiliary", "action_conditioned_reward", "q"):  # from the uniform distribution over 101 bins
        assert 0 < last[f"losses/{name}"] < 0.5 * first[f"losses/{name}"]
    assert last["losses/decoder"] < 0.2 * first["losses/decoder"]  # from grey to the black background
    assert 0 < last["losses/transition"] < 10
    for path in (run.checkpoint, run.best):
        path.unlink()


def test_preparing_changes_nothing_of_the_papers_experiments():
    for preset in PRESETS:
        for experiment in EXPERIMENTS:
            config = make_config(preset, experiment)
            assert prepare(config) == config
