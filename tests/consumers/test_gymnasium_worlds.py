"""Other people's environments, collected by name."""

import gymnasium
import numpy as np
import pytest
from pjepa_agent.envs.observations import resize
from support.toy_worlds import domain


@pytest.mark.parametrize("environments", [1, 5])
def test_minigrid_renders_and_ends_at_its_goal(environments):
    made = domain(
        "minigrid:MiniGrid-Empty-5x5-v0", arguments={"tile_size": 8}, transitions=3000, environments=environments
    )
    data = made.collect(0)
    assert made.spec.observation_shape == data.observation.shape[1:] == (40, 40, 3)
    assert made.spec.action_dim == 7
    assert data.metadata["observed"] == "render"
    assert np.bincount(data.episode).max() == 100
    terminal, others = data.observation[data.successor[data.terminated]], data.observation[data.source]
    # The agent of a last frame stands on the goal, where no source has it, and where each reset puts it away from.
    goals = np.unique(terminal, axis=0)
    assert len(terminal) > 5
    assert 1 <= len(goals) <= 4
    assert all((others != goal).any((1, 2, 3)).all() for goal in goals)
    assert ((data.reward > 0) == data.terminated).all()


def test_atari_is_observed_as_it_is_or_smaller_gray_and_stacked():
    arguments = {"repeat_action_probability": 0.0}
    data = domain("ale_py:ALE/Pong-v5", arguments=arguments, transitions=150).collect(0)
    assert data.observation.shape[1:] == (210, 160, 3)
    assert {"lives", "frame_number"} <= set(data.labels)
    fields = {"size": 84, "grayscale": True, "stack": 4, "max_episode_steps": 40}
    small = domain("ale_py:ALE/Pong-v5", arguments=arguments, transitions=150, **fields)
    frames = small.collect(0).observation
    assert small.spec.observation_shape == frames.shape[1:] == (84, 84, 4)
    np.testing.assert_array_equal(frames[1:40, ..., :3], frames[:39, ..., 1:])
    assert len(np.unique(frames[40:80], axis=0)) > 10


def test_a_world_of_the_old_interface_comes_in_by_a_function():
    fields = {"max_episode_steps": 50, "transitions": 55}
    made = domain("support.crafter_world:Crafter", arguments={"length": 1000}, **fields)
    one, again = made.collect(3), domain("support.crafter_world:Crafter", environments=1, **fields).collect(3)
    assert one.observation.shape[1:] == (64, 64, 3)
    np.testing.assert_array_equal(one.labels["health"][:51], again.labels["health"][:51])
    np.testing.assert_array_equal(one.observation[:51], again.observation[:51])
    assert len(np.unique(one.observation, axis=0)) > 20


@pytest.mark.parametrize("environment", ["FrozenLake-v1", "CartPole-v1", "Pendulum-v1"])
def test_gymnasiums_own_worlds_are_rendered(environment):
    made = domain(environment, observation="render", size=32, transitions=30)
    data = made.collect(0)
    plain = gymnasium.make(environment, render_mode="rgb_array")
    world, _ = np.random.SeedSequence([0, 0]).generate_state(2) >> 1
    plain.reset(seed=int(world))
    np.testing.assert_array_equal(data.observation[0], resize(plain.render(), 32))
    assert data.observation.shape[1:] == made.spec.observation_shape == (32, 32, 3)
    assert "state" in data.labels
