"""Collect both actions from every observation, which certifies pairs that single trajectories cannot."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from counting_env import drawing, rules
from counting_env.env import CountingEnv


def collect_branches(env: CountingEnv, roots: int, depth: int, seed: int | None = None) -> dict[str, NDArray[Any]]:
    """Collect the tree of all action sequences up to a length from fresh episodes.

    Every observation above the leaves is the source of two transitions, one of each action. Positions are drawn anew
    for every branch. A branch ends with its episode; time limits of wrappers do not apply.

    Args:
        env: the environment itself (``gymnasium.make(...).unwrapped``).
        roots: number of episodes, at least 1.
        depth: length of the action sequences, at least 1.
        seed: fixes the episodes and all positions.

    Returns:
        The arrays of ``transitions.npz``: N transitions over F frames, each frame once. ``auxiliary`` (N,) is the
        reward of the source, ``episode`` (N,) the number of the root. Labels (F,) are ``count`` and ``shape`` (index
        into `drawing.SHAPES`).

    Raises:
        ValueError: `roots` or `depth` is less than 1.
    """
    if roots < 1 or depth < 1:
        raise ValueError(f"roots={roots}, depth={depth}: must both be at least 1")
    frames: list[NDArray[np.uint8]] = []
    counts: list[int] = []
    shapes: list[int] = []
    rows: list[tuple[int, int, int, float, bool, int]] = []

    def keep(observation: NDArray[np.uint8], info: dict[str, Any]) -> int:
        frames.append(observation)
        counts.append(info["count"])
        shapes.append(drawing.SHAPES.index(info["shape"]))
        return len(frames) - 1

    for root in range(roots):
        frame = keep(*env.reset(seed=seed if root == 0 else None))
        level = [(frame, env.save_state())]
        for _ in range(depth):
            below = []
            for source, state in level:
                for code in (rules.REMOVE, rules.ADD):
                    env.restore_state(state, rewind_random=False)
                    observation, reward, terminated, _, info = env.step(env.action(code))
                    successor = keep(observation, info)
                    rows.append((source, code, successor, float(reward), terminated, root))
                    if not terminated:
                        below.append((successor, env.save_state()))
            level = below

    names = ("source", "action", "successor", "reward", "terminated", "episode")
    arrays = {name: np.array(column) for name, column in zip(names, zip(*rows, strict=True), strict=True)}
    count = np.array(counts)
    return {
        **arrays,
        "auxiliary": np.array([env.reward_of(k) for k in count[arrays["source"]].tolist()]),
        "observation": np.stack(frames),
        "count": count,
        "shape": np.array(shapes),
    }
