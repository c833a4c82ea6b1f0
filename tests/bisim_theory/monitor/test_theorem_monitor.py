"""The monitor against `bisim-check` on files, and what it says of a model."""

import dataclasses
import functools
import json

import numpy as np
import pytest
import torch
from bisim_theory import (
    DatasetError,
    TheoremMonitor,
    Tolerance,
    TransitionDataset,
    analyse,
    auxiliary_values,
    read_representation,
    read_transitions,
    write_representation,
    write_transitions,
)
from bisim_theory.cli import main
from bisim_theory.data.auxiliary import with_auxiliary
from bisim_theory.monitor.inputs import NotFiniteError
from support.commands import run_command
from support.corridor import PLACES, observe, walks

check = functools.partial(run_command, main)


def maps(seed=0, size=720, d=6):
    """Draw E, T and P as functions of arrays, so that two ways of applying them can be compared."""
    rng = np.random.default_rng(seed)
    e, t, p = rng.normal(size=(size, d)), 0.4 * rng.normal(size=(d, d)), 0.3 * rng.normal(size=d)

    def encode(observations):
        return observations.reshape(len(observations), -1) @ e / 255

    def predict(z, actions):
        return z + np.tanh(z @ t) * (1 + actions[:, :1])

    return encode, predict, lambda z: np.tanh(z @ p)


def with_p(data, name="reward"):
    return with_auxiliary(data, auxiliary_values(data, name), name)


def continuous(data, seed=0):
    """Give transitions continuous actions whose sign is the code."""
    value = np.random.default_rng(seed).uniform(0.1, 1, (len(data), 1)) * np.where(data.action, 1, -1)[:, None]
    return dataclasses.replace(data, action_value=value)


@pytest.mark.parametrize("identity", ["content", "occurrence"])
@pytest.mark.parametrize("sample", [100_000, 300])
@pytest.mark.parametrize("actions", ["codes", "values"])
def test_every_measure_is_that_of_bisim_check_on_the_same_files(tmp_path, capsys, identity, sample, actions):
    data = with_p(walks(episodes=25))
    data = continuous(data) if actions == "values" else data
    encode, predict, head = maps()
    path = tmp_path / "transitions.npz"
    write_transitions(path, data)
    write_representation(tmp_path / "representation.npz", data, encode=encode, predict=predict, auxiliary=head)
    monitor = TheoremMonitor(path, identity=identity, tolerance=Tolerance(sample=sample), transitions=None)
    measures = monitor(encode, predict, head)
    model = read_representation(tmp_path / "representation.npz")
    found = analyse(read_transitions(path), model, identity, tolerance=Tolerance(sample=sample), label="place").check
    expected = {"theorem/collapsed_pairs": found.collapsed_pairs}
    expected["theorem/least_explained_share"] = min(level.explained.share for level in found.levels)
    expected["theorem/unexplained_levels"] = len(found.unexplained_levels)
    for level in found.levels[: monitor.levels]:
        expected[f"theorem/explained_share_{level.level}"] = level.explained.share
        expected[f"theorem/residual_ratio_{level.level}"] = level.residual_ratio
        if level.separation is not None:
            expected[f"theorem/separation_{level.level}"] = level.separation
    of_theorem = {name: value for name, value in measures.numbers.items() if name.startswith("theorem/")}
    closest = of_theorem.pop("theorem/closest_over_median")
    assert of_theorem == pytest.approx(expected, rel=1e-9)
    assert len(expected) > 2 * len(found.levels[: monitor.levels])
    assert closest == pytest.approx(found.closest.min_distance / found.median_distance)
    assert ("theorem/separation_1" in expected) == (identity == "occurrence")  # else every label has one observation
    if sample == Tolerance().sample:
        check(capsys, path, "--identity", identity, "--json", tmp_path / "report.json")
        report = json.loads((tmp_path / "report.json").read_text())
        conclusion = report["conclusion"]
        assert conclusion["pair"] == list(measures.pair.ids)
        assert (conclusion["level"], conclusion["witness"]) == (measures.pair.level, measures.pair.witness)
        assert conclusion["min_distance"] == pytest.approx(measures.pair.distance)
        assert conclusion["collapsed_pairs"] == measures.collapsed_pairs
        shares = [level["explained_share"] for level in report["hypothesis"]["levels"]]
        assert shares == pytest.approx([level.explained.share for level in measures.check.levels])


