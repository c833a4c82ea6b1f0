import dataclasses

import numpy as np
import pytest
from bisim_theory import analyse, empirical_bisimulation
from bisim_theory.data.auxiliary import with_auxiliary
from bisim_theory.data.auxiliary_functions import auxiliary_values
from pjepa_agent.collection.dataset import collect_dataset
from pjepa_agent.config.schema import CollectionConfig
from pjepa_agent.evaluation import before_training
from pjepa_agent.evaluation.before_training import describe_counting, describe_relation
from pjepa_agent.run import train_run
from pjepa_agent.runs.directory import RunDirectory
from support.corridor import walks
from support.trainings import tiny


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
    levels = relation.distinguished_pairs_per_level
    assert f"at {len(levels)} levels ({', '.join(map(str, levels))})" in said


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
    assert "old apart by occurrence, p protects " in said


def test_of_the_counting_world_the_first_episodes_are_described(monkeypatch):
    config = tiny()
    data = collect_dataset(config)
    said = describe_counting(data, online=False)
    assert said.startswith("200 transitions to train on. ")
    pairs = empirical_bisimulation(data).distinguished_pairs
    assert f"p protects {pairs:,} of " in said
    monkeypatch.setattr(before_training, "MOST_TRANSITIONS", 90)
    part = describe_counting(data, online=True)
    assert part.startswith(
        "200 transitions before the first update, by the policy that goes on collecting. In the first "
    )
    assert "in the first" not in part  # said once


def test_a_black_image_with_two_successors_is_no_reason_to_stack():
    data = collect_dataset(tiny())
    frames = np.asarray(data.observation)
    zero = np.isin(data.source, np.flatnonzero(data.labels["count"] == 0))
    assert len(np.unique(data.action[zero])) < zero.sum()  # something repeats
    assert not frames[data.source[zero]].any()
    said = describe_counting(data, online=False)
    assert "Not deterministic: " in said
    assert "an image without objects is black" in said
    assert "stack" not in said


@pytest.mark.parametrize("online", [False, True])
def test_a_run_of_the_counting_world_says_it_while_it_begins(tmp_path, caplog, online):
    config = dataclasses.replace(
        tiny(updates=1), collection=CollectionConfig(transitions=200, online=online, initial_transitions=100)
    )
    run = RunDirectory.create(tmp_path / "run", config)
    with caplog.at_level("INFO", "pjepa_agent"):
        train_run(run, config, "cpu")
    (said,) = [message for message in caplog.messages if "p protects " in message]
    assert ("by the policy that goes on collecting" in said) == online
