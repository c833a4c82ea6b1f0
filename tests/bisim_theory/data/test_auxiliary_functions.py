"""Auxiliary functions by name: what each is, at which observations it is known, and what is refused."""

import dataclasses

import numpy as np
import pytest
from bisim_theory import DatasetError, NoWellTrainedModelError, TransitionDataset, analyse
from bisim_theory.data.auxiliary import stored_values, with_auxiliary
from bisim_theory.data.auxiliary_functions import auxiliary_bins, auxiliary_values, describe_auxiliary, offered
from bisim_theory.data.auxiliary_names import parse_auxiliary, split_names
from bisim_theory.data.bins import Bins
from gymnasium.envs.toy_text.cliffwalking import CliffWalkingEnv
from gymnasium.envs.toy_text.taxi import TaxiEnv
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

NUMBERS = hnp.arrays(np.float64, st.integers(1, 30), elements=st.floats(-1e6, 1e6))


def with_label(value):
    """Build a dataset of one transition with a label."""
    return TransitionDataset([0], [0], [0], labels={"heat": value})


def enumerate_table(world):
    """List all transitions that can happen from the initial states of a toy world, without rendering it."""
    env = world()
    pending = np.flatnonzero(env.initial_state_distrib).tolist()
    seen, rows = set(pending), []
    while pending:
        state = pending.pop()
        for action, outcomes in env.P[state].items():
            ((probability, successor, reward, terminated),) = outcomes
            assert probability == 1
            rows.append((state, action, successor, float(reward), bool(terminated)))
            if successor not in seen and not terminated:
                seen.add(successor)
                pending.append(successor)
    source, action, successor, reward, terminated = map(np.array, zip(*rows, strict=True))
    return TransitionDataset(source, action, successor, reward=reward, terminated=terminated)


def brute_force_classes(data, values, known):
    """Count classes of sources by refining the partition by p with the classes of successors, until nothing changes."""
    rows = zip(data.source.tolist(), data.action.tolist(), data.successor.tolist(), strict=True)
    follow = {(source, action): successor for source, action, successor in rows}
    actions = np.unique(data.action).tolist()
    name = {s: str(values[s].tolist()) if known[s] else "unknown" for s in range(data.frames)}
    sources = np.unique(data.source).tolist()
    for _ in sources:
        signature = {s: (name[s], *(name[follow[s, a]] for a in actions)) for s in sources}
        number = {each: str(i) for i, each in enumerate(sorted(set(signature.values())))}
        name = {**name, **{s: number[signature[s]] for s in sources}}
    return len({name[s] for s in sources})


@pytest.mark.parametrize(("world", "classes"), [(CliffWalkingEnv, 37), (TaxiEnv, 400)])
def test_the_rewards_of_all_actions_tell_the_states_of_toy_worlds_apart(world, classes):
    data = enumerate_table(world)
    report = analyse(data, auxiliary="reward:actions")
    assert report.relation.bisimulation_classes == classes
    values = auxiliary_values(data, "reward:actions")
    assert brute_force_classes(data, values.value, values.known) == classes
    assert values.known.sum() == len(np.unique(data.source))  # terminals are never acted from
    np.testing.assert_array_equal(values.value[data.source, data.action], data.reward)


@pytest.mark.parametrize("world", [CliffWalkingEnv, TaxiEnv])
def test_the_reward_of_the_step_is_no_function_of_their_states(world):
    data = enumerate_table(world)
    with pytest.raises(NoWellTrainedModelError):
        auxiliary_values(data, "reward")
    assert analyse(data, auxiliary="reward").verdict == "no-well-trained-model"


def test_the_rewards_of_actions_are_unknown_where_an_action_was_not_seen():
    data = TransitionDataset([0, 0, 1, 2, 2], [5, 3, 3, 3, 5], [1, 2, 2, 0, 1], reward=[1, 2, 3, 4, 5.0])
    values = auxiliary_values(data, "reward:actions")
    assert values.known.tolist() == [True, False, True]
    assert values.value[[0, 2]].tolist() == [[2, 1], [4, 5]]  # in the order of the codes, 3 and 5
    rounded = auxiliary_values(data, "reward:actions:bins:2")
    assert rounded.value[[0, 2]].tolist() == [[0, 0], [1, 1]]


