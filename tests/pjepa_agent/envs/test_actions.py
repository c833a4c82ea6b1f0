"""Codes and values of the actions of Gymnasium's spaces."""

import json

import numpy as np
import pytest
from bisim_theory.data.action_codes import ActionCodes
from gymnasium import spaces
from hypothesis import given
from hypothesis import strategies as st
from pjepa_agent.config.fields import ConfigError
from pjepa_agent.envs.actions import make_actions
from support.toy_worlds import ACTIONS, domain


def drawn(space, count=200, seed=0):
    space.seed(seed)
    return np.stack([space.sample() for _ in range(count)])


def edges_in(metadata):
    """The edges (A, K + 1) of bins, from what the metadata say of the codes."""
    bins = metadata["action_codes"]["bins"]
    return np.linspace(bins["low"], bins["high"], bins["count"] + 1).T


@given(st.integers(2, 9), st.integers(-5, 5))
def test_discrete_actions_are_their_own_codes_and_one_hot_from_the_smallest(count, start):
    actions = make_actions(spaces.Discrete(count, start=start), "auto", "world")
    taken = np.arange(start, start + count)
    np.testing.assert_array_equal(actions.codes(taken), taken)
    np.testing.assert_array_equal(actions.values(taken), np.eye(count))
    assert (actions.dim, actions.low, actions.high) == (count, None, None)


@given(st.lists(st.integers(1, 4), min_size=2, max_size=4).filter(lambda counts: max(counts) > 1), st.integers(0, 9))
def test_several_choices_have_a_code_for_each_combination_and_one_hot_parts(counts, start):
    space = spaces.MultiDiscrete(counts, start=[start] * len(counts))
    actions = make_actions(space, "auto", "world")
    every = np.stack(np.meshgrid(*map(np.arange, counts), indexing="ij"), -1).reshape(-1, len(counts)) + start
    assert actions.codes(every).tolist() == list(range(len(every)))
    codes = ActionCodes.of(actions.metadata(every))
    assert [codes.meaning(code) for code in range(len(every))] == [str(tuple(row)) for row in every.tolist()]
    parts = np.split(actions.values(every), np.cumsum(counts)[:-1], axis=1)
    for part, column in zip(parts, every.T, strict=True):
        np.testing.assert_array_equal(part.argmax(1) + start, column)
        np.testing.assert_array_equal(part.sum(1), 1)


def test_bits_are_their_own_values():
    actions = make_actions(spaces.MultiBinary([2, 2]), "auto", "world")
    taken = np.array([[[0, 0], [0, 1]], [[1, 0], [0, 0]], [[1, 1], [1, 1]]], np.int8)
    assert actions.codes(taken).tolist() == [1, 8, 15]
    np.testing.assert_array_equal(actions.values(taken), taken.reshape(3, 4))
    assert (actions.dim, actions.low, actions.high) == (4, (0.0,) * 4, (1.0,) * 4)


@given(st.integers(2, 1000), st.integers(0, 99))
def test_bins_lie_between_the_bounds_of_the_space(count, seed):
    space = spaces.Box(np.float32([-1, 0]), np.float32([1, 3]))
    actions = make_actions(space, f"bins:{count}", "world")
    taken = drawn(space, 50, seed)
    edges = edges_in(actions.metadata(taken))
    assert edges.shape == (2, count + 1)
    np.testing.assert_array_equal(edges[:, [0, -1]], [[-1, 1], [0, 3]])
    first, second = np.divmod(actions.codes(taken), count)
    for column, digit, edge in zip(taken.T.astype(np.float64), (first, second), edges, strict=True):
        assert (edge[digit] <= column + 1e-9).all()
        assert (column <= edge[digit + 1] + 1e-9).all()
    np.testing.assert_array_equal(actions.codes(taken[:1]), actions.codes(taken)[:1])
    assert (actions.low, actions.high) == ((-1.0, 0.0), (1.0, 3.0))


def test_signs_are_digits_the_first_of_which_counts_most():
    actions = make_actions(spaces.Box(-1, 1, (2,)), "sign", "world")
    taken = np.float32([[-0.5, -0.5], [-0.5, 0], [0.5, -0.5], [0.5, 0.5]])
    assert actions.codes(taken).tolist() == [0, 1, 2, 3]
    np.testing.assert_array_equal(actions.values(taken), taken)


