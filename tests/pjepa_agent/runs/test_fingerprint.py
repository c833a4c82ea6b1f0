"""Fingerprints of p: equal for one function, other for another, on the same observations."""

import dataclasses
import json

import numpy as np
import pytest
from bisim_theory import TransitionDataset
from hypothesis import given
from hypothesis import strategies as st
from pjepa_agent.runs.fingerprint import fingerprint, is_other_function

RNG = np.random.default_rng(0)
DATA = TransitionDataset([0], [0], [1], observation=RNG.integers(256, size=(200, 4, 4, 3), dtype=np.uint8))


@given(
    columns=st.integers(0, 5),
    row=st.integers(0, 199),
    change=st.floats(0.1, 1e3),
    scale=st.floats(1e-3, 1e4),
    sign=st.sampled_from([-1, 1]),
)
def test_a_change_of_one_value_is_seen_and_rounding_is_not(columns, row, change, scale, sign):
    values = scale * np.random.default_rng(1).normal(size=(200, columns) if columns else 200)
    before = json.loads(json.dumps(fingerprint(DATA, values)))
    assert not is_other_function(before, fingerprint(DATA, values.astype(np.float32)))
    other = values.copy()
    other[row] += sign * change * scale
    assert is_other_function(before, fingerprint(DATA, other))


def test_rows_and_columns_that_change_places_are_seen():
    values = RNG.normal(size=(200, 3))
    before = fingerprint(DATA, values)
    for other in (values[::-1], values[:, ::-1], -values, values + 1, np.zeros_like(values)):
        assert is_other_function(before, fingerprint(DATA, np.ascontiguousarray(other)))


@pytest.mark.parametrize("recorded", [None, 3, {}, {"observations": "x"}, {"observations": "same", "scale": "a"}])
def test_what_cannot_be_compared_is_not_held_against_the_function(recorded):
    now = fingerprint(DATA, np.ones(200))
    if isinstance(recorded, dict) and recorded.get("observations") == "same":
        recorded = recorded | {"observations": now["observations"], "values": [1]}
    assert not is_other_function(recorded, now)
    for changed in ({"observation": 255 - DATA.observation}, {"labels": {"count": np.ones(200)}}):
        assert not is_other_function(now, fingerprint(dataclasses.replace(DATA, **changed), np.zeros(200)))