def test_rewards_of_actions_that_cannot_be_had_are_refused_or_proved_impossible():
    once = TransitionDataset([0, 1], [0, 1], [1, 2], reward=[0.0, 1.0])
    with pytest.raises(DatasetError, match=r"reward:actions: no observation was seen under all of the 2 actions"):
        auxiliary_values(once, "reward:actions")
    twice = TransitionDataset([0, 0], [0, 0], [1, 1], reward=[0.0, 1.0])
    with pytest.raises(NoWellTrainedModelError, match=r"observation 0 .* 0\.0 and 1\.0 \(transitions 0 and 1\)"):
        auxiliary_values(twice, "reward:actions")
    equal = TransitionDataset([0, 1], [0, 0], [2, 2], reward=[0.0, 1.0])
    ids = np.array([0, 0, 2])
    with pytest.raises(NoWellTrainedModelError, match=r"observations 0 and 1 are equal"):
        auxiliary_values(equal, "reward:actions", ids)
    assert auxiliary_values(equal, "reward:actions:bins:2").known.tolist() == [True, True, False]


@given(NUMBERS, st.integers(2, 40))
def test_bins_are_of_equal_width_over_the_range(values, bins):
    found = auxiliary_values(with_label(values), f"heat:bins:{bins}").value
    low, high = values.min(), values.max()
    assert found.min() == 0
    assert found.max() == (bins - 1 if high > low else 0)
    width = (high - low) / bins
    slack = 1e-9 * (high - low) + 1e-300
    assert (low + found * width - slack <= values).all()
    assert (values <= low + (found + 1) * width + slack).all()


@given(NUMBERS, st.sampled_from([0.01, 0.1, 0.25, 0.3, 1.0, 7.0]))
def test_rounded_values_are_the_nearest_multiples(values, step):
    found = auxiliary_values(with_label(values), f"heat:round:{step}").value
    multiple = np.round(found / step)
    np.testing.assert_allclose(multiple * step, found, atol=1e-9)
    assert (abs(found - values) <= step / 2 + 1e-9).all()
    assert len(np.unique(found)) == len(np.unique(multiple))  # equal multiples are equal numbers


def test_rounding_to_decimals_gives_the_decimals():
    values = np.array([0.29, 0.5700001, 1.1, -0.004])
    assert auxiliary_values(with_label(values), "heat:round:0.01").value.tolist() == [0.29, 0.57, 1.1, 0.0]


def test_each_component_of_a_vector_has_bins_of_its_own():
    value = np.array([[0, 10], [1, 30], [4, 20]])
    assert auxiliary_values(with_label(value), "heat:bins:2").value.tolist() == [[0, 0], [0, 1], [1, 1]]


def test_terminated_is_known_of_what_was_acted_from_or_reached():
    # 0 -> 1 -> 2 terminated; 3 -> 4 truncated; 5 is never seen.
    data = TransitionDataset([0, 1, 3], [0, 0, 0], [1, 2, 4], terminated=[False, True, False],
                             truncated=[False, False, True], size=6)  # fmt: skip
    values = auxiliary_values(data, "terminated")
    assert values.value[values.known].tolist() == [0, 0, 1, 0, 0]
    assert values.known.tolist() == [True] * 5 + [False]


def test_a_terminated_step_outweighs_that_an_equal_observation_began_an_episode():
    data = TransitionDataset([0, 2], [0, 0], [1, 3], terminated=[True, False])
    begins_like_a_terminal = np.array([0, 1, 1, 3])
    values = auxiliary_values(data, "terminated", begins_like_a_terminal)
    assert values.value.tolist() == [0, 1, 1, 0]
    with pytest.raises(NoWellTrainedModelError, match=r"0\.0 \(transitions 0 and 1\)|1\.0 .*\(transitions 0 and 1\)"):
        auxiliary_values(data, "terminated", np.array([0, 1, 2, 1]))


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """Write a module into the current folder, under a name that no other test has imported."""
    name = f"mine_{tmp_path.name}".replace("-", "_")
    (tmp_path / f"{name}.py").write_text(
        "import numpy as np\n"
        "number = 7\n"
        "def mean(images, labels): return np.asarray(images[:]).reshape(len(images), -1).mean(1)\n"
        "class By:\n    double = staticmethod(lambda images, labels: 2 * labels['heat'])\n"
        "def scalar(images, labels): return 3.0\n"
        "def short(images, labels): return np.zeros(len(images) - 1)\n"
        "def deep(images, labels): return np.zeros((len(images), 2, 2))\n"
        "def words(images, labels): return np.array(['many'] * len(images))\n"
        "def infinite(images, labels): return np.where(np.arange(len(images)) == 1, np.inf, 0)\n"
        "def fails(images, labels): raise KeyError('no such\\nthing')\n"
    )
    (tmp_path / f"{name}_ends.py").write_text("raise SystemExit(0)\n")
    monkeypatch.chdir(tmp_path)
    return name


