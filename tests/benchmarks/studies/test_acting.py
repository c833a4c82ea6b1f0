"""The study of models that act while they train."""

import gymnasium
import numpy as np
import pytest

from benchmarks.studies import acting
from benchmarks.studies.acting import EPISODES, STEPS_COLUMN, SUCCESS


def rows(*of):
    return [{STEPS_COLUMN: steps, SUCCESS: success, EPISODES: episodes} for steps, success, episodes in of]


def test_what_is_of_few_episodes_is_left_out_and_solves_nothing():
    known = rows((1_008, 1.0, 4), (2_000, 0.5, 100), (3_008, 0.99, 150))
    assert acting.first_solved(known) == "1,008"
    assert acting.first_solved(acting.full_windows(known)) == "3,008"
    assert acting.success_at(acting.full_windows(known), 1_000) is None
    assert acting.success_at(acting.full_windows(known), 2_000) == 0.5
    assert acting.first_solved(rows((1_000, 0.98, 100))) == "never"


def test_a_curve_has_a_row_where_one_is_due_and_enough_episodes_have_ended():
    curve = acting.Curve("counting")
    curve.look(1_000)
    curve.outcomes.extend([(1.0, True)] * 75)
    curve.look(2_000)
    curve.outcomes.extend([(0.0, False)] * 75)
    for steps in (2_016, 3_008, 3_024, 4_000):
        curve.look(steps)
    assert [row[STEPS_COLUMN] for row in curve.rows] == [3_008, 4_000]
    assert curve.rows[0][SUCCESS] == 0.25


def test_an_episode_that_begins_at_the_target_does_not_count():
    curve = acting.Curve("counting")
    environment = curve.make()
    begun = 0
    for seed in range(30):
        _, info = environment.reset(seed=seed)
        begun += info["count"] != 4
        ended = False
        while not ended:
            *_, terminated, truncated, _ = environment.step(environment.action_space.sample())
            ended = terminated or truncated
    assert len(curve.outcomes) == begun < 30


class Small(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(0, 255, (32, 40, 3), np.uint8)
    action_space = gymnasium.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        return np.arange(32 * 40 * 3, dtype=np.uint32).astype(np.uint8).reshape(32, 40, 3), {}


def test_small_images_are_shown_twice_as_large():
    image = Small().reset()[0]
    environment = acting.enlarged(Small())
    seen = environment.reset()[0]
    assert seen.shape == environment.observation_space.shape == (64, 80, 3)
    for row in range(2):
        for column in range(2):
            np.testing.assert_array_equal(seen[row::2, column::2], image)
    large = acting.Curve("counting").make()
    assert acting.enlarged(large) is large


@pytest.mark.parametrize("world", acting.WORLDS)
def test_every_world_has_every_learner_in_one_network(world):
    found = acting.variants([world], list(acting.TITLES))
    assert list(found) == [f"{world}-pjepa", f"{world}-tdmpc2"]
    for options in found.values():
        assert set(acting.SHARED) <= set(options)


def test_the_figure_has_a_line_a_seed_of_whoever_is_known(tmp_path):
    known = [row | {acting.RETURN: 0.5} for row in rows((2_000, 0.5, 100), (3_008, 0.99, 150))]
    acting.draw({("counting-ppo", 0): known, ("minigrid-random", 1): known}, ["counting", "minigrid"], [0, 1],
                tmp_path / "acting.png")  # fmt: skip
    assert (tmp_path / "acting.png").stat().st_size > 10_000