def test_terminals_that_absorb_are_measured_like_rows_that_say_so():
    data = walks(episodes=30)
    ended = np.flatnonzero(data.terminated)
    goals = data.successor[ended]
    more = {
        "source": np.repeat(goals, 2), "action": np.tile([0, 1], len(goals)), "successor": np.repeat(goals, 2),
        "reward": np.ones(2 * len(goals)), "episode": np.repeat(data.episode[ended], 2),
        "terminated": np.ones(2 * len(goals), bool), "truncated": np.zeros(2 * len(goals), bool),
    }  # fmt: skip
    rows = {name: np.concatenate([getattr(data, name), value]) for name, value in more.items()}
    explicit = TheoremMonitor(dataclasses.replace(data, **rows), "reward")
    absorbing = TheoremMonitor(data, "reward", terminal="absorb")
    assert len(absorbing.sources) == len(explicit.sources) == 2 * PLACES
    one, other = absorbing(*maps()), explicit(*maps())
    names = [name for name in one.numbers if "residual_ratio" not in name]  # of which the median weighs the rows
    assert [one.numbers[name] for name in names] == pytest.approx([other.numbers[name] for name in names])


@pytest.mark.parametrize("values", [False, True])
def test_what_is_one_is_asked_for_once(values):
    data = continuous(walks()) if values else walks()
    monitor = TheoremMonitor(data, "reward")
    np.testing.assert_array_equal(monitor.observations, data.observation[monitor.ids])
    assert len(monitor.observations) == PLACES
    assert len(monitor.sources) == len(monitor.actions) == 2 * (PLACES - 1)
    asked = list(zip(monitor.sources.tolist(), monitor.actions[:, 0].tolist(), strict=True))
    assert len(set(asked)) == len(asked)
    expected = [data.action_value[data.action == code].mean() for code in (0, 1)] if values else [0, 1]
    np.testing.assert_allclose(np.unique(monitor.actions), expected)


def test_repeated_transitions_change_nothing():
    data = walks(episodes=12)
    rng = np.random.default_rng(3)
    rows = np.concatenate([np.arange(len(data)), rng.integers(len(data), size=200)])
    names = ("source", "action", "successor", "reward", "terminated", "truncated", "episode")
    more = dataclasses.replace(data, **{name: getattr(data, name)[rows] for name in names})
    one, other = (TheoremMonitor(each, "reward")(*maps()) for each in (data, more))
    assert one.pair == other.pair
    same = [name for name in one.numbers if "residual_ratio" not in name]
    assert [one.numbers[name] for name in same] == [other.numbers[name] for name in same]


def test_the_relation_is_computed_once(monkeypatch):
    monitor = TheoremMonitor(walks(), "reward")
    monkeypatch.setattr("bisim_theory.analysis.empirical_bisimulation", None)
    assert monitor(*maps(0)).numbers != monitor(*maps(1)).numbers
    assert monitor(*maps(0)).numbers == monitor(*maps(0)).numbers


@pytest.mark.parametrize("seed", range(6))
def test_a_pair_that_is_merged_is_named_with_what_tells_it_apart(seed):
    rng = np.random.default_rng(seed)
    monitor = TheoremMonitor(walks(), "reward", terminal="absorb")
    x, y = sorted(rng.choice(PLACES, 2, replace=False).tolist())
    place = [
        int(np.argmax([(frame == observe(each, False)).all() for each in range(PLACES)]))
        for frame in monitor.observations
    ]
    table = rng.normal(size=(PLACES, 4))
    table[y] = table[x]
    z = table[place]
    measures = monitor(z, z[monitor.sources], np.zeros(PLACES))
    assert measures.collapsed_pairs == 1
    pair = measures.pair
    assert pair.collapsed
    assert sorted(place[monitor.ids.tolist().index(each)] for each in pair.ids) == [x, y]
    assert sorted(pair.labels) == [f"place {x}", f"place {y}"]
    assert pair.witness == [1] * (PLACES - 1 - y)
    assert pair.level == len(pair.witness) + 1
    values = "0 and 1" if place[monitor.ids.tolist().index(pair.ids[1])] == y else "1 and 0"
    after = {0: "", 1: "after action 1 "}.get(
        len(pair.witness), f"after actions {', '.join(['1'] * len(pair.witness))} "
    )
    assert pair.rule == f"{after}p (reward) is {values}"
    assert str(pair) in str(measures)


