import dataclasses

import numpy as np
import pytest
from bisim_theory import analyse
from bisim_theory.data.auxiliary import with_auxiliary
from bisim_theory.data.auxiliary_functions import auxiliary_values
from pjepa_agent.evaluation import before_training
from pjepa_agent.evaluation.before_training import describe_relation
from support.corridor import walks


def with_p(data, name="terminated"):
    return with_auxiliary(data, auxiliary_values(data, name), name)


def test_the_paragraph_says_what_the_check_says():
    data = with_p(walks())
    said, report = describe_relation(data), analyse(data)
    relation, content = report.relation, report.content
    assert f"tested on {content.repeated} (observation, action) pairs that repeat." in said
    pairs = len(relation.observations) * (len(relation.observations) - 1) // 2
    assert f"p protects {relation.distinguished_pairs} of {pairs} pairs of 5 observations, at " in said
    assert f"needs exactly {report.embeddings.at_least} embeddings." in said


def test_what_protects_nothing_is_said():
    assert "p is constant on 5 observations: it protects nothing." in describe_relation(with_p(walks(), "constant"))


def test_determinism_that_no_pair_tests_is_not_claimed():
    data = walks()
    data = dataclasses.replace(data, observation=np.arange(data.frames, dtype=np.float32)[:, None])
    assert "No observation and action repeat, so determinism was not tested." in describe_relation(with_p(data))


def test_an_observation_that_is_no_state_is_said():
    data = walks()
    hidden = np.where(data.labels["place"] == 2, 1, data.labels["place"])
    data = dataclasses.replace(data, observation=np.eye(5, dtype=np.float32)[hidden])
    assert "Not deterministic: " in describe_relation(with_p(data))
    assert "no Markov state; stack several" in describe_relation(with_p(data))


def test_two_values_of_p_on_one_observation_are_said():
    data = walks()
    data = dataclasses.replace(data, labels={**data.labels, "number": np.arange(data.frames)})
    said = describe_relation(with_p(data, "number"))
    assert "no well-trained model exists" in said


@pytest.mark.parametrize("transitions", [40, 10_000])
def test_long_data_told_apart_by_occurrence_is_related_in_part(monkeypatch, transitions):
    monkeypatch.setattr(before_training, "MOST_TRANSITIONS", transitions)
    data = walks()
    noise = np.random.default_rng(0).normal(size=(data.frames, 3))
    hidden = np.where(data.labels["place"] == 2, 1, data.labels["place"])
    noise[:60] = np.eye(5)[hidden[:60], :3]
    said = describe_relation(with_p(dataclasses.replace(data, observation=noise)))
    assert ("In the first " in said) == (transitions == 40)
