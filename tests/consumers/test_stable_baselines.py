"""Stable-Baselines3 trains on the environment."""

import counting_env  # noqa: F401 - registers the environment
import gymnasium
import stable_baselines3
import torch
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import DummyVecEnv


def test_stable_baselines_ppo_learns_to_beat_chance():
    def make():
        return gymnasium.make("CountingEnv-v0")

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
