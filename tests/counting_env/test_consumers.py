"""Other people's code that uses the environment, run for real (dependency group ``consumers``)."""

import counting_env  # noqa: F401 - registers the environment
import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import wrappers
from torchrl.collectors import Collector
from torchrl.envs import GymEnv, GymWrapper

ID = "CountingEnv-v0"


@pytest.mark.slow
def test_stable_baselines_ppo_learns_to_beat_chance():
    stable_baselines3 = pytest.importorskip("stable_baselines3", reason="needs the group consumers")
    from stable_baselines3.common.evaluation import evaluate_policy
    from stable_baselines3.common.vec_env import DummyVecEnv

    def make():
        return gymnasium.make(ID)

    torch.manual_seed(0)
    policy = stable_baselines3.PPO(
        "CnnPolicy", DummyVecEnv([make] * 8), n_steps=64, batch_size=128, n_epochs=4, learning_rate=5e-4, seed=0
    )
    evaluation = DummyVecEnv([make] * 8)

    def mean_return():
        evaluation.seed(123)
        return evaluate_policy(policy, evaluation, 200, deterministic=False, warn=False)[0]

    chance = mean_return()  # a policy that has learnt nothing acts at random
    policy.learn(8_000)
    assert mean_return() > 1.2 * chance


def wrapped(number):
    """TorchRL's wrapper of the single environment, or of the native vector, which it then resets by itself.

    (Its own handling of same-step autoreset reads every info as a tensor, and loses the final image.)
    """
    if number is None:
        return GymEnv(ID, max_episode_steps=4)
    return GymWrapper(gymnasium.make_vec(ID, num_envs=number, max_episode_steps=4, autoreset_mode="Disabled"))


@pytest.mark.parametrize("number", [None, 3])
def test_torchrl_collects_transitions_that_obey_the_rules(number):
    collector = Collector(lambda: wrapped(number), None, frames_per_batch=60, total_frames=180)
    frames = 0
    for batch in collector:
        frames += batch.numel()
        key = "pixels" if "pixels" in set(batch.keys()) else "observation"
        before = (batch[key] != 0).any(-1).flatten(-2).sum(-1).float()
        after = (batch["next", key] != 0).any(-1).flatten(-2).sum(-1).float()
        adds = batch["action"][..., 0] >= 0
        # The lit area grows by an object where one is added, also in the last step of an episode.
        assert (torch.where(adds, after - before, before - after) >= 0).all()
        assert (after - before).abs().max() <= 49
        assert batch["next", "done"].any()
    assert frames == 180
    collector.shutdown()


def test_gymnasiums_vector_of_single_environments():
    env = gymnasium.make_vec(ID, num_envs=3, vectorization_mode="sync")
    images, info = env.reset(seed=0)
    native, native_info = gymnasium.make_vec(ID, num_envs=3).reset(seed=0)
    assert (images == native).all()
    assert (info["positions"] == native_info["positions"]).all()


def test_gymnasiums_wrappers(tmp_path):
    pytest.importorskip("cv2", reason="needs the group consumers")
    pytest.importorskip("moviepy", reason="needs the group consumers")
    stacked = wrappers.FrameStackObservation(gymnasium.make(ID), 3)
    observation, _ = stacked.reset(seed=0)
    assert observation.shape == (3, 64, 64, 3)
    resized = wrappers.ResizeObservation(gymnasium.make(ID), (32, 32))
    assert resized.reset(seed=0)[0].shape == (32, 32, 3)
    space = gymnasium.spaces.Box(0, 1, (64, 64, 3), np.float32)
    scaled = wrappers.TransformObservation(gymnasium.make(ID), lambda x: (x / 255).astype(np.float32), space)
    assert scaled.observation_space.contains(scaled.reset(seed=0)[0])
    video = wrappers.RecordVideo(gymnasium.make(ID, render_mode="rgb_array"), str(tmp_path), episode_trigger=bool)
    for _ in range(2):
        video.reset(seed=0, options={"count": 0})
        for _ in range(5):
            video.step(np.array([1.0], np.float32))
    video.close()
    assert [path.suffix for path in tmp_path.iterdir() if path.stat().st_size > 1000] == [".mp4"]
