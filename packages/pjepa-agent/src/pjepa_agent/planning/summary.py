"""Numbers of planned episodes, with intervals."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from pjepa_agent.planning.episodes import Episode

Z = 1.959964
"""Standard deviations on either side of a 95 % interval."""

KEYS = ("success", "optimal", "excess_steps", "model_calls", "milliseconds")
"""Measures of every policy."""


def wilson_interval(hits: int, number: int) -> list[float] | None:
    """Return the 95 % interval (Wilson, 1927) of a share; None of no trials."""
    if not number:
        return None
    share, squared = hits / number, Z**2 / number
    middle = (share + squared / 2) / (1 + squared)
    half = Z / (1 + squared) * math.sqrt(share * (1 - share) / number + squared / (4 * number))
    return [max(0.0, middle - half), min(1.0, middle + half)]


def mean_interval(values: Sequence[float]) -> list[float] | None:
    """Return the 95 % interval of a mean by the normal distribution; None of fewer than two values."""
    if len(values) < 2:
        return None
    half = Z * float(np.std(values, ddof=1)) / math.sqrt(len(values))
    return [float(np.mean(values)) - half, float(np.mean(values)) + half]


def summarize(
    episodes: Sequence[Episode], calls: Sequence[float], milliseconds: float | None, ends: bool = True
) -> dict[str, Any]:
    """Summarise episodes.

    Args:
        episodes: of one policy.
        calls: applications of the dynamics of every decision.
        milliseconds: median time of a decision.
        ends: reaching a goal is what the task asks for; False leaves out what is measured of that.

    Returns:
        ``success``, share of episodes that reach the goal; ``optimal``, share that does in the fewest steps;
        ``excess_steps``, mean of the steps beyond the fewest, where an episode that fails counts with the steps it
        took. The last two are over the episodes whose fewest steps are known, ``with_optimum`` in number, and None
        where none are. Intervals are of 95 %.
    """
    known = [each for each in episodes if each.problem.optimum is not None]
    reached = sum(each.reached for each in episodes)
    optimal = sum(bool(each.optimal) for each in known)
    excess = [float(len(each) - (each.problem.optimum or 0)) for each in known]
    totals = [each.total for each in episodes]
    found: dict[str, Any] = {
        "success": reached / len(episodes) if ends else None,
        "success_interval": wilson_interval(reached, len(episodes)) if ends else None,
        "optimal": optimal / len(known) if known and ends else None,
        "optimal_interval": wilson_interval(optimal, len(known)) if ends else None,
        "excess_steps": float(np.mean(excess)) if known and ends else None,
        "excess_interval": mean_interval(excess) if ends else None,
        "with_optimum": len(known) if ends else 0,
        "steps": float(np.mean([len(each) for each in episodes])),
        "return": float(np.mean(totals)),
        "return_interval": mean_interval(totals),
        "model_calls": float(np.mean(calls)) if len(calls) else 0.0,
        "milliseconds": milliseconds,
    }
    return found


def by_optimum(episodes: Sequence[Episode]) -> list[dict[str, Any]]:
    """Return success and share of optimal episodes for each number of fewest steps."""
    known = [each for each in episodes if each.problem.optimum is not None]
    return _by("optimum", known, [each.problem.optimum for each in known])


def by_goal(episodes: Sequence[Episode], names: Sequence[str]) -> list[dict[str, Any]]:
    """Return success and share of optimal episodes for each goal.

    Args:
        episodes: of one policy.
        names: (G,) names of the goals; several may have the same.
    """
    aimed = [each for each in episodes if each.problem.goal is not None]
    return _by("goal", aimed, [names[each.problem.goal or 0] for each in aimed])


def _by(title: str, episodes: Sequence[Episode], keys: Sequence[Any]) -> list[dict[str, Any]]:
    """Summarise the episodes of each key, a number or its digits, in their order."""
    groups: dict[Any, list[Episode]] = {key: [] for key in sorted(set(keys), key=lambda key: (len(str(key)), str(key)))}
    for key, episode in zip(keys, episodes, strict=True):
        groups[key].append(episode)
    found = []
    for key, rows in groups.items():
        known = [row for row in rows if row.optimal is not None]
        found.append({
            title: key,
            "episodes": len(rows),
            "success": sum(row.reached for row in rows) / len(rows),
            "optimal": sum(bool(row.optimal) for row in known) / len(known) if known else None,
        })  # fmt: skip
    return found


def optimum_summary(episodes: Sequence[Episode]) -> dict[str, Any]:
    """Return the measures of acting in the fewest steps, where they are known: None elsewhere."""
    known = [each.problem.optimum for each in episodes if each.problem.optimum is not None]
    reachable = 1.0 if known else None
    return {
        "success": reachable,
        "optimal": reachable,
        "excess_steps": 0.0 if known else None,
        "steps": float(np.mean(known)) if known else None,
        "model_calls": None,
        "milliseconds": None,
    }