def test_the_rule_says_what_codes_mean_and_which_component_differs(tmp_path):
    data = continuous(walks())
    path = tmp_path / "transitions.npz"
    write_transitions(path, data)
    monitor = TheoremMonitor(path, "constant+place", actions="sign")
    assert monitor(*maps()[:2]).pair.rule.startswith("component 1 of p (constant+place) is ")
    monitor = TheoremMonitor(path, "reward", actions="sign", terminal="absorb")
    z = np.eye(PLACES)
    z[1] = z[0]
    ordered = np.argsort([frame[5].argmax() for frame in monitor.observations])
    z = z[np.argsort(ordered)]
    rule = monitor(z, z[monitor.sources]).pair.rule
    assert rule == "after actions 1 (value >= 0), 1 (value >= 0), 1 (value >= 0) p (reward) is 0 and 1"


def test_a_model_without_p_has_no_share_of_level_1():
    monitor = TheoremMonitor(walks(), "reward")
    encode, predict, head = maps()
    without, given = monitor(encode, predict), monitor(encode, predict, head)
    missing = {"theorem/explained_share_1"}
    assert given.numbers.keys() - without.numbers.keys() == missing
    shares = [without.numbers[f"theorem/explained_share_{level}"] for level in (2, 3, 4)]
    assert without.numbers["theorem/least_explained_share"] == min(shares)
    assert without.numbers["theorem/unexplained_levels"] == sum(share < 0.9 for share in shares)


def test_classes_serve_as_labels_where_there_are_none():
    data = dataclasses.replace(walks(), labels={})
    monitor = TheoremMonitor(data, "reward", identity="occurrence", terminal="absorb")
    classes = monitor.relation.classes
    assert monitor.label == ("class of B_D*" if classes is not None else None)
    by_content = TheoremMonitor(data, "reward", terminal="absorb")
    assert by_content.label == "class of B_D*"
    np.testing.assert_array_equal(by_content.labels[by_content.relation.observations], by_content.relation.classes)
    named = TheoremMonitor(walks(), "reward", identity="occurrence")
    assert named.label == "place"
    z = np.eye(PLACES)[named.labels[named.relation.data.source[0] :][named.ids]]
    assert named(z, z[named.sources]).numbers["eval/nearest_centroid_accuracy"] == 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_tensors_of_any_precision_with_gradients_are_taken(dtype):
    monitor = TheoremMonitor(walks(), "reward")
    encode, predict, head = maps()
    z = torch.tensor(encode(monitor.observations), dtype=dtype, requires_grad=True)
    t = torch.tensor(predict(z.detach().double().numpy()[monitor.sources], monitor.actions), dtype=dtype)
    p = torch.tensor(head(z.detach().double().numpy()), dtype=dtype, requires_grad=True)[:, None]
    plain = (each.detach().float().numpy() for each in (z, t, p))
    assert monitor(z, t, p).numbers == monitor(*plain).numbers


def test_data_without_observations_takes_arrays():
    data = dataclasses.replace(walks(), observation=None)
    monitor = TheoremMonitor(data, "reward")
    z = np.random.default_rng(0).normal(size=(len(monitor.ids), 3))
    assert monitor(z, z[monitor.sources]).collapsed_pairs == 0
    with pytest.raises(
        DatasetError, match=r"observation: is not in this data; embed those of monitor\.ids, and give arrays"
    ):
        monitor(lambda observations: z, lambda z, a: z)


def test_the_first_episodes_are_watched_with_the_p_of_all():
    rng = np.random.default_rng(0)
    data = walks(episodes=60)
    reward = rng.uniform(0, 1, len(data))
    reward[-1] = 2  # the last bin, which no watched transition has
    data = dataclasses.replace(data, reward=reward, episode=data.episode + 7)
    monitor = TheoremMonitor(data, "reward:bins:100", identity="occurrence", transitions=50)
    watched = monitor.relation.data
    assert len(watched) <= 50
    np.testing.assert_array_equal(watched.action, data.action[: len(watched)])
    assert data.episode[len(watched)] != data.episode[len(watched) - 1]
    np.testing.assert_array_equal(monitor.observations, data.observation[monitor.ids])
    whole = auxiliary_values(data, "reward:bins:100").value
    known = watched.observation_auxiliary_known
    used = np.unique(np.concatenate([data.source[: len(watched)], data.successor[: len(watched)]]))
    np.testing.assert_array_equal(watched.observation_auxiliary[known], whole[used][known])
    assert f"watching the first {len(watched)} of {len(data)} transitions" in str(monitor)
    one_stream = dataclasses.replace(data, episode=np.zeros(len(data), int))
    assert len(TheoremMonitor(one_stream, "terminated", identity="occurrence", transitions=20).relation.data) == 20


