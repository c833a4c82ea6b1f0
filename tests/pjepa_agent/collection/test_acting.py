"""Collection by the model that is trained: what is in the buffer, and runs that stop and go on."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from bisim_theory import read_representation, read_transitions
from bisim_theory.data.parts import join_episodes
from pjepa_agent.collection.acting import ActingReplay
from pjepa_agent.collection.distinct import PairCounts
from pjepa_agent.config.presets import make_config
from pjepa_agent.config.schema import CollectionConfig
from pjepa_agent.envs.counting import SPEC
from pjepa_agent.envs.registry import make_domain
from pjepa_agent.run import prepare, train_run
from pjepa_agent.runs.directory import RunDirectory
from pjepa_agent.training import Interrupted
from support.world_runs import SMALL, rows_of, train

CPU = torch.device("cpu")
ADDS = 1.0
"""An action that adds an object."""


class Adds:
    """An actor that adds an object always, and remembers when it was asked."""

    def __init__(self):
        self.asked = []

    def act(self, observations, fresh, step, seen):
        self.asked.append(step)
        return np.full((len(observations), 1), ADDS, np.float32)

    def state_dict(self):
        return {"asked": torch.tensor(self.asked, dtype=torch.int64)}

    def load_state_dict(self, state):
        self.asked = state["asked"].tolist()


def acting(config, objective=None, **collection):
    """Let the model act in four environments, in episodes of 6 steps."""
    chosen = {
        "policy": "planner", "environments": 4, "max_episode_steps": 6, "transitions": 80, "initial_transitions": 16,
        "action_repeat": 1, "epsilon": 0.0, "planning": {"horizon": 2, "samples": 8, "elites": 3},
    } | collection  # fmt: skip
    if chosen["policy"] == "prior":
        chosen["planning"] = {}
    config = config.override(["optimization.updates=20", "optimization.batch_size=8", *(objective or ())])
    return dataclasses.replace(config, collection=CollectionConfig(**chosen))


def filled(config, steps, actor=None):
    replay = ActingReplay(config, SPEC, CPU)
    replay.actor = actor or Adds()
    for update in range(1, steps + 1):
        replay.collect_until(update)
    return replay


def test_the_first_transitions_are_random_and_the_others_the_actors(tiny):
    replay = filled(acting(tiny()), 40)
    data = replay.dataset()
    assert replay.transitions == len(data) == 40
    assert len(set(data.action_value[:, 0].tolist())) == 16 + 1
    assert (data.action_value == ADDS).sum() == 24
    assert replay.actor.asked == [4, 5, 6, 7, 8, 9]


@pytest.mark.parametrize("hold", [1, 3])
def test_epsilon_is_the_share_of_random_actions_which_are_held(tiny, hold):
    config = acting(
        tiny(), epsilon=0.25, transitions=2_000, action_repeat=hold, max_episode_steps=50, target=0, environments=50
    )
    data = filled(config, 2_000).dataset()
    drawn = data.action_value[data.episode >= 50, 0]
    expected = 0.25 * hold / (0.25 * hold + 0.75)
    assert np.mean(drawn != ADDS) == pytest.approx(expected, abs=0.05)
    same = (data.episode[1:] == data.episode[:-1]) & (data.action_value[1:, 0] != ADDS)
    repeated = np.mean(data.action_value[1:, 0][same] == data.action_value[:-1, 0][same])
    assert repeated == pytest.approx(1 - 1 / hold, abs=0.1)


def test_without_an_actors_choice_the_policy_is_random(tiny):
    data = filled(acting(tiny(), epsilon=1.0), 80).dataset()
    assert len(np.unique(data.action_value)) == 80


def test_transitions_are_those_of_the_rules(tiny):
    data = filled(acting(tiny(), transitions=400, epsilon=0.5), 400).dataset()
    count = data.labels["count"]
    np.testing.assert_array_equal(
        count[data.successor], np.clip(count[data.source] + 2 * (data.action_value[:, 0] >= 0) - 1, 0, 8)
    )
    np.testing.assert_array_equal(data.auxiliary, count[data.source] == 4)
    np.testing.assert_array_equal(data.reward, count[data.successor] == 4)
    np.testing.assert_array_equal(data.terminated, count[data.source] == 4)
    follows = data.episode[1:] == data.episode[:-1]
    np.testing.assert_array_equal(follows, data.source[1:] == data.successor[:-1])
    assert len(np.unique(join_episodes(data))) == len(np.unique(data.episode))


@pytest.mark.parametrize("steps", [20, 80, 84, 300])
def test_sequences_of_a_batch_follow_each_other_in_one_episode(tiny, steps):
    replay = filled(acting(tiny(), ["objective.horizon=3"], epsilon=0.5), steps)
    assert len(replay.buffer) == min(steps, 80)
    batch = replay.sample()
    frames = replay.frames.images
    for row in range(len(batch)):
        present = batch["present"][row].tolist()
        assert present == sorted(present, reverse=True)
        rows = [np.flatnonzero((frames == image).flatten(1).all(1))[0] for image in batch["observation"][row]]
        counts = [int(replay.frames.labels["count"][each]) for each in rows]
        for step, there in enumerate(present):
            moved = min(max(counts[step] + 2 * int(batch["action"][row, step, 0] >= 0) - 1, 0), 8)
            assert counts[step + 1] == (moved if there else counts[step])


def test_p_of_successors_is_drawn_where_it_is_asked_for_and_kept_of_sources(tiny):
    replay = filled(acting(tiny(), ["objective.auxiliary_of_successors=true"], target=2), 60)
    batch, data = replay.sample(), replay.dataset()
    assert batch["auxiliary_known"].all()
    counts = replay.frames.labels["count"][torch.stack([batch["source"], batch["successor"]], 1)]
    np.testing.assert_array_equal(batch["auxiliary"], (counts == 2).astype(np.float32))
    np.testing.assert_array_equal(data.auxiliary, data.labels["count"][data.source] == 2)
    assert data.observation_auxiliary is None


def test_episodes_that_begin_at_the_target_are_no_success_and_no_failure(tiny):
    config = acting(tiny(), transitions=1_200, max_episode_steps=20, environments=40)
    replay = filled(config, 1_200)
    measures = replay.measures()
    assert measures["collection/environment_steps"] == 1_200
    # Who only adds reaches four objects from 0, 1, 2 and 3 of the eight other counts.
    assert measures["collection/success"] == measures["collection/return"] == pytest.approx(0.5, abs=0.15)


def test_taking_the_saved_actions_again_is_having_gone_on(tiny):
    config = acting(tiny(), epsilon=0.3, action_repeat=3)
    whole = filled(config, 200)
    stopped = filled(config, 100)
    again = ActingReplay(config, SPEC, CPU)
    again.actor = Adds()
    again.load_state_dict(stopped.state_dict())
    for update in range(1, 201):
        again.collect_until(update)
    first, second = whole.dataset(), again.dataset()
    for name in ("observation", "source", "successor", "action_value", "reward", "episode", "auxiliary"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))
    assert whole.actor.asked == again.actor.asked
    assert whole.measures() == again.measures()


def parts_of(run):
    """All tensors of a checkpoint by name, but for what depends on the clock."""
    state = torch.load(run.checkpoint, weights_only=True)
    flat = {}

    def visit(name, value):
        if isinstance(value, dict):
            for key, each in value.items():
                visit(f"{name}.{key}", each)
        elif isinstance(value, torch.Tensor):
            flat[name] = value

    visit("", {name: value for name, value in state.items() if name != "seconds"})
    return flat


CONTROL = ["network.control_heads=true"]
TDMPC2 = ["objective.name=tdmpc2", "objective.horizon=3", "network.latent_normalization=simplicial"]


@pytest.mark.parametrize(
    ("policy", "settings"),
    [("planner", []), ("prior", CONTROL), ("planner", TDMPC2), ("prior", TDMPC2)],
    ids=["iCEM", "prior", "TD-MPC2", "prior of TD-MPC2"],
)
def test_an_interrupted_run_ends_like_one_left_alone(tiny, tmp_path, policy, settings):
    config = acting(tiny(), settings, policy=policy, epsilon=0.2, initial_transitions=8, steps_per_update=3)
    config = prepare(config)
    whole = RunDirectory.create(tmp_path / "whole", config)
    report = train_run(whole, config, "cpu")
    run = RunDirectory.create(tmp_path / "parts", config)
    for stop in (7, 5):
        asked = iter(range(1_000))
        with pytest.raises(Interrupted):
            train_run(
                *RunDirectory.open(run.path), "cpu", should_stop=lambda asked=asked, stop=stop: next(asked) >= stop
            )
    train_run(*RunDirectory.open(run.path), "cpu")
    first, second = parts_of(whole), parts_of(run)
    assert first.keys() == second.keys()
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    assert [dict(row) for row in rows_of(whole)] == [dict(row) for row in rows_of(run)]
    data, other = (read_transitions(each.path) for each in (whole, run))
    np.testing.assert_array_equal(data.observation[0 : data.frames], other.observation[0 : other.frames])
    read_representation(run.representation).check_against(other)
    assert report["environment_steps"] == 60
    assert json.loads(run.report.read_text())["return"] == report["return"]


@pytest.mark.parametrize("auxiliary", ["terminated", "reward", "place"])
def test_p_of_another_world_is_that_of_its_whole_episodes(auxiliary):
    settings = [*SMALL, "collection.policy=planner", "collection.environments=4", "collection.epsilon=1"]
    settings += ["collection.initial_transitions=16", "objective.auxiliary_dim=0"]
    config = make_config(environment="support.corridor:Corridor-v0", auxiliary=auxiliary).override(settings)
    replay = ActingReplay(config, make_domain(config.collection).spec, CPU)
    replay.collect_until(300)
    data = replay.dataset()
    place = (data.observation[:, 4, :, 0] > 0).argmax(1) // 4
    first = np.setdiff1d(np.arange(data.frames), data.successor)
    expected = {"terminated": place == 4, "reward": place == 4, "place": place}[auxiliary]
    known = np.ones(data.frames, bool)
    if auxiliary == "reward":
        known[first] = False
    np.testing.assert_array_equal(data.observation_auxiliary_known, known)
    np.testing.assert_array_equal(data.observation_auxiliary[known], expected[known])


def test_the_latest_pairs_are_drawn_as_evenly_as_those_of_a_dataset():
    rng = np.random.default_rng(0)
    content, code = rng.integers(0, 3, 50) ** 2, rng.integers(0, 2, 50)
    pairs = PairCounts(40)
    for start in range(0, 50, 5):
        rows = slice(start, start + 5)
        pairs.add([np.array([each]) for each in content[rows]], code[rows])
    latest = {place % 40: (int(content[place]), int(code[place])) for place in range(10, 50)}
    generator = torch.Generator().manual_seed(0)
    drawn = pairs.draw(20_000, generator).numpy()
    share = {}
    for place in drawn:
        share[latest[int(place)]] = share.get(latest[int(place)], 0) + 1 / 20_000
    distinct = set(latest.values())
    assert share.keys() == distinct
    assert max(abs(each - 1 / len(distinct)) for each in share.values()) < 0.02


def test_a_world_that_gives_other_rewards_than_before_is_refused(tiny):
    config = acting(tiny())
    state = filled(config, 40).state_dict()
    state["rewards"][7] += 1
    again = ActingReplay(config, SPEC, CPU)
    again.actor = Adds()
    with pytest.raises(ValueError, match=r"gives other rewards at step 8 than when the run was saved"):
        again.load_state_dict(state)


@pytest.mark.parametrize("objective", ["pjepa", "tdmpc2"])
def test_a_model_acts_in_another_world_where_it_stops_and_goes_on(tmp_path, objective, caplog):
    options = ["--env", "support.corridor:Corridor-v0", "--auxiliary", "terminated", "--objective", objective]
    for field in ("policy=planner", "environments=4", "initial_transitions=64", "steps_per_update=12"):
        options += ["--set", f"collection.{field}"]
    options += ["--set", 'collection.planning={"samples": 8, "elites": 3}', "--encoder", "support.models:Flat"]
    (tmp_path / "whole").mkdir()
    with caplog.at_level("INFO"):
        status, whole = train(tmp_path / "whole", *options)
    assert status == 0
    assert "64 transitions before the first update, at random; then the model acts." in caplog.text
    config = RunDirectory.open(whole.path)[1]
    parts = RunDirectory.create(tmp_path / "parts", config, whole.read_spec())
    asked = iter(range(1_000))
    with pytest.raises(Interrupted):
        train_run(parts, config, "cpu", should_stop=lambda: next(asked) >= 5)
    report = train_run(*RunDirectory.open(parts.path), "cpu")
    assert rows_of(whole) == rows_of(parts)
    assert (report["environment_steps"], report["updates"]) == (96, 8)
    data = read_transitions(parts.path)
    assert len(data) == 96
    assert 0 <= report["success"] <= 1
    assert report["success"] == report["return"]  # one reward of 1 ends an episode
