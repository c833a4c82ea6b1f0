"""Other people's worlds: the page says what the record says, and the brute force knows Definition 4."""

from pathlib import Path

import numpy as np
import pytest
from bisim_theory import DatasetError, TransitionDataset, analyse, to_json

from benchmarks.worlds.__main__ import differences, read_records, table
from benchmarks.worlds.brute_force import Answer, Question, action_names, answer, name, values
from benchmarks.worlds.episodes import Episode, digests
from benchmarks.worlds.worlds import WORLDS

PAGE = Path(__file__).parents[2] / "docs" / "worlds.md"


def test_the_page_has_the_table_that_the_record_makes():
    assert table(read_records()) in PAGE.read_text()


def test_the_record_has_every_world_and_the_brute_force_agreed_on_each():
    records = read_records()
    assert list(records) == list(WORLDS)
    assert len({record["writer"] for record in records.values()}) >= 6
    for key, record in records.items():
        assert (record["title"], record["options"]) == (WORLDS[key].title, WORLDS[key].options)
        assert record["differs"] == [], key
        assert WORLDS[key].classes in (None, record["bisimulation_classes"])


def drawn(rng, aliased, states=6, actions=2):
    """Draw episodes of a deterministic world whose last state ends them; aliased, some states look alike."""
    to, reward = rng.integers(states, size=(states, actions)), rng.integers(2, size=states).astype(float)
    looks = rng.integers(states, size=states) if aliased else np.arange(states)
    episodes, visits = [], []
    for _ in range(5):
        visited, done = [int(rng.integers(states - 1))], []
        while len(done) < 6 and visited[-1] != states - 1:
            done.append(int(rng.integers(actions)))
            visited.append(int(to[visited[-1], done[-1]]))
        ended = np.arange(1, len(visited)) == (len(visited) - 1 if visited[-1] == states - 1 else -1)
        visits.append(looks[visited])
        label = {"half": np.array(visited) % 2}
        episodes.append(Episode(digests(visits[-1]), np.array(done), reward[visited[1:]], ended, label))
    return episodes, visits


def dataset(episodes, visits):
    """Put episodes into the arrays of the package, each observation once."""
    lengths = np.array([len(each) for each in visits])
    source = np.concatenate(
        [begin + np.arange(n - 1) for begin, n in zip(np.cumsum(lengths) - lengths, lengths, strict=True)]
    )
    return TransitionDataset(
        source=source,
        successor=source + 1,
        action=np.concatenate([each.actions for each in episodes]),
        observation=np.concatenate(visits)[:, None],
        reward=np.concatenate([each.rewards for each in episodes]),
        terminated=np.concatenate([each.terminated for each in episodes]),
        labels={"half": np.concatenate([each.labels["half"] for each in episodes])},
    )


def named(episodes, identity):
    """Number the observations, and list the steps."""
    return name(episodes, action_names(episodes, None), content=identity == "content")


@pytest.mark.parametrize("aliased", [False, True])
@pytest.mark.parametrize("absorbing", [False, True])
@pytest.mark.parametrize(("identity", "fold"), [("auto", False), ("occurrence", False), ("content", True)])
@pytest.mark.parametrize("auxiliary", ["reward", "reward:bins:2", "reward:actions", "terminated", "half"])
def test_the_brute_force_and_the_package_agree_on_random_episodes(auxiliary, identity, fold, absorbing, aliased):
    rng, compared = np.random.default_rng(0), 0
    for _ in range(12):
        episodes, visits = drawn(rng, aliased)
        expected = answer(episodes, Question(auxiliary, absorbing, None, identity, fold))
        options = {"identity": identity, "folding": fold, "terminal": "absorb" if absorbing else "leaf"}
        if auxiliary == "reward:actions" and not values(episodes, *named(episodes, expected.identity), auxiliary):
            with pytest.raises(DatasetError, match="no observation was seen under all of the"):
                analyse(dataset(episodes, visits), auxiliary=auxiliary, **options)
            continue
        report = analyse(dataset(episodes, visits), auxiliary=auxiliary, **options)
        compared += 1
        assert differences(to_json(report), expected) == []
    assert compared >= (5 if auxiliary != "reward:actions" else identity != "occurrence")


def test_a_difference_is_named():
    found = {"identity": "content", "conflicts_by_content": 0, "verdict": "relation-only", "sources": 3, "leaves": 1}
    found |= {"distinguished_pairs_per_level": [2, 1], "bisimilar_pairs": 3, "bisimulation_classes": 2}
    same = Answer("content", 0, True, 3, 1, [2, 1], 3, 2)
    assert differences(found, same) == []
    assert differences(found, same._replace(levels=[3], classes=None)) == ["levels", "classes"]
    assert differences(found, Answer("content", 0, model=False)) == ["model"]


def test_the_options_of_every_world_are_the_question_that_the_brute_force_is_asked():
    asked = {each: world.question() for each, world in WORLDS.items()}
    assert asked["frozenlake-4x4"] == Question("reward", absorb=True)
    assert asked["pendulum"] == Question("reward:bins:5", bins=3)
    assert asked["pong"] == Question("reward", identity="content", fold=True)
