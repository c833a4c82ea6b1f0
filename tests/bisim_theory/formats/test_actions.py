import numpy as np
import pytest
from bisim_theory import DatasetError
from bisim_theory.formats.actions import encode_actions
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

SHAPES = hnp.array_shapes(min_dims=2, max_dims=2, max_side=6)
VALUES = hnp.arrays(
    st.sampled_from([np.float32, np.float64]), SHAPES, elements=st.floats(-(2.0**99), 2.0**99, width=32)
)


def digits(codes, base, dimensions):
    """Compute (N, A) digits of numbers, the first most significant."""
    return np.stack([codes // base ** (dimensions - 1 - d) % base for d in range(dimensions)], 1)


@given(VALUES)
def test_sign_is_one_where_a_value_is_not_negative(values):
    codes, kept, _ = encode_actions(values, "sign")
    np.testing.assert_array_equal(kept, values)
    np.testing.assert_array_equal(digits(codes, 2, values.shape[1]), values >= 0)


@given(VALUES, st.integers(2, 1000))
def test_bins_are_ordered_of_equal_width_and_reach_from_the_least_to_the_largest(values, bins):
    codes, _, _ = encode_actions(values, f"bins:{bins}")
    for found, column in zip(digits(codes, bins, values.shape[1]).T, values.T.astype(float), strict=True):
        order = np.argsort(column)
        assert (np.diff(found[order]) >= 0).all()
        assert found.min() == 0
        if column.min() == column.max():
            assert (found == 0).all()
            continue
        assert found.max() == bins - 1
        edges = np.linspace(column.min(), column.max(), bins + 1)
        slack = 1e-9 * (column.max() - column.min())
        assert (edges[found] - slack <= column).all()
        assert (column <= edges[found + 1] + slack).all()


@given(hnp.arrays(np.int8, SHAPES))
def test_rows_of_integers_have_one_code_iff_they_are_equal(rows):
    codes, kept, _ = encode_actions(rows)
    assert kept is None
    np.testing.assert_array_equal(codes[:, None] == codes, (rows[:, None] == rows).all(2))


def test_discrete_actions_are_taken_as_they_are():
    assert encode_actions(np.array([3, 0, 7]))[0].tolist() == [3, 0, 7]
    assert encode_actions(np.array([[3], [0]], np.uint8))[0].tolist() == [3, 0]
    assert encode_actions(np.eye(4, dtype=bool)[[2, 0, 3]])[0].tolist() == [2, 0, 3]
    assert encode_actions(np.array([[1, 2], [0, 5], [1, 2]]))[0].tolist() == [1, 0, 1]


@pytest.mark.parametrize(
    ("values", "abstraction", "message"),
    [
        (np.zeros((2, 1)), None, "is continuous"),
        (np.zeros((2, 1), int), "sign", "is discrete"),
        (np.zeros((2, 1)), "bins:1", "K must be 2 to 1000"),
        (np.zeros((2, 1)), "bins:1001", "K must be 2 to 1000"),
        (np.zeros((2, 1)), "bins:x", "bins:x: is unknown"),
        (np.zeros((2, 1)), "bins:²", "is unknown"),
        (np.zeros((2, 1)), "bins", "is unknown"),
        (np.zeros((2, 1)), "", "is unknown"),
        (np.zeros((2, 63)), "sign", "63 dimensions of 2 values are too many"),
        (np.zeros((2, 7)), "bins:1000", "7 dimensions of 1000 values are too many"),
        (np.array([[0.0], [np.nan]]), "sign", "row 1 is not finite"),
        (np.zeros((2, 0)), "sign", "must be"),
        (np.zeros((2, 1, 1)), "sign", "must be"),
        (np.array([1j]), "sign", "must be"),
        (np.array([2**63], np.uint64), None, "does not fit"),
    ],
)
def test_what_cannot_be_encoded_is_refused(values, abstraction, message):
    with pytest.raises(DatasetError, match=message):
        encode_actions(values, abstraction)


def test_as_many_codes_as_fit_are_all_different():
    values = np.eye(62) * 2 - 1
    assert len(np.unique(encode_actions(values, "sign")[0])) == 62
    assert encode_actions(-np.ones((1, 62)), "sign")[0].tolist() == [0]
