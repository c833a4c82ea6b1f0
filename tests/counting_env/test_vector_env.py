import counting_env
import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode
from hypothesis import given, settings
from support.counting_worlds import VARIANTS, raw, seeds, value, variants

MODES = [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP, AutoresetMode.DISABLED]


def make(number=3, **arguments):
    return gymnasium.make_vec("CountingEnv-v0", num_envs=number, **arguments)


def actions(env, adds):
    if env.arguments.discrete_actions:
        return np.asarray(adds).astype(int)
    return np.where(adds, 0.5, -0.5)[:, None].astype(np.float32)


def assert_same(one, other):
    assert one.keys() == other.keys()
    for name in one:
        if isinstance(one[name], dict):
            assert_same(one[name], other[name])
        elif name == "final_obs":
            for a, b in zip(one[name], other[name], strict=True):
                assert (a is None) == (b is None)
                assert a is None or (a == b).all()
        else:
            mask = one.get(f"_{name}", slice(None))  # where nothing is said, the value means nothing
            assert np.array_equal(np.asarray(one[name])[mask], np.asarray(other[name])[mask]), name


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
@given(arguments=variants, seed=seeds)
@settings(max_examples=12, deadline=None)
def test_it_is_gymnasiums_vector_of_single_environments_pixel_for_pixel(mode, arguments, seed):
    native = make(4, autoreset_mode=mode, max_episode_steps=5, **arguments)
    plain = gymnasium.vector.SyncVectorEnv(
        [lambda: gymnasium.make("CountingEnv-v0", max_episode_steps=5, **arguments)] * 4, autoreset_mode=mode
    )
    rng = np.random.default_rng(seed)
    a, b = native.reset(seed=seed), plain.reset(seed=seed)
    assert (a[0] == b[0]).all()
    assert_same(a[1], b[1])
    for _ in range(25):
        act = actions(native, rng.integers(2, size=4) > 0)
        a, b = native.step(act), plain.step(act)
        for x, y in zip(a[:4], b[:4], strict=True):
            assert x.dtype == y.dtype
            assert (x == y).all()
        assert_same(a[4], b[4])


def test_gymnasium_makes_a_vector_of_single_environments():
    images, info = gymnasium.make_vec("CountingEnv-v0", num_envs=3, vectorization_mode="sync").reset(seed=0)
    native, native_info = make(3).reset(seed=0)
    assert (images == native).all()
    assert (info["positions"] == native_info["positions"]).all()


@pytest.mark.parametrize("mode", MODES)
def test_transitions_collected_from_it_never_cross_episodes(mode):
    env = make(8, autoreset_mode=mode, max_episode_steps=4)
    observation, info = env.reset(seed=0)
    count, ended = info["count"], np.zeros(8, bool)
    rng = np.random.default_rng(0)
    kept = 0
    for _ in range(200):
        if mode is AutoresetMode.DISABLED and ended.any():
            fresh, info = env.reset(options={"reset_mask": ended})
            assert (fresh[~ended] == observation[~ended]).all()
            observation, count, ended = fresh, info["count"], np.zeros(8, bool)
        adds = rng.integers(2, size=8) > 0
        successor, _, terminated, truncated, info = env.step(actions(env, adds))
        acted = ~ended if mode is AutoresetMode.NEXT_STEP else np.ones(8, bool)
        after = info["count"].copy()
        images = successor.copy()
        if "final_info" in info:
            last = info["_final_obs"]
            assert (last == (terminated | truncated)).all()
            after[last] = info["final_info"]["count"][last]
            for i in np.flatnonzero(last):
                images[i] = info["final_obs"][i]
        expected = np.clip(count + np.where(adds, 1, -1), 0, 8)
        assert (after[acted] == expected[acted]).all()
        assert ((images.any((1, 2, 3)) == (after > 0)) | ~acted).all()
        kept += acted.sum()
        observation, count, ended = successor, info["count"], terminated | truncated
    assert kept > 1000


