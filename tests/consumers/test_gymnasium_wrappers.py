"""Gymnasium's wrappers, with the libraries that they need, around the environment."""

import counting_env  # noqa: F401 - registers the environment
import gymnasium
import numpy as np
from gymnasium import wrappers

ID = "CountingEnv-v0"


def test_gymnasiums_wrappers(tmp_path):
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