def seen():
    return TransitionDataset(
        [0, 1], [0, 0], [1, 2], observation=np.arange(6).reshape(3, 2), labels={"heat": np.array([1.0, 2.0, 4.0])}
    )


def test_a_function_of_the_users_is_an_auxiliary_function(mine):
    assert auxiliary_values(seen(), f"{mine}:mean").value.tolist() == [0.5, 2.5, 4.5]
    assert auxiliary_values(seen(), f"{mine}:By.double").value.tolist() == [2, 4, 8]
    both = auxiliary_values(seen(), f"{mine}:mean:round:1+heat:bins:3")
    assert both.value.tolist() == [[0, 0], [2, 1], [4, 2]]
    report = analyse(seen(), auxiliary=f"{mine}:mean")
    assert report.relation.distinguished_pairs_per_level == [3]
    assert report.auxiliary_meaning == f"what {mine}:mean returns for the observation"


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("nothing", "cannot be imported (AttributeError"),
        ("number", "is a int, must be a function"),
        ("scalar", "must return (F,) or (F, k) numbers, returned ()"),
        ("short", "returned 2 rows for 3 observations"),
        ("deep", "must return (F,) or (F, k) numbers, returned (3, 2, 2)"),
        ("words", "must return (F,) or (F, k) numbers"),
        ("infinite", "is not finite for observation 1"),
        ("fails", "raised KeyError: 'no such\\nthing'"),
    ],
)
def test_a_function_that_cannot_be_used_is_refused_in_one_line(mine, function, message):
    with pytest.raises(DatasetError) as caught:
        auxiliary_values(seen(), f"{mine}:{function}")
    assert str(caught.value).startswith(f"auxiliary {mine}:{function}: {message}")
    assert "\n" not in str(caught.value)


def test_a_module_that_is_not_there_or_ends_the_program_is_refused(mine):
    for name, error in ((f"{mine}_ends", "SystemExit: 0"), ("no_such_module_anywhere", "ModuleNotFoundError")):
        with pytest.raises(DatasetError, match=rf"{name}:f: cannot be imported \({error}"):
            auxiliary_values(seen(), f"{name}:f")
    without = dataclasses.replace(seen(), observation=None)
    with pytest.raises(DatasetError, match="needs observations, and this dataset has none"):
        auxiliary_values(without, f"{mine}:mean")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("heat:bins:1", "K of bins:K must be a whole number from 2 to 1000"),
        ("heat:bins:two", "K of bins:K must be"),
        ("heat:bins:", "K of bins:K must be"),
        ("heat:round:0", "STEP of round:STEP must be a positive number"),
        ("heat:round:-1", "STEP of round:STEP must be a positive number"),
        ("heat:round:nan", "STEP of round:STEP must be a positive number"),
        ("heat:round:x", "STEP of round:STEP must be a positive number"),
        ("heat:round:1e-90", "STEP is finer than the digits"),
        ("random:bins:3", "random values have no order"),
        ("cold", "this dataset offers random, constant, heat; or give module:function"),
        ("heat+cold", "auxiliary='cold': this dataset offers"),
        ("cold:bins:3", "auxiliary='cold:bins:3': this dataset offers"),
        ("terminated", "this dataset offers"),
        ("reward:actions", "this dataset offers"),
        ("", "auxiliary='': this dataset offers"),
    ],
)
def test_names_that_mean_nothing_are_refused(name, message):
    with pytest.raises(DatasetError) as caught:
        auxiliary_values(seen(), name)
    assert message in str(caught.value)


AWKWARD = ["a+b", "a,b", "a:b", "a:bins:3", "reward:round:1", "x y", "terminated+", ":"]


@pytest.mark.parametrize("name", AWKWARD)
def test_the_exact_name_of_a_label_is_that_label(name):
    labels = {each: np.full(3, number) for number, each in enumerate([*AWKWARD, "a", "b", "x"])}
    data = TransitionDataset([0, 1], [0, 0], [1, 2], reward=[0.0, 1.0], labels=labels)
    assert auxiliary_values(data, name).value.tolist() == [AWKWARD.index(name)] * 3
    assert split_names(name, data.labels) == [name]
    assert split_names(f"{name}:bins:2", data.labels) == [f"{name}:bins:2"]
    assert [term.base for term in parse_auxiliary(f"{name}:round:0.5", data.labels)] == [name]
    assert [each.name for each in analyse(data, candidates=[name]).comparison.candidates] == [name]


