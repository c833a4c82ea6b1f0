"""Compute R_D* by the letter of Definition 4, extended to observations that are never sources.

Nothing is shared with `bisim_theory`: episodes come from the writer's own library, observations are compared by
digests, and R is a matrix of pairs to which the operator is applied until nothing is added.
"""

import math
from collections import defaultdict
from collections.abc import Hashable
from typing import Any, NamedTuple

import numpy as np

from benchmarks.worlds.episodes import Episode


class Question(NamedTuple):
    """Say what is asked of a file, in the words of the options of `bisim-check`.

    Attributes:
        auxiliary: ``reward``, ``reward:actions``, ``terminated`` or a label; the first and the last with ``:bins:K``.
        absorb: whether terminated observations that are never sources get a step to themselves for every action.
        bins: K equal bins of each component of an action, or None.
        identity: ``auto``, ``content`` or ``occurrence``.
        fold: whether the successors of one observation and action are merged.
    """

    auxiliary: str
    absorb: bool = False
    bins: int | None = None
    identity: str = "auto"
    fold: bool = False


class Answer(NamedTuple):
    """What the brute force found.

    Attributes:
        identity: ``content`` or ``occurrence``.
        conflicts: (observation, action) pairs with several successors, by content.
        model: whether a well-trained model exists; if not, the rest is None.
        sources, leaves: numbers of observations with and without an action; a leaf has a known p.
        levels: pairs that enter R in each round.
        bisimilar: pairs that never do.
        classes: of the bisimilar, None where they form no equivalence.
    """

    identity: str
    conflicts: int
    model: bool
    sources: int | None = None
    leaves: int | None = None
    levels: list[int] | None = None
    bisimilar: int | None = None
    classes: int | None = None


Step = tuple[int, Hashable, int]
"""Source, action and successor."""


def answer(episodes: list[Episode], question: Question) -> Answer:
    """Return the answer to a question about episodes."""
    actions = action_names(episodes, question.bins)
    ids, steps = name(episodes, actions, content=True)
    conflicts = sum(len(each) > 1 for each in successors(steps).values())
    content = question.identity == "content" or (question.identity == "auto" and (question.fold or not conflicts))
    if not content:
        ids, steps = name(episodes, actions, content=False)
    identity = "content" if content else "occurrence"
    p = values(episodes, ids, steps, question.auxiliary)
    if question.absorb:
        ended = {each[-1] for each, episode in zip(ids, episodes, strict=True) if episode.terminated[-1:].any()}
        steps += [(x, a, x) for x in ended - {x for x, _, _ in steps} for a in {a for _, a, _ in steps}]
    size = 1 + max(map(max, ids))
    merged = merge(steps, size) if question.fold else list(range(size))
    of_class: dict[int, set[Any]] = defaultdict(set)
    for x, found in p.items():
        of_class[merged[x]] |= found
    if any(len(found) > 1 for found in of_class.values()):
        return Answer(identity, conflicts, model=False)
    known = {x: next(iter(of_class[merged[x]])) for x in range(size) if of_class[merged[x]]}
    return Answer(identity, conflicts, True, *relation(steps, known, set(p), merged))


def name(episodes: list[Episode], actions: list[list[Hashable]], content: bool) -> tuple[list[list[int]], list[Step]]:
    """Number the observations of every episode, by content or one by one, and list the steps."""
    numbers: dict[bytes, int] = {}
    ids, total = [], 0
    for each in episodes:
        if content:
            ids.append([numbers.setdefault(key, len(numbers)) for key in each.contents])
        else:
            ids.append(list(range(total, total + len(each.contents))))
            total += len(each.contents)
    steps = [
        (x, a, y)
        for of_episode, done in zip(ids, actions, strict=True)
        for x, a, y in zip(of_episode[:-1], done, of_episode[1:], strict=True)
    ]
    return ids, steps


def bins_of(numbers: np.ndarray, count: int) -> np.ndarray:
    """Return which of `count` equal bins of its column's range each number (n, k) is in."""
    low, high = numbers.min(0), numbers.max(0)
    share = (numbers - low) / np.where(high > low, high - low, 1)
    return np.minimum(np.floor(share * count), count - 1).astype(int)


def action_names(episodes: list[Episode], bins: int | None) -> list[list[Hashable]]:
    """Return a name for the action of every step: its bytes, or its bins."""
    together = np.concatenate(
        [each.actions.reshape(len(each.actions), math.prod(each.actions.shape[1:])) for each in episodes]
    )
    named = bins_of(together.astype(float), bins) if bins else together
    ends = np.cumsum([len(each.actions) for each in episodes])[:-1]
    return [[row.tobytes() for row in part] for part in np.split(np.ascontiguousarray(named), ends)]


