"""TorchRL collects from the environment."""

import counting_env  # noqa: F401 - registers the environment
import gymnasium
import pytest
import torch
from torchrl.collectors import Collector
from torchrl.envs import GymEnv, GymWrapper

ID = "CountingEnv-v0"


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