@pytest.mark.parametrize(("kind", "abstraction"), [("number", "sign"), ("positive", "bins:3"), ("box", "bins:3")])
def test_auto_is_the_sign_of_one_number_that_can_have_both(kind, abstraction):
    assert (
        make_actions(ACTIONS[kind], "auto", "world").metadata(drawn(ACTIONS[kind]))["action_abstraction"] == abstraction
    )


def test_numbers_without_bounds_are_not_scaled_and_that_is_said():
    data = domain(arguments={"actions": "unbounded"}).collect(0)
    assert domain(arguments={"actions": "unbounded"}).spec.action_low is None
    assert "not scaled; components [0, 1] have no bounds" in data.metadata["action_meaning"]
    edges = edges_in(data.metadata)
    np.testing.assert_allclose(edges[:, 0], data.action_value.min(0))
    np.testing.assert_allclose(edges[:, -1], data.action_value.max(0))


@pytest.mark.parametrize("kind", ["discrete", "several", "bits", "box", "number", "positive", "unbounded"])
def test_every_kind_of_action_is_collected(kind):
    made = domain(arguments={"actions": kind}, transitions=400)
    data = made.collect(0)
    assert data.action_value.shape == (400, made.spec.action_dim)
    assert data.action_value.dtype == np.float32
    assert len(np.unique(data.action)) > 1


@pytest.mark.parametrize(
    ("kind", "abstraction", "said"),
    [
        ("one", "auto", "has a single action"),
        ("only one of several", "auto", "has a single action"),
        ("fixed", "auto", "has a single action"),
        ("words", "auto", "has actions of a Text space; name a module:function"),
        ("too many", "auto", "actions, too many for an integer code"),
        ("wide", "bins:3", "50 numbers of 3 values are too many for an integer code"),
        ("discrete", "sign", "collection.actions='sign': .* has discrete actions; leave it auto"),
        ("box", "bins:1", "collection.actions='bins:1': must be auto, sign, or bins:K with K from 2 to 1000"),
        ("box", "3", "collection.actions='3': must be auto"),
    ],
)
def test_actions_that_cannot_be_used_are_refused_in_one_line(kind, abstraction, said):
    made = domain(arguments={"actions": kind}, actions=abstraction)
    with pytest.raises(ConfigError, match=said) as caught:
        _ = made.spec
    assert "\n" not in str(caught.value)
    with pytest.raises(ConfigError, match=said):
        made.collect(0)


@pytest.mark.parametrize(("high", "said"), [(2.0, "between the bounds of the action space"), (np.inf, "in this data")])
def test_of_what_the_bins_are_is_said(high, said):
    space = spaces.Box(np.float32([-1, -1]), np.float32([2, high]), (2,), np.float32)
    metadata = make_actions(space, "bins:3", "world").metadata(np.array([[0, 0], [1, 1.5]], np.float32))
    codes = ActionCodes.of(json.loads(json.dumps(metadata)))
    assert said in str(codes)
    assert codes.bins.low[0] == -1


def test_a_sign_that_no_action_changes_is_refused():
    from bisim_theory import DatasetError

    with pytest.raises(DatasetError, match=r"actions have the code 1, .* or collection.actions=bins:K"):
        domain(arguments={"actions": "positive"}, actions="sign").collect(0)


@pytest.mark.parametrize("name", ["discrete", "box", "number", "positive", "unbounded", "several", "bits"])
def test_values_are_turned_back_into_the_actions(name):
    space = ACTIONS[name]
    taken = drawn(space)
    actions = make_actions(space, "auto", "world")
    again = actions.actions(actions.values(taken)).reshape(taken.shape).astype(space.dtype)
    np.testing.assert_array_equal(again, taken)
    assert all(space.contains(each if each.ndim else space.dtype.type(each)) for each in again)


def test_the_codes_of_numbers_have_values_that_stand_for_them():
    for abstraction, space in (("sign", ACTIONS["number"]), ("bins:5", ACTIONS["box"])):
        actions = make_actions(space, abstraction, "world")
        parts = actions.centres(actions.values(drawn(space)))
        rows = np.stack(np.meshgrid(*parts, indexing="ij"), -1).reshape(-1, len(parts))
        np.testing.assert_array_equal(actions.codes(rows), np.arange(len(rows)))
