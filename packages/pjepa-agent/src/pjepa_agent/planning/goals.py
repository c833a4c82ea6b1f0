"""Goal observations: held-out ones by their number, or an image or vector in a file."""

from pathlib import Path
from typing import Any

import numpy as np
from bisim_theory import TransitionDataset
from numpy.typing import NDArray

from pjepa_agent.config.schema import Config
from pjepa_agent.envs.acting import Acting
from pjepa_agent.envs.base import Spec
from pjepa_agent.evaluation.clusters import clusters, pairwise_distances
from pjepa_agent.evaluation.held_out import HeldOut
from pjepa_agent.model import PJEPA
from pjepa_agent.planning.base import PlanningError
from pjepa_agent.planning.problems import (
    Problems,
    counting_goal_image,
    counting_goals,
    held_out_observations,
    world_goals,
)

COUNTS = 9
"""Counts of the counting world."""

ALL = "all"
"""Name of all goals, which are those without a name too."""

MEASURED = 250
"""Transitions from which the length of a latent step is measured."""


def find_goal(
    config: Config,
    acting: Acting,
    model: PJEPA,
    data: TransitionDataset | None,
    goal: int | str | None,
    episodes: int | None,
    default: int,
    seed: int,
) -> Problems:
    """Make the problems of a goal.

    Args:
        config: of the run.
        acting: the world.
        model: names the count of an image of the counting world that is given as a file.
        data: transitions of the run, in which the fewest steps are searched.
        goal: number of a held-out observation, in the counting world a count; a file; or None or `ALL` for all.
        episodes: number of problems; None for the default, in the counting world in whole rounds of its pairs.
        default: number of problems.
        seed: fixes them.

    Raises:
        PlanningError: there is no such goal.
    """
    goal = None if goal == ALL else goal
    number = _number(goal)
    image = read_goal(str(goal), model.spec) if goal is not None and number is None else None
    if acting.counting:
        if number is not None and not 0 <= number < COUNTS:
            raise PlanningError(f"--goal {goal}: must be a count from 0 to {COUNTS - 1}, or a file")
        if episodes is None:
            pairs = (COUNTS if goal is None else 1) * (COUNTS - 1)
            episodes = -(-default // pairs) * pairs
        if image is None:
            return counting_goals(config, episodes, seed, number)
        return counting_goal_image(config, episodes, seed, image, _count_of(image, config, model))
    if image is not None:
        return world_goals(acting, episodes or default, seed, data, image[None], [str(goal)])
    held_out = held_out_observations(config)
    if number is not None and not 0 <= number < len(held_out):
        raise PlanningError(f"--goal {goal}: must be a held-out observation from 0 to {len(held_out) - 1}, or a file")
    chosen = [number] if number is not None else _drawn(held_out, episodes or default, seed)
    return world_goals(acting, episodes or default, seed, data, held_out[chosen], [str(each) for each in chosen])


def read_goal(name: str, spec: Spec) -> NDArray[Any]:
    """Read an observation from a file: an array (``.npy``), or an image in any format that Pillow knows.

    Raises:
        PlanningError: it cannot be read, or has another shape or type than the model's observations.
    """
    path = Path(name)
    try:
        if path.suffix == ".npy":
            found = np.load(path, allow_pickle=False)
        else:
            from PIL import Image

            with Image.open(path) as image:
                found = np.asarray(image.convert("L" if spec.observation_shape[-1] == 1 else "RGB"))
            found = found[..., None] if found.ndim == 2 else found
    except (OSError, ValueError, EOFError, SyntaxError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise PlanningError(f"--goal {name}: cannot be read ({reason})") from None
    wanted = np.dtype(spec.observation_dtype)
    if wanted.kind == "f" and found.dtype.kind == "f":
        found = found.astype(wanted)
    if found.shape != spec.observation_shape or found.dtype != wanted:
        raise PlanningError(
            f"--goal {name}: is {found.shape} {found.dtype}, must be {spec.observation_shape} "
            f"{spec.observation_dtype} as the model's observations are"
        )
    return found


def arrival_scale(model: PJEPA, data: TransitionDataset) -> float:
    """Return tau of `costs.GoalCost`: half of the median length of a latent step that changes the observation.

    Args:
        model: encodes.
        data: transitions with observations, of which the first `MEASURED` are taken.

    Raises:
        PlanningError: there is no such step.
    """
    rows = np.arange(min(len(data), MEASURED))
    frames: Any = data.observation
    if frames is None:
        raise PlanningError("the transitions have no observations, from which the length of a step is measured")
    source, successor = np.asarray(frames[data.source[rows]]), np.asarray(frames[data.successor[rows]])
    changed = (source != successor).reshape(len(rows), -1).any(1)
    if not changed.any():
        raise PlanningError(f"the first {len(rows)} transitions change no observation; collect others")
    steps = model.encode(successor[changed]) - model.encode(source[changed])
    return float(steps.norm(dim=1).median()) / 2


def _number(goal: int | str | None) -> int | None:
    """Return the number that a goal is, None where it is a file or nothing."""
    try:
        return None if goal is None else int(goal)
    except ValueError:
        return None


def _count_of(image: NDArray[Any], config: Config, model: PJEPA) -> int:
    """Return the count whose centroid is nearest to an image."""
    held_out = HeldOut(config)
    reference = ~held_out.scored
    counts, centroids, _ = clusters(model.encode(held_out.images[reference]).numpy(), held_out.counts[reference])
    return int(counts[pairwise_distances(model.encode(image[None]).numpy(), centroids).argmin()])


def _drawn(observations: NDArray[Any], number: int, seed: int) -> list[int]:
    """Draw observations to reach, of different content where there are enough."""
    content = np.unique(observations.reshape(len(observations), -1), axis=0, return_index=True)[1]
    drawn = np.random.default_rng([seed, 1]).permutation(np.sort(content))[:number]
    return [int(each) for each in drawn]