def test_sampled_pairs_are_said():
    monitor = TheoremMonitor(walks(episodes=80), "reward", identity="occurrence")
    sampled = sum(pairs > monitor.tolerance.sample for pairs in monitor.relation.distinguished_pairs_per_level)
    assert sampled
    assert f"sampled: {monitor.tolerance.sample:,} pairs of each of {sampled} levels" in str(monitor)
    assert "sampled" not in str(TheoremMonitor(walks(), "reward"))


def noisy():
    """Transitions in which one observation has two successors, and two values of p."""
    return TransitionDataset(
        [0, 1, 2, 3], [0, 0, 0, 0], [4, 5, 6, 7], reward=[0, 1, 0, 1], observation=np.float32([[1], [1], [2], [3]] * 2)
    )


UNWATCHABLE = {
    "auxiliary: is not in this data; name p, one of reward, ": lambda: TheoremMonitor(walks()),
    r"p \(constant\) is constant on the \d+ observations where it is known, so no pair is distinguished and there is "
    "nothing to watch; choose another p: ": lambda: TheoremMonitor(walks(), "constant"),
    r"of the first 2 transitions where it is known, .*; watch more transitions, or choose another p": (
        lambda: TheoremMonitor(walks(), "reward", transitions=2)
    ),
    "auxiliary='health': this dataset offers": lambda: TheoremMonitor(walks(), "health"),
    "data: must be a TransitionDataset or the path of a dataset, is dict": lambda: TheoremMonitor({}, "reward"),
    "nowhere.npz: does not exist": lambda: TheoremMonitor("nowhere.npz", "reward"),
    "actions='sign': is for a path": lambda: TheoremMonitor(walks(), "reward", actions="sign"),
    "transitions=0: must be at least 1": lambda: TheoremMonitor(walks(), "reward", transitions=0),
    "terminal='stop': must be leaf or absorb": lambda: TheoremMonitor(walks(), "reward", terminal="stop"),
    "--label room: this dataset has no label": lambda: TheoremMonitor(walks(), "reward", label="room"),
    r"no well-trained model exists: observations \d and \d .*identity='occurrence'": (
        lambda: TheoremMonitor(noisy(), "reward", identity="content", folding=True)
    ),
    "no well-trained model exists": (
        lambda: TheoremMonitor(noisy(), "reward", identity="content", folding=True, transitions=3)
    ),
}


@pytest.mark.parametrize("message", UNWATCHABLE)
def test_what_cannot_be_watched_is_one_line(message):
    with pytest.raises(DatasetError, match=message) as error:
        UNWATCHABLE[message]()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"z": lambda z: z[1:]}, DatasetError, r"embedding: must be floats, one row for each of 5, is \(4, 6\)"),
        ({"z": lambda z: z[:, 0]}, DatasetError, r"embedding: must be \(5, d\), is \(5,\)"),
        ({"z": lambda z: z[:, :0]}, DatasetError, r"embedding: must be \(5, d\), is \(5, 0\)"),
        ({"z": lambda z: (255 * z).astype(int)}, DatasetError, "embedding: must be floats, .* int64"),
        ({"z": lambda z: np.insert(z[1:], 3, np.nan, 0)}, NotFiniteError, "embedding: row 3 is not finite"),
        ({"z": lambda z: [object()] * 5}, DatasetError, "embedding: "),
        ({"t": lambda t: t[:, :5]}, DatasetError, r"predicted_embedding: must be \(8, 6\), is \(8, 5\)"),
        ({"t": lambda t: t[:5]}, DatasetError, r"predicted_embedding: must be floats, one row for each of 8"),
        ({"t": lambda t: np.inf * t}, NotFiniteError, "predicted_embedding: row 0 is not finite"),
        ({"p": lambda p: np.stack([p, p], 1)}, DatasetError, r"must be \(5,\), in the units of p, is \(5, 2\)"),
        ({"p": lambda p: p[:3]}, DatasetError, "predicted_auxiliary: must be floats, one row for each of 5"),
        ({"p": lambda p: np.nan * p}, NotFiniteError, "predicted_auxiliary: row 0 is not finite"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("callables", [False, True])
def test_what_a_model_makes_wrongly_is_one_line(change, error, message, callables):
    monitor = TheoremMonitor(walks(), "reward")
    encode, predict, head = maps()
    z = encode(monitor.observations)
    made = {"z": z, "t": predict(z[monitor.sources], monitor.actions), "p": head(z)}
    made |= {name: function(made[name]) for name, function in change.items()}
    arguments = [(lambda *_, value=value: value) if callables else value for value in made.values()]
    with pytest.raises(error, match=message) as raised:
        monitor(*arguments)
    assert "\n" not in str(raised.value)
