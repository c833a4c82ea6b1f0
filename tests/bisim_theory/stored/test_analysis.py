"""Analysis out of memory: the answers are those of memory and of the literal definition, whatever is asked."""

import dataclasses
import itertools

import numpy as np
import pytest
from bisim_theory import DatasetError, TransitionDataset, analyse, to_json, to_text
from bisim_theory.relation.backends.database import Database
from bisim_theory.stored.analysis import analyse_stored, refine_here
from bisim_theory.stored.auxiliary import statements
from bisim_theory.stored.graph import build_graph, state_p
from bisim_theory.stored.identity import find_pairs, join
from bisim_theory.stored.quotient import Quotient
from bisim_theory.stored.relation import StoredRelation
from bisim_theory.stored.staging import stage
from support.oracles import literal_levels, partly_known_dataset, random_dataset

KINDS = {
    "several actions": {"frames": 7, "actions": 3, "values": 2},
    "full coverage": {"frames": 8, "actions": 2, "values": 2, "coverage": 1.0},
    "trajectories": {"frames": 9, "actions": 2, "values": 2, "one_action": True},
    "trajectories and leaves": {"frames": 9, "actions": 2, "values": 2, "one_action": True, "unknown": 0.0},
    "unknown p at heads": {
        "frames": 12, "actions": 2, "values": 2, "one_action": True, "reached": 6, "unknown": 0.5, "initial": True,
    },
    "unknown p anywhere": {"frames": 8, "actions": 2, "values": 2, "unknown": 0.4},
    "unknown p along trajectories": {"frames": 9, "actions": 2, "one_action": True, "unknown": 0.4},
    "vectors": {"frames": 7, "actions": 2, "values": 2, "vector": 3, "unknown": 0.2},
}  # fmt: skip


@pytest.fixture(scope="module")
def database():
    with Database(1 << 28, threads=1) as opened:
        yield opened


def draw(rng, unknown=None, initial=False, **arguments):
    if unknown is None:
        return random_dataset(rng, **arguments)
    return partly_known_dataset(rng, unknown, initial=initial, **arguments)


def side_by_side(parts):
    """One dataset of several, whose observations are numbered one after the other."""
    begins = np.cumsum([0, *(part.frames for part in parts)])
    fields = {
        name: np.concatenate([getattr(part, name) + begin for part, begin in zip(parts, begins, strict=False)])
        for name in ("source", "successor")
    }
    given = [name for name in ("auxiliary", "observation_auxiliary", "observation_auxiliary_known")
             if getattr(parts[0], name) is not None]  # fmt: skip
    fields |= {name: np.concatenate([getattr(part, name) for part in parts]) for name in ("action", *given)}
    return TransitionDataset(**fields, size=int(begins[-1])), begins


def stored_relation(database, data):
    stored = stage(database, data)
    join(stored, by_content=False)
    find_pairs(stored)
    graph = build_graph(stored, state_p(stored, statements(stored, None), False), False)
    refine_here(graph)
    return StoredRelation.of(Quotient.of(graph))


@pytest.mark.parametrize("kind", KINDS)
def test_levels_of_hundreds_of_worlds_equal_the_literal_definition(database, kind):
    # Worlds side by side do not touch, so all of them cost one refinement, of which every pair within a world counts.
    rng = np.random.default_rng(len(kind))
    parts = [draw(rng, **KINDS[kind]) for _ in range(200)]
    data, begins = side_by_side(parts)
    relation = stored_relation(database, data)
    wanted, x, y = [], [], []
    for part, begin in zip(parts, begins, strict=False):
        levels = literal_levels(part)
        told = sorted({int(each) for pair in levels for each in pair} | set(part.source.tolist()))
        pairs = list(itertools.combinations(told, 2))
        wanted += [levels.get(pair, 0) for pair in pairs]
        x += [a + begin for a, _ in pairs]
        y += [b + begin for _, b in pairs]
    assert (relation.level(np.array(x), np.array(y)) == wanted).all()
    in_memory = to_json(analyse(data))
    assert relation.distinguished_pairs_per_level == in_memory["distinguished_pairs_per_level"]
    assert relation.behaviour.classes == in_memory["signature_classes"]


def with_more(rng, data):
    """Add labels, ends, rewards, and contents of which some coincide."""
    contents = rng.integers(data.frames, size=data.frames)
    observation = rng.integers(0, 255, (data.frames, 4), np.uint8)[contents]
    return dataclasses.replace(
        data,
        observation=observation,
        labels={"count": rng.integers(3, size=data.frames), "place": rng.normal(size=(data.frames, 2)).round()},
        reward=rng.integers(2, size=len(data)).astype(float),
        terminated=rng.random(len(data)) < 0.2,
        size=None,
    )


def both(database, data, stored_data=None, **questions):
    """What memory and the database answer: JSON without the backend, or the message of the error."""
    pairs = [(0, 1), (2, 3), (0, data.frames - 1)]
    answers = []
    for answer in (
        lambda: analyse(data, pairs=pairs, **questions),
        lambda: analyse_stored(stage(database, data), pairs=pairs, **questions),
    ):
        try:
            found = answer()
        except DatasetError as error:
            answers.append(str(error).split(":")[0])
        else:
            to_text(found)
            answers.append({name: value for name, value in to_json(found).items() if name != "backend"})
    return answers


QUESTIONS = [
    {},
    {"identity": "content"},
    {"folding": True},
    {"identity": "content", "folding": True},
    {"identity": "content", "auxiliary": "count"},
    {"identity": "content", "auxiliary": "reward", "folding": True},
    {"auxiliary": "terminated", "label": "count,place"},
    {"auxiliary": "count+terminated", "label": "place"},
    {"auxiliary": "place:bins:3", "terminal": "absorb"},
    {"identity": "content", "folding": True, "terminal": "absorb", "auxiliary": "constant"},
    {"auxiliary": "reward:round:0.5", "identity": "occurrence", "folding": True},
    {"candidates": ["auxiliary", "count", "constant", "terminated"], "identity": "occurrence", "folding": True},
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("questions", QUESTIONS, ids=str)
def test_every_question_is_answered_as_in_memory(database, kind, questions):
    rng = np.random.default_rng(len(kind) + len(str(questions)))
    for _ in range(2):
        data = with_more(rng, draw(rng, **KINDS[kind]))
        in_memory, stored = both(database, data, **questions)
        assert stored == in_memory
