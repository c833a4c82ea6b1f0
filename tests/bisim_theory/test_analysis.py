import numpy as np
import pytest
from bisim_theory import (
    Checked,
    DatasetError,
    Impossible,
    RelationOnly,
    Report,
    Representation,
    TransitionDataset,
    analyse,
    to_json,
)
from bisim_theory._aliases import OUTCOME_FIELDS, OUTCOME_NAMES


def dataset(p=(0, 0, 1)):
    return TransitionDataset([0, 1, 2], [0, 0, 0], [1, 2, 2], p)


def model(data):
    embedding = np.arange(6.0).reshape(3, 2)
    return Representation(embedding, embedding[data.successor], data.p.astype(float))


def outcomes():
    contradictory = TransitionDataset([0, 0], [0, 1], [1, 1], [0, 1])
    return analyse(contradictory), analyse(dataset()), analyse(dataset(), model(dataset()))


def test_an_analysis_has_one_of_three_outcomes():
    assert [type(each) for each in outcomes()] == [Impossible, RelationOnly, Checked]
    assert all(isinstance(each, Report) for each in outcomes())
    assert [each.verdict for each in outcomes()] == ["no-well-trained-model", "relation-only", "holds"]


def test_a_contradiction_names_the_pair_and_keeps_the_model():
    data = TransitionDataset([0, 0, 1, 2], [0, 0, 0, 0], [1, 2, 1, 2], [0, 0, 0, 1])
    report = analyse(data, model(data), folding=True)
    assert report.contradiction.pair == (1, 2)
    assert report.representation is not None


def test_every_outcome_has_the_same_names_in_json():
    first, *others = [list(to_json(each)) for each in outcomes()]
    assert all(each == first for each in others)


@pytest.mark.parametrize("name", OUTCOME_FIELDS)
def test_a_field_of_another_outcome_is_empty_as_before_and_warns(name):
    for report in outcomes():
        if not hasattr(type(report), name) and name not in vars(report):
            with pytest.warns(DeprecationWarning, match=f"{type(report).__name__}.{name} is now"):
                assert getattr(report, name) == OUTCOME_FIELDS[name]


@pytest.mark.parametrize(("old", "new"), OUTCOME_NAMES.items())
def test_a_field_with_a_new_name_is_found_and_warns(old, new):
    assert any(new in vars(report) for report in outcomes())
    for report in outcomes():
        with pytest.warns(DeprecationWarning, match=f"{type(report).__name__}.{old} is now .*{new}"):
            assert getattr(report, old) is vars(report).get(new)


def test_other_names_are_no_attributes():
    for report in outcomes():
        with pytest.raises(AttributeError, match="nothing"):
            report.nothing  # noqa: B018 - asking is the test


def test_the_old_name_of_the_progress_bar_warns():
    from contextlib import nullcontext

    titles = []
    with pytest.warns(DeprecationWarning, match=r"analyse\(.*bar\) is now analyse\(.*progress_bar\)"):
        analyse(dataset(), bar=lambda title: titles.append(title) or nullcontext(lambda done, whole: None))
    assert titles == ["reading observations", "folding", "pairs"]


def test_two_values_of_a_chosen_p_are_a_finding_with_a_model_too():
    data = TransitionDataset([0, 1], [0, 0], [2, 2], reward=[0.0, 1.0])
    embedding = np.eye(3)
    given = Representation(embedding, embedding[data.successor], np.zeros(2))
    report = analyse(data, given, auxiliary="reward")
    assert report.verdict == "no-well-trained-model"
    assert report.representation is given
    with pytest.raises(DatasetError, match=r"embedding: is \(2, 3\), the transitions ask for \(3,\)"):
        analyse(data, Representation(embedding[:2], embedding[:2], np.zeros(2)), auxiliary="reward")


def test_equal_content_with_different_embeddings_is_bad_input():
    images = np.zeros((4, 2, 2, 3), np.uint8)
    images[:, 0, 0, 0] = [0, 1, 0, 2]
    data = TransitionDataset([0, 1, 2], [0, 0, 1], [1, 3, 3], [0, 1, 0], observation=images)
    embedding = np.array([[0.0, 1], [1, 1], [0.5, 1], [2, 1]])
    given = Representation(embedding, embedding[data.successor], np.array([0.0, 1, 0]))
    with pytest.raises(DatasetError, match=r"observations 0 and 2 are equal and have embeddings 0\.5 apart"):
        analyse(data, given)
    assert analyse(data, given, identity="occurrence").verdict in ("holds", "hypothesis-not-met")
