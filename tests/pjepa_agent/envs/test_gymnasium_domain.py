"""Collecting in any Gymnasium environment, against a slow loop over a single one."""

import copy

import gymnasium
import numpy as np
import pytest
from bisim_theory import DatasetError, analyse, to_text
from bisim_theory.data.left_out import describe_labels_left_out
from pjepa_agent.config.fields import ConfigError
from pjepa_agent.config.schema import CollectionConfig
from pjepa_agent.envs.counting import CountingDomain
from pjepa_agent.envs.gymnasium_domain import GymnasiumDomain
from pjepa_agent.envs.registry import make_domain
from support.toy_worlds import GOAL, LADDER, SHAPE, Ladder, domain


def slow_loop(environment, seed, transitions, repeat):
    """Step one environment, episode after episode, and keep rows of plain Python lists."""
    frames, rows, number = [], [], 0
    while len(rows) < transitions:
        world, policy = np.random.SeedSequence([seed, number]).generate_state(2) >> 1
        space = copy.deepcopy(environment.action_space)
        space.seed(int(policy))
        observation, _ = environment.reset(seed=int(world))
        frames.append(np.array(observation))
        done, step, action = False, 0, None
        while not done and len(rows) < transitions:
            action = space.sample() if step % repeat == 0 else action
            observation, reward, terminated, truncated, _ = environment.step(action)
            frames.append(np.array(observation))
            rows.append([len(frames) - 2, len(frames) - 1, action, reward, terminated, truncated, number])
            done, step = terminated or truncated, step + 1
        number += 1
    if not done:
        rows[-1][5] = True
    return np.array(frames), rows


@pytest.mark.parametrize("environments", [1, 3, 16])
@pytest.mark.parametrize("repeat", [1, 4])
@pytest.mark.parametrize("transitions", [2, 40, 300])
def test_transitions_are_those_of_a_slow_loop_however_many_run_side_by_side(environments, repeat, transitions):
    data = domain(environments=environments, action_repeat=repeat, transitions=transitions).collect(5)
    frames, rows = slow_loop(gymnasium.make("Ladder-v0"), 5, transitions, repeat)
    source, successor, action, reward, terminated, truncated, episode = zip(*rows, strict=True)
    np.testing.assert_array_equal(data.observation, frames)
    expected = {"source": source, "successor": successor, "action": action, "reward": reward, "episode": episode}
    for name, value in (expected | {"terminated": terminated, "truncated": truncated}).items():
        np.testing.assert_array_equal(getattr(data, name), value, err_msg=name)


@pytest.mark.parametrize(("environment", "arguments"), [("FrozenLake-v1", {"is_slippery": False}), ("CartPole-v1", {})])
def test_gymnasiums_own_worlds_are_collected_as_by_a_slow_loop(environment, arguments):
    data = domain(environment, arguments=arguments, observation="vector", transitions=400).collect(1)
    plain = gymnasium.make(environment, **arguments)
    wrapped = gymnasium.wrappers.FlattenObservation(plain)
    frames, rows = slow_loop(wrapped, 1, 400, 1)
    np.testing.assert_array_equal(data.observation, frames.astype(np.float32))
    np.testing.assert_array_equal(data.reward, [row[3] for row in rows])
    assert data.terminated.sum() == sum(row[4] for row in rows) > 5


def test_the_successor_is_never_the_first_frame_of_the_next_episode():
    data = domain(transitions=1000).collect(0)
    name, step, place = (data.observation[:, 0, each, 0] for each in range(3))
    assert (name[data.successor] == name[data.source]).all()
    assert (step[data.successor] == step[data.source] + 1).all()
    assert (place[data.successor[data.terminated]] == GOAL).all()
    assert (place[data.source] < GOAL).all()
    assert (data.reward == place[data.successor] / 2).all()
    first = np.flatnonzero(np.diff(data.episode, prepend=-1))
    assert (step[data.source[first]] == 0).all()
    assert set(np.bincount(data.episode)) > {4, 9}