def test_next_step_resets_ignore_the_action_and_are_worth_nothing():
    env = make(1, max_episode_steps=1)
    env.reset(seed=0)
    _, _, _, truncated, _ = env.step(np.array([[1.0]]))
    assert truncated.all()
    _, reward, terminated, truncated, _ = env.step(np.array([[1.0]]))
    assert (reward, terminated, truncated) == (0, False, False)


def test_disabled_mode_asks_for_the_reset_it_needs():
    env = make(2, autoreset_mode="Disabled", max_episode_steps=1)
    env.reset(seed=0)
    env.step(actions(env, [True, True]))
    with pytest.raises(gymnasium.error.ResetNeeded, match="reset_mask"):
        env.step(actions(env, [True, True]))


def test_seeds_are_per_sub_environment():
    env = make(3)
    first, _ = env.reset(seed=7)
    for i in range(3):
        assert (raw().reset(seed=7 + i)[0] == first[i]).all()
    listed, _ = env.reset(seed=[9, 7, 8])
    assert (listed[1:] == first[:2]).all()
    before, _ = env.reset(seed=7)
    after, _ = env.reset(seed=[9, None, None], options={"reset_mask": np.array([True, False, False])})
    assert (after[0] == listed[0]).all()
    assert (after[1:] == before[1:]).all()


def test_reset_options_reach_every_sub_environment():
    env = make(2, render_mode="rgb_array")
    images, info = env.reset(seed=0, options={"positions": [[10, 10], [30, 30]], "shape": "square"})
    assert info["count"].tolist() == [2, 2]
    assert info["shape"].tolist() == ["square", "square"]
    assert images[:, 10, 10].any(-1).all()
    shown = env.render()
    assert (np.stack(shown) == images).all()
    images[:] = 0
    assert (np.stack(env.render()) == np.stack(shown)).all()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (np.array([[0], [np.nan], [0]]), r"actions\[1\] is \[nan\]: must be in \[-1, 1\]"),
        (np.array([[0], [0], [2.0]]), r"actions\[2\] is \[2.0\]"),
        (np.zeros(3), r"shape \(3, 1\), got shape \(3,\)"),
        (np.array([["a"]] * 3), "must be real numbers"),
    ],
)
def test_wrong_actions_change_nothing(wrong, message):
    env, twin = make(), make()
    for e in (env, twin):
        e.reset(seed=0)
    with pytest.raises(ValueError, match=message):
        env.step(wrong)
    act = actions(env, [True] * 3)
    assert (env.step(act)[0] == twin.step(act)[0]).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"number": 0}, "num_envs=0: must be an integer >= 1"),
        ({"max_episode_steps": 0}, "max_episode_steps=0"),
        ({"render_mode": "human"}, "render_mode='human'"),
        ({"target": 12}, "target=12"),
    ],
)
def test_wrong_arguments_say_what_is_allowed(arguments, message):
    with pytest.raises(ValueError, match=message):
        make(**arguments)


@pytest.mark.parametrize("mask", [[True, False, True], np.zeros(3, bool), np.ones(2, bool), np.ones(3, int)])
def test_a_wrong_reset_mask_is_refused(mask):
    env = make()
    env.reset(seed=0)
    if isinstance(mask, list):
        env.reset(options={"reset_mask": mask})
        return
    with pytest.raises(ValueError, match="reset_mask"):
        env.reset(options={"reset_mask": mask})


def test_every_variant_has_batched_spaces():
    for arguments in VARIANTS:
        env = make(2, **arguments)
        images, _ = env.reset(seed=0)
        assert env.observation_space.contains(images)
        assert env.action_space.contains(env.action_space.sample())
        single = raw(**arguments)
        single.reset(seed=0)
        assert single.observation_space == env.single_observation_space
        assert single.step(value(single, True))[0].shape == images.shape[1:]
    assert counting_env.CountingVectorEnv.metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP
