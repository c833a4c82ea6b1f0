"""Check Theorem 1 on a finite deterministic counting world, with a P-JEPA trained on all of its transitions.

    uv run python examples/theorem_1.py runs/theorem_1

In `CountingEnv-v0` positions are drawn anew at every step. With `layouts` the next image is a function of the present
one and the action, so every observation under every action can be listed. A second argument sets the updates.
"""

import dataclasses
import sys

import torch
from bisim_theory import TransitionDataset, check_theorem, empirical_bisimulation
from counting_env import CountingEnv
from pjepa_agent import RunDirectory, make_config
from pjepa_agent.evaluation.theorem import represent
from pjepa_agent.training import Trainer

COLORS = [[225, 90, 70], [95, 140, 225]]


def every_transition(layouts: int) -> TransitionDataset:
    """List every observation of the finite world under both actions, with the reward as p."""
    arrays = CountingEnv(layouts=layouts, shapes=["disk", "bar"], colors=COLORS).world.transitions()
    labels = {name: arrays.pop(name) for name in ("count", "shape", "color", "layout")}
    values = 2.0 * arrays["action"][:, None] - 1  # the continuous action of each code
    return TransitionDataset(**arrays, action_value=values, labels=labels)


def main(path: str, updates: int = 2_000, layouts: int = 32) -> None:
    """Train on all transitions and check the theorem's conclusion for every pair."""
    data = every_transition(layouts)
    relation = empirical_bisimulation(data)
    print(f"{data.frames} observations, {len(data)} transitions; B* has {relation.bisimulation_classes} classes")

    config = make_config(updates=updates)
    config = dataclasses.replace(config, evaluation=dataclasses.replace(config.evaluation, every=updates))
    trainer = Trainer(config, RunDirectory.create(path, config), data, torch.device("cpu"))
    trainer.train()

    check = check_theorem(relation, represent(data, trainer.evaluated), labels=data.labels["count"])
    for level in check.levels:
        print(
            f"level {level.level}: {level.pairs} pairs, median distance {level.median_distance:.3f}, "
            f"2 median e_d over it {level.residual_ratio:.3f}, explained {level.explained.share:.4f}, "
            f"separation {level.separation:.4f}"
        )
    e_d, e_p = check.transition_residual[-1], check.auxiliary_residual[-1]
    print(f"largest residuals: e_d {e_d:.3f}, e_p {e_p:.3f}")
    print(f"smallest distance in R*: {check.closest.min_distance:.3f}; collapsed pairs: {check.collapsed_pairs}")
    print(f"Theorem 1: {check.verdict}")


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