def test_a_world_that_resets_itself_is_reset_before_it_can():
    one, other = domain("support.toy_worlds:make_autoreset").collect(0), domain().collect(0)
    np.testing.assert_array_equal(one.observation, other.observation)
    np.testing.assert_array_equal(one.terminated, other.terminated)


def test_every_frame_is_kept_once_and_terminal_frames_too():
    data = domain().collect(2)
    used = np.unique(np.concatenate([data.source, data.successor]))
    assert (used == np.arange(data.frames)).all()
    assert data.frames == len(data) + len(np.unique(data.episode))
    ends = np.flatnonzero(np.diff(data.episode, append=-1))
    assert (data.terminated | data.truncated)[ends].all()
    assert (data.terminated | data.truncated).sum() == len(ends)


def test_the_number_of_transitions_is_exact_and_the_last_episode_cut_there():
    data = domain(transitions=101).collect(0)
    assert len(data) == 101
    assert data.truncated[-1]
    assert not data.terminated[-1]


def test_a_seed_fixes_the_data():
    one, same, other = (domain().collect(seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(one.observation, same.observation)
    np.testing.assert_array_equal(one.action, same.action)
    assert (one.action != other.action).any()


def test_random_actions_are_uniform():
    data = domain(transitions=3000).collect(0)
    shares = np.bincount(data.action + 1) / len(data)
    assert abs(shares - 1 / 3).max() < 0.04


def test_episodes_that_never_end_are_cut_at_once_where_all_is_collected():
    data = domain("support.toy_worlds:make_long", transitions=60, policy="support.toy_worlds:down_if_high").collect(0)
    assert len(data) == 60


def test_max_episode_steps_shortens_episodes_of_registered_worlds_and_of_functions():
    for environment in (LADDER, "support.toy_worlds:make"):
        data = domain(environment, max_episode_steps=4).collect(0)
        assert np.bincount(data.episode).max() == 4
        assert data.truncated.any()


@pytest.mark.parametrize("environments", [1, 7])
def test_a_policy_of_the_users_acts_on_what_is_observed(environments):
    fields = {"policy": "support.toy_worlds:down_if_high", "environments": environments}
    data = domain(**fields).collect(0)
    place = data.observation[data.source, 0, 2, 0]
    assert (data.action == np.where(place > 1, -1, 1)).all()
    held = domain(**fields, action_repeat=3).collect(0)
    place, step = (held.observation[held.source, 0, each, 0] for each in (2, 1))
    asked = np.flatnonzero(step % 3 == 0)
    assert (held.action[asked] == np.where(place[asked] > 1, -1, 1)).all()
    assert (held.action[1:] == held.action[:-1])[step[1:] % 3 > 0].all()


@pytest.mark.parametrize(
    ("policy", "said"),
    [
        ("support.toy_worlds:no_such", "collection.policy support.toy_worlds:no_such: cannot be imported"),
        ("greedy", "collection.policy='greedy': must be random, planner, prior, or module:function"),
        ("support.toy_worlds:too_few", "returned actions (2,) int64 for 1 observations, must return (1,)"),
        ("support.toy_worlds:outside", "returned 7, which is not in Discrete(3, start=-1)"),
        ("support.toy_worlds:failing", "raised KeyError: 'no\\nsuch'"),
    ],
)
def test_a_policy_that_cannot_be_used_is_one_line(policy, said):
    with pytest.raises(ConfigError) as caught:
        domain(policy=policy).collect(0)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_policy_that_always_does_the_same_is_refused():
    with pytest.raises(DatasetError, match=r"all \d+ actions have the code 1, .* choose another collection.policy"):
        domain(policy="support.toy_worlds:up").collect(0)


def test_labels_are_the_state_and_the_numbers_that_every_info_has():
    data = domain(arguments={"observes": "number"}, observation="render").collect(0)
    place = data.observation[:, 0, 2, 0]
    assert set(data.labels) == {"place", "half", "high", "state"}
    np.testing.assert_array_equal(data.labels["place"], place)
    np.testing.assert_array_equal(data.labels["state"], place)
    np.testing.assert_array_equal(data.labels["half"], place / 2)
    np.testing.assert_array_equal(data.labels["high"], place > 1)
    left_out = ["array", "episode", "huge", "infinite", "nested", "seldom", "text"]
    assert data.metadata["labels_left_out"] == left_out
    said = describe_labels_left_out(data.metadata)
    assert sorted(name for each in said for name in each.split(": ")[0].split(", ")) == left_out
    assert "text: text, and labels are numbers; give a number for each, such as its place in a list" in said
    assert "seldom: not in every info; give it at every reset and every step" in said
    assert [f"Left out: {each}" for each in said] == [
        line for line in to_text(analyse(data, auxiliary="reward")).splitlines() if line.startswith("Left out: ")
    ]
    beside = domain(arguments={"observes": "vector"}, observation="render").collect(0)
    np.testing.assert_array_equal(beside.labels["state"], beside.observation[:, 0, :3, 0])
    assert "state" not in domain(arguments={"observes": "vector"}, observation="vector").collect(0).labels


@pytest.mark.parametrize(
    ("fault", "observes", "said"),
    [
        ("raises", "image", "at step 3 of episode 2: raised ZeroDivisionError: of two lines"),
        ("exits", "image", "at step 3 of episode 2: raised SystemExit: 3"),
        ("reward", "image", "at step 3 of episode 2: gave the reward nan, which is not finite"),
        ("shape", "image", "observed (5, 5, 3) where it began with (6, 4, 3); set collection.size"),
        ("shape", "vector", "observed 7 numbers where its space has 3"),
        ("type", "image", "observed (6, 4, 3) float32, and images must be uint8 from 0 to 255"),
        ("nan", "vector", "observed a number that is not finite"),
    ],
)
@pytest.mark.parametrize("stack", [1, 2])
def test_what_goes_wrong_in_mid_collection_is_one_line_with_step_and_episode(fault, observes, said, stack):
    kind = "vector" if observes == "vector" else "image"
    with pytest.raises(DatasetError) as caught:
        domain(arguments={"fault": fault, "observes": observes}, observation=kind, stack=stack).collect(8)
    message = str(caught.value)
    assert said in message
    assert f"collection.environment={LADDER!r}: at step 3 of episode 2" in message
    assert "\n" not in message


def test_an_image_of_another_shape_is_resized_where_a_size_is_set():
    data = domain(arguments={"fault": "shape"}, size=6).collect(8)
    assert data.observation.shape[1:] == (6, 6, 3)


def test_the_counting_world_keeps_its_own_domain():
    config = CollectionConfig(transitions=16)
    assert isinstance(make_domain(config), CountingDomain)
    assert isinstance(make_domain(CollectionConfig(environment="counting_env:CountingEnv-v0")), CountingDomain)
    assert isinstance(domain(), GymnasiumDomain)
    assert domain().function("reward", None) is None
    with pytest.raises(ConfigError, match="only the counting world is collected while training"):
        domain().collector(0)


def test_a_stack_longer_than_every_episode_is_refused():
    with pytest.raises(DatasetError, match=r"collection.stack=4: exceeds the longest episode .* has 3 observations"):
        domain(max_episode_steps=2, stack=4).collect(0)


def test_a_stack_is_not_judged_by_a_few_transitions():
    data = domain(max_episode_steps=5, stack=9, transitions=8, observation="vector").collect(0)
    assert data.observation.shape[1:] == (9 * 72,)


def test_one_environment_that_is_returned_again_and_again_is_refused():
    with pytest.raises(ConfigError, match="must return a new one each time"):
        domain("support.toy_worlds:make_the_same").collect(0)


def test_what_was_assumed_is_said():
    said = domain(arguments={"observes": "vector"}, observation="render", stack=2).collect(0).metadata
    assert said["environment"] == LADDER
    assert said["arguments"] == {"observes": "vector"}
    assert said["observed"] == "render"
    assert "never that of a reset" in said["convention"]
    assert said["stack"].startswith("2 observations, oldest first")
    assert "one-hot" in said["action_meaning"]


def test_terminal_frames_absorb_as_the_theory_has_it():
    from bisim_theory.data.terminals import absorb

    leaf, absorbing = domain().collect(0), domain(terminal="absorb").collect(0)
    expected, found = absorb(leaf)
    for name in ("source", "action", "successor"):
        np.testing.assert_array_equal(getattr(absorbing, name), getattr(expected, name))
    assert found.absorbing == absorbing.metadata["absorbing"] > 10
    added = np.arange(len(leaf), len(absorbing))
    assert (absorbing.source[added] == absorbing.successor[added]).all()
    assert (absorbing.reward[added] == 0).all()
    assert absorbing.terminated[added].all()
    assert not absorbing.truncated[added].any()
    assert len(np.unique(absorbing.episode[added])) == len(added)
    assert absorbing.episode[added].min() > leaf.episode.max()
    assert (absorbing.action_value[added].argmax(1) - 1 == absorbing.action[added]).all()
    for name in ("action_value", "reward", "terminated", "truncated", "episode"):
        np.testing.assert_array_equal(getattr(absorbing, name)[: len(leaf)], getattr(leaf, name))


def test_absorbing_rows_of_continuous_actions_have_values_of_their_code():
    fields = {"arguments": {"actions": "box"}, "actions": "bins:3"}
    data = domain(**fields, terminal="absorb").collect(0)
    rows = len(domain(**fields).collect(0))
    bins = data.metadata["action_codes"]["bins"]
    edges = np.linspace(bins["low"], bins["high"], 4).T
    digits = [np.clip(np.digitize(data.action_value[:, each], edges[each]) - 1, 0, 2) for each in range(2)]
    np.testing.assert_array_equal(digits[0] * 3 + digits[1], data.action)
    assert len(np.unique(data.action_value[rows:], axis=0)) > 30


def test_too_many_absorbing_rows_are_refused():
    with pytest.raises(DatasetError, match=r"collection.terminal=absorb: \d+ terminal .* choose fewer codes"):
        domain(arguments={"actions": "box"}, actions="bins:1000", terminal="absorb").collect(0)


def test_the_images_of_worlds_without_a_render_mode_are_found():
    data = domain("support.toy_worlds:make", arguments={"observes": "vector", "fault": "renders"}).collect(0)
    assert data.metadata["observed"] == "render"
    np.testing.assert_array_equal(data.observation[:, 0, :3, 0], data.labels["state"])
    assert data.observation.shape[1:] == SHAPE


def test_where_there_is_no_display_nothing_is_written_about_one(capfd, monkeypatch):
    pytest.importorskip("pygame")
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER", "XDG_RUNTIME_DIR"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    config = CollectionConfig("CartPole-v1", observation="render", size=16, transitions=30, max_episode_steps=0)
    assert make_domain(config).collect(0).observation.shape[1:] == (16, 16, 3)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("method", "returned", "said"),
    [
        (
            "step",
            lambda values: (*values[:3], values[4]),
            "five values: observation, reward, terminated, truncated, info",
        ),
        ("reset", lambda values: values[0], "returns two values: observation, info"),
    ],
)
def test_the_interface_before_gymnasium_is_told_from_a_fault(method, returned, said, monkeypatch):
    plain = getattr(Ladder, method)
    monkeypatch.setattr(Ladder, method, lambda *given, **named: returned(plain(*given, **named)))
    with pytest.raises(DatasetError, match=said) as caught:
        domain().collect(8)
    assert "\n" not in str(caught.value)


def test_what_converts_four_values_is_there():
    from gymnasium.utils.step_api_compatibility import step_api_compatibility

    assert step_api_compatibility(("seen", 1.0, True, {}), True) == ("seen", 1.0, True, False, {})
