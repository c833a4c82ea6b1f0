"""The same transitions give the same answers whatever format they were written in."""

import numpy as np
import pytest
from bisim_theory import analyse, read_transitions, to_json, to_text
from support.contract import WRITERS, as_dataset, corridor, without_last_steps

ANSWERS = [
    "sources",
    "transitions",
    "actions",
    "conflicts",
    "signature_classes",
    "bisimulation_classes",
    "distinguished_pairs_per_level",
    "bisimilar_pairs",
    "certified_share",
    "codes_forced",
    "codes_constructed",
    "look_alike_pairs",
]


@pytest.fixture(params=WRITERS)
def writer(request):
    return WRITERS[request.param]


def written(writer, folder, recorded, **options):
    """Return the dataset as it was read, and as it has to be."""
    path = writer.write(folder / f"d{writer.suffix}", recorded)
    return read_transitions(path, **options), as_dataset(
        without_last_steps(recorded) if writer.drops_last else recorded
    )


def count_of(data):
    """The name of the label that holds the cell, or None."""
    return next((name for name in data.labels if name.split("/")[-1] == "count"), None)


def answers(data, expected, **options):
    """Return two dictionaries of answers, without those that only one of the datasets can give."""
    both = []
    for each in (data, expected):
        found = to_json(analyse(each, auxiliary="reward", label=count_of(each), **options))
        both.append({name: found[name] for name in ANSWERS})
    unknown = {"certified_share"} if count_of(data) is None else set()
    unknown |= {"look_alike_pairs"} if data.lossy else set()
    return [{name: value for name, value in found.items() if name not in unknown} for found in both]


def steps(data, writer):
    """Each step as (cell, action, next cell, reward, ends), in order."""
    cell = np.asarray(data.observation)[:, 0] if count_of(data) is None else data.labels[count_of(data)]
    ends = [getattr(data, name) for name in ("terminated", "truncated") if name not in writer.missing]
    return np.stack([cell[data.source], data.action, cell[data.successor], data.reward, *ends], 1)


def number(episodes):
    """Episodes numbered 0, 1, ..., of those that have a step."""
    return np.unique(episodes, return_inverse=True)[1].reshape(-1)


def test_steps_are_those_that_were_recorded(writer, tmp_path):
    data, expected = written(writer, tmp_path, corridor())
    np.testing.assert_array_equal(steps(data, writer), steps(expected, writer))
    np.testing.assert_array_equal(number(data.episode), number(expected.episode))
    if writer.observes:
        for ids in ("source", "successor"):
            rows = [np.asarray(each.observation)[getattr(each, ids)] for each in (data, expected)]
            np.testing.assert_array_equal(*rows)


def test_answers_are_the_same_by_occurrence(writer, tmp_path):
    found, wanted = answers(*written(writer, tmp_path, corridor()), identity="occurrence")
    assert found == wanted
    assert found["conflicts"] == 0


def test_answers_are_the_same_by_content(writer, tmp_path):
    data, expected = written(writer, tmp_path, corridor())
    if data.lossy:
        pytest.skip("runs for formats that keep images as they are; of JPEG, contents are not compared")
    found, wanted = answers(data, expected, identity="content")
    assert found == wanted


def test_answers_are_the_same_with_terminals_that_absorb(writer, tmp_path):
    if "terminated" in writer.missing:
        pytest.skip("runs for formats that say which episodes terminated")
    found, wanted = answers(*written(writer, tmp_path, corridor()), identity="occurrence", terminal="absorb")
    assert found == wanted


def test_continuous_actions_are_coded_alike(writer, tmp_path):
    if not writer.continuous:
        pytest.skip("runs for formats that store continuous actions; this one stores their codes")
    data, expected = written(writer, tmp_path, corridor(continuous=True), actions="sign")
    np.testing.assert_array_equal(steps(data, writer), steps(expected, writer))
    recorded = corridor(continuous=True)
    recorded = without_last_steps(recorded) if writer.drops_last else recorded
    np.testing.assert_allclose(data.action_value, np.concatenate([each["action"] for each in recorded]), rtol=1e-6)


def test_a_step_whose_successor_is_not_stored_is_counted_and_said(writer, tmp_path):
    recorded = corridor()
    data, _ = written(writer, tmp_path, recorded)
    count = writer.unread(recorded)
    assert data.metadata.get("steps_without_successor", 0) == count
    line = f"Left out: {count} steps whose successor is not stored"
    assert (line in to_text(analyse(data, auxiliary="reward", identity="occurrence")).splitlines()) == (count > 0)


def test_the_convention_is_said(writer, tmp_path):
    data, _ = written(writer, tmp_path, corridor())
    if writer is WRITERS["npz"]:
        assert "convention" not in data.metadata  # its schema names every successor and reward
        return
    assert f"Read as: {data.metadata['convention']}" in to_text(
        analyse(data, auxiliary="reward", identity="occurrence")
    )
    assert "reward" in data.metadata["convention"]