def successors(steps: list[Step]) -> dict[tuple[int, Hashable], set[int]]:
    """Return the successors of every observation and action."""
    found = defaultdict(set)
    for x, a, y in steps:
        found[x, a].add(y)
    return found


def merge(steps: list[Step], size: int) -> list[int]:
    """Give the successors of one observation and action one name, and again until nothing changes."""
    names, changed = list(range(size)), True

    def find(x: int) -> int:
        while names[x] != x:
            x = names[x]
        return x

    while changed:
        changed = False
        for found in successors([(find(x), a, find(y)) for x, a, y in steps]).values():
            together = {find(y) for y in found}
            for each in together:
                names[each] = min(together)
            changed |= len(together) > 1
    return [find(x) for x in range(size)]


def values(episodes: list[Episode], ids: list[list[int]], steps: list[Step], auxiliary: str) -> dict[int, set[Any]]:
    """Return the values of p that the data gives each observation; none where it says nothing."""
    p: dict[int, set[Any]] = defaultdict(set)
    kind, _, bins = auxiliary.partition(":bins:")
    rewards = np.concatenate([each.rewards for each in episodes])
    reached = [y for _, _, y in steps]
    if kind == "reward:actions":
        of_action = defaultdict(set)
        for (x, a, _), reward in zip(steps, rewards.tolist(), strict=True):
            of_action[x, a].add(reward)
        every = sorted({a for _, a, _ in steps}, key=repr)
        for x in {x for x, _, _ in steps}:
            if all((x, a) in of_action for a in every):
                p[x] = {()}
                for a in every:
                    p[x] = {(*row, reward) for row in p[x] for reward in of_action[x, a]}
    elif kind == "reward":
        found = bins_of(rewards[:, None].astype(float), int(bins))[:, 0] if bins else rewards
        for y, value in zip(reached, found.tolist(), strict=True):
            p[y].add(value)
    elif kind == "terminated":
        for y, value in zip(reached, np.concatenate([each.terminated for each in episodes]).tolist(), strict=True):
            p[y].add(bool(value))
        for x, _, _ in steps:
            p[x] = p[x] or {False}
    else:
        label = np.concatenate([each.labels[kind].reshape(len(each.contents), -1) for each in episodes])
        label = bins_of(label.astype(float), int(bins)) if bins else label
        for x, value in zip([x for each in ids for x in each], map(tuple, label.tolist()), strict=True):
            p[x].add(value)
    return {x: found for x, found in p.items() if found}


def relation(
    steps: list[Step], p: dict[int, Any], own: set[int], merged: list[int]
) -> tuple[int, int, list[int], int, int | None]:
    """Apply the operator to a matrix of pairs until nothing is added.

    Observations that are merged have one p and the steps of all of them, and are counted one by one.

    Args:
        steps: of the data.
        p: of every observation that is merged with one of known p.
        own: observations whose own p is known.
        merged: the least observation that each is merged with.

    Returns:
        Numbers of sources and of leaves, pairs of each level, bisimilar pairs, and classes or None.
    """
    sources = {x for x, _, _ in steps}
    reached = {y for _, _, y in steps}
    leaves = (reached - sources) & own
    place = {x: i for i, x in enumerate(sorted(sources | leaves))}
    coded = {value: i for i, value in enumerate(dict.fromkeys(p.values()))}
    value = np.array([coded[p[x]] if x in p else -1 for x in place])
    arrows: dict[Hashable, dict[int, int]] = defaultdict(dict)
    members: dict[int, list[int]] = defaultdict(list)
    for x, i in place.items():
        members[merged[x]].append(i)
    for x, a, y in steps:
        if members[merged[y]]:  # else nothing is known of it
            arrows[a].update(dict.fromkeys(members[merged[x]], members[merged[y]][0]))
    related = (value[:, None] != value) & (value[:, None] >= 0) & (value >= 0)
    levels = [int(related.sum()) // 2]
    while levels[-1]:
        wider = related.copy()
        for each in arrows.values():
            x, y = np.array(list(each)), np.array(list(each.values()))
            wider[np.ix_(x, x)] |= related[np.ix_(y, y)]
        levels.append(int((wider & ~related).sum()) // 2)
        related = wider
    n = len(place)
    behaviours, count = np.unique(np.packbits(related, axis=1), axis=0, return_counts=True)
    equivalence = int((count**2).sum()) == n * n - int(related.sum())
    bisimilar = n * (n - 1) // 2 - sum(levels)
    return len(sources), len(leaves), levels[:-1], bisimilar, len(behaviours) if equivalence else None