def test_a_label_of_one_column_is_the_label():
    flat, column = np.arange(3), np.arange(3)[:, None]
    for value in (flat, column):
        data = TransitionDataset([0, 1], [0, 0], [1, 2], labels={"heat": value})
        assert auxiliary_values(data, "heat").value.shape == (3,)


def test_every_offered_name_is_computed_and_described():
    data = dataclasses.replace(
        seen(), source=[0, 1], reward=[0.5, 1.5], terminated=[False, True], auxiliary=[3, 4], metadata={}
    )
    assert offered(data) == ["auxiliary", "reward", "reward:actions", "terminated", "random", "constant", "heat"]
    for name in offered(data):
        assert auxiliary_values(data, name).known.any()
        assert describe_auxiliary(data, name)


def test_every_function_is_the_same_once_its_values_are_stored_under_its_name():
    """As a run stores the p that it was trained with."""
    data = dataclasses.replace(
        seen(), source=[0, 0, 1, 1], successor=[1, 2, 2, 0], action=[0, 1, 0, 1], reward=[0.5, 1.5, 1.5, 0.5],
        terminated=[False] * 4, metadata={},
    )  # fmt: skip
    for name in [*offered(data), "reward:actions+heat"]:
        values = auxiliary_values(data, name)
        stored = with_auxiliary(data, values, name)
        for asked in (name, "auxiliary"):
            again = auxiliary_values(stored, asked)
            np.testing.assert_array_equal(again.known, values.known, err_msg=name)
            np.testing.assert_array_equal(again.value[again.known], values.value[values.known], err_msg=name)


def test_p_is_described_with_what_was_made_of_it():
    data = dataclasses.replace(seen(), reward=[-1.0, 1.0])
    assert describe_auxiliary(data, "reward") == "the reward of the step that led to the observation"
    assert describe_auxiliary(data, "reward:round:0.01").endswith(", rounded to multiples of 0.01")
    assert describe_auxiliary(data, "reward:bins:4+heat") == (
        "the reward of the step that led to the observation, as the number of one of 4 equal bins of the range in this "
        "data: [-1, -0.5), [-0.5, 0), [0, 0.5), [0.5, 1]; the label heat"
    )
    assert "in steps of 0.02" in describe_auxiliary(data, "reward:bins:100")
    assert describe_auxiliary(data, None) == "the values stored in the data"


def test_coarser_stored_values_are_those_of_the_function():
    data = dataclasses.replace(seen(), reward=[0.11, 0.29])
    stored = with_auxiliary(data, auxiliary_values(data, "reward"), "reward")
    for name in ("reward:round:0.1", "auxiliary:round:0.1"):
        values = auxiliary_values(stored, name)
        assert values.value[values.known].tolist() == [0.1, 0.3]
    again = with_auxiliary(data, auxiliary_values(data, "reward:bins:2"), "reward:bins:2")
    assert auxiliary_values(again, "reward:bins:2").value.tolist() == stored_values(again).value.tolist()


def test_bins_of_other_data_hold_here_too():
    values = np.array([0.0, 1.0, 5.0, 9.0])
    bins = auxiliary_bins(with_label(values), "heat:bins:2+heat:bins:3+heat")
    assert set(bins) == {"heat:bins:2", "heat:bins:3"}
    other = with_label(np.array([-7.0, 4.0, 5.0, 90.0]))
    own = auxiliary_values(other, "heat:bins:2").value
    assert own.tolist() == [0, 0, 0, 1]
    assert auxiliary_values(other, "heat:bins:2", bins={"heat:bins:2": Bins(2, (0.0,), (9.0,))}).value.tolist() == [
        0, 0, 1, 1,
    ]  # fmt: skip
    with pytest.raises(DatasetError, match="has 1 components here, and bins of 2 are given; give this"):
        auxiliary_values(other, "heat:bins:2", bins={"heat:bins:2": Bins(2, (0.0, 0.0), (9.0, 1.0))})


def test_observations_that_occur_in_no_transition_have_no_say_in_bins():
    data = TransitionDataset([0, 1], [0, 0], [1, 2], labels={"heat": np.array([2.0, 3.0, 4.0, 100.0])})
    assert auxiliary_bins(data, "heat:bins:2") == {"heat:bins:2": Bins(2, (2.0,), (4.0,))}
