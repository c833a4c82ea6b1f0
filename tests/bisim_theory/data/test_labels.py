"""Which labels serve as ground truth, and what they count as together."""

import numpy as np
import pytest
from bisim_theory import DatasetError, TransitionDataset, analyse
from bisim_theory.data.auxiliary_functions import auxiliary_values
from bisim_theory.data.labels import default_label, label_names, label_values


def dataset(**labels):
    return TransitionDataset(
        source=[0, 1, 2, 3], action=[0] * 4, successor=[1, 2, 3, 3], auxiliary=[0, 0, 0, 1], labels=labels
    )


@pytest.mark.parametrize("shape", [(4,), (4, 1)])
def test_a_label_of_one_column_is_a_label(shape):
    report = analyse(dataset(room=np.array([0, 0, 1, 1]).reshape(shape)))
    assert report.label == "room"
    assert report.certified_share == 1.0


def test_without_a_name_count_is_taken_or_else_the_only_whole_numbers():
    a, b = np.arange(4), np.arange(4) // 2
    assert default_label(dataset(count=a, room=b)) == "count"
    assert default_label(dataset(room=b, heat=b / 2)) == "room"
    assert default_label(dataset(room=b, seat=a)) is None


def test_numbers_of_steps_and_environments_are_no_ground_truth_unless_asked_for():
    steps = np.arange(4)
    assert default_label(dataset(step_idx=steps)) is None
    assert label_names(dataset(step_idx=steps), "step_idx") == ["step_idx"]
    assert default_label(dataset(step_idx=steps, id=steps, lives=steps // 2)) == "lives"


def test_several_labels_differ_where_any_of_them_does():
    data = dataset(room=np.array([0, 0, 1, 1]), seat=np.array([0, 1, 0, 0]), place=np.array([[0, 0]] * 3 + [[0, 1]]))
    for joined in ("room,seat", "room+seat"):
        values = label_values(data, joined)
        assert [[a == b for b in values] for a in values] == [
            [True, False, False, False], [False, True, False, False], [False, False, True, True],
            [False, False, True, True],
        ]  # fmt: skip
    assert len(np.unique(label_values(data, "place"))) == 2
    report = analyse(data, label="room,seat")
    assert report.label == "room,seat"
    assert report.label_of(1) == "room 0, seat 1"
    assert analyse(data).label is None


def test_an_exact_name_is_that_label_whatever_characters_it_has():
    data = dataset(**{"a,b": np.arange(4), "a+b": np.arange(4) // 2, "a": np.zeros(4, int), "b": np.zeros(4, int)})
    assert label_names(data, "a,b") == ["a,b"]
    assert label_names(data, "a+b") == ["a+b"]
    np.testing.assert_array_equal(auxiliary_values(data, "a+b").value, np.arange(4) // 2)


def test_a_label_that_is_not_there_is_named_with_those_that_are():
    with pytest.raises(DatasetError, match=r"--label room,seat: this dataset has no label 'seat'; it has room"):
        analyse(dataset(room=np.arange(4)), label="room,seat")


def test_masked_values_are_refused():
    masked = np.ma.masked_equal([0, 0, -999, 1], -999)
    with pytest.raises(DatasetError, match=r"auxiliary: is masked in places"):
        TransitionDataset(source=[0, 1, 2, 3], action=[1] * 4, successor=[1, 2, 3, 3], auxiliary=masked)
    with pytest.raises(DatasetError, match=r"room: is masked in places"):
        dataset(room=masked)
    assert len(dataset(room=np.ma.array(np.arange(4))).labels["room"]) == 4  # nothing is masked
