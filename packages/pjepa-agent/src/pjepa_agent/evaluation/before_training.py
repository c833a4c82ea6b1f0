"""Say in one paragraph what Theorem 3 says of transitions before a model is trained on them."""

import numpy as np
from bisim_theory import DatasetError, NoWellTrainedModelError, Relation, TransitionDataset, embeddings_needed
from bisim_theory.data.auxiliary import stored_values
from bisim_theory.data.identity import ContentNote, choose_identity, describe_content, identify_by_content
from bisim_theory.data.parts import first_episodes, take_frames
from bisim_theory.relation.compute import empirical_bisimulation

MOST_TRANSITIONS = 5_000
"""Transitions of the first episodes that are related where observations are told apart by occurrence."""

MOST_LEVELS = 16
"""Most levels whose number of pairs is said."""

ADVICE = "; stack several, or observe more"
"""What is added where one observation is no state."""

REDRAWN = " (an image without objects is black, whatever shape and colour are drawn after it)"
"""What is added in the counting world."""


COLLECTED = {
    "before": " to train on.",
    "online": " before the first update, by the policy that goes on collecting.",
    "acts": " before the first update, at random; then the model acts.",
}
"""What is said of transitions that are collected before the training, while it goes on, or by the model itself."""


def describe_relation(data: TransitionDataset, acts: bool = False) -> str:
    """Say whether the data is deterministic, which distinctions p protects, and how many embeddings these need.

    Args:
        data: transitions with p.
        acts: whether the model then collects more while the run trains.
    """
    begins = f"{len(data):,} transitions{COLLECTED['acts' if acts else 'before']}"
    return " ".join([begins, *_described(data, ADVICE)])


def describe_counting(data: TransitionDataset, online: bool, acts: bool = False) -> str:
    """Say the same of the counting world, of the first 5,000 transitions, however many there are.

    Args:
        data: transitions with p of their sources; online, those that are collected before the first update.
        online: whether more are collected while the run trains.
        acts: whether it is the model that collects them.
    """
    part = take_frames(first_episodes(data, MOST_TRANSITIONS))
    begins = f"{len(data):,} transitions{COLLECTED['acts' if acts else 'online' if online else 'before']}"
    if len(part) < len(data):
        begins += f" In the first {len(part):,} of them:"
    return " ".join([begins, *_described(part, REDRAWN)])


def _described(data: TransitionDataset, advice: str) -> list[str]:
    """Return sentences on determinism, with advice where observations are no states, and on what p protects."""
    content = describe_content(data, None)
    said = [_determinism(content, advice)]
    by_content = content is not None and choose_identity(data, "auto", False, content) == "content"
    try:
        if content is not None and by_content:
            said.append(_protected(empirical_bisimulation(identify_by_content(data, content.ids))))
        else:
            part = first_episodes(data, MOST_TRANSITIONS)
            seen = "Told" if len(part) == len(data) else f"In the first {len(part):,} of them, told"
            said.append(f"{seen} apart by occurrence, " + _protected(empirical_bisimulation(part)))
    except NoWellTrainedModelError as error:
        said.append(
            f"{error}: no well-trained model exists, so something is merged that p tells apart; bisim-check names "
            "functions that have one value there."
        )
    except DatasetError as error:
        said.append(f"The relation is not computed: {error}.")
    return said


def _determinism(content: ContentNote | None, advice: str) -> str:
    """Say whether one observation is a Markov state, and on how many repeated pairs that was tested."""
    if content is None:
        return "Contents cannot be compared, so determinism was not tested."
    if not content.repeated:
        return "No observation and action repeat, so determinism was not tested."
    tested = f"tested on {content.repeated:,} (observation, action) pairs that repeat"
    if not content.conflicts:
        return f"Deterministic, {tested}."
    return (
        f"Not deterministic: {content.conflicts:,} of {content.repeated:,} (observation, action) pairs that repeat had "
        f"several successors, so one observation is no Markov state{advice}."
    )


def _protected(relation: Relation) -> str:
    """Say how many pairs p protects, and how many embeddings a well-trained model needs."""
    number = len(relation.observations)
    values = stored_values(relation.data)
    known = values.value[values.known].reshape(int(values.known.sum()), -1)
    if len(np.unique(known, axis=0)) < 2:
        return (
            f"p is constant on {number:,} observations: it protects nothing. Collect more "
            "(collection.transitions) where it should vary, or choose another p."
        )
    pairs, needed = number * (number - 1) // 2, embeddings_needed(relation)
    per_level = relation.distinguished_pairs_per_level
    levels, numbers = len(per_level), ", ".join(f"{each:,}" for each in per_level[:MOST_LEVELS])
    more = ", ..." if levels > MOST_LEVELS else ""
    return (
        f"p protects {relation.distinguished_pairs:,} of {pairs:,} pairs of {number:,} observations, at {levels} "
        f"level{'' if levels == 1 else 's'} ({numbers}{more}{'' if relation.exact else '; estimated'}); a well-trained "
        f"model needs "
        f"{'exactly' if needed.exact else 'at least'} {needed.at_least:,} embeddings."
    )
