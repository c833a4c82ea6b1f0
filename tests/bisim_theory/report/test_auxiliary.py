"""What a report says of p: in words, with numbers, and what to do where it is none or all too fine."""

import functools
import json

import numpy as np
import pytest
from bisim_theory import TransitionDataset, analyse, auxiliary_values, to_json, to_text, write_transitions
from bisim_theory.cli import main
from bisim_theory.report.json import NAMES
from support.commands import run_command
from support.reports import chains, read_page

run = functools.partial(run_command, main)


def walk(reward, **fields):
    """Build one episode with the given rewards."""
    number = np.arange(len(reward))
    return TransitionDataset(number, number % 2, number + 1, reward=np.asarray(reward, float), **fields)


def test_p_is_said_in_words_and_counted():
    report = analyse(walk([0, 0, 1, 2]), auxiliary="reward")
    said = "p: reward, the reward of the step that led to the observation; 3 different values, compared exactly, known"
    assert f"{said} at 4 of 5 observations" in to_text(report)
    found = to_json(report)
    assert found["auxiliary_meaning"] == "the reward of the step that led to the observation"
    assert (found["auxiliary_values"], found["auxiliary_known"]) == (3, 4)
    page = read_page(report).text
    assert "p reward, the reward of the step that led to the observation" in page
    assert "Different values of p, compared exactly 3 " in page
    assert "Observations of known p 4 of 5" in page


def test_a_stored_p_is_said_to_be_stored():
    assert "p: as stored, the values stored in the data; 2 different values" in to_text(analyse(chains()))


def test_every_json_name_is_documented(request):
    readme = (request.config.rootpath / "packages" / "bisim-theory" / "README.md").read_text()
    missing = [name for name in NAMES if f"`{name}`" not in readme]
    assert missing == []


def test_values_that_are_all_different_are_warned_of_with_what_makes_them_coarser():
    rng = np.random.default_rng(0)
    data = walk(rng.normal(size=50), labels={"place": np.arange(51) // 5})
    said = "nearly every value is its own (50 at 50 observations), so p alone tells nearly all apart; coarser: "
    report = analyse(data, auxiliary="reward")
    assert f"{said}--auxiliary reward:bins:K or reward:round:STEP" in to_text(report)
    assert said in read_page(report).text
    for name in ("reward:bins:3", "place", "constant"):
        report = analyse(data, auxiliary=name)
        assert "nearly every value" not in to_text(report)
        assert "nearly every value" not in read_page(report).text
    few = walk(rng.normal(size=5))
    assert "nearly every value" not in to_text(analyse(few, auxiliary="reward"))


def test_a_random_function_is_not_warned_of():
    data = walk(np.zeros(50), observation=np.arange(51)[:, None])
    assert "nearly every value" not in to_text(analyse(data, auxiliary="random"))


def seen_twice(first, second, **fields):
    """Build two steps to one content from different sources, with two rewards."""
    content = np.array([[0], [7], [1], [7], [2], [3]])
    return TransitionDataset(
        [0, 2, 4], [0, 0, 0], [1, 3, 5], reward=[first, second, 9.0], observation=content, **fields
    )


def test_two_values_of_one_observation_are_answered_with_functions_that_have_one():
    report = analyse(seen_twice(0.25, 0.2501, terminated=[True, True, False]), auxiliary="reward", identity="content")
    assert report.verdict == "no-well-trained-model"
    assert report.alternatives == [
        "reward:round:0.001", "reward:bins:100", "terminated", "reward:actions",
    ]  # fmt: skip
    text = to_text(report)
    assert "observations 1 and 3 are equal and have p = 0.25 and 0.2501 (transitions 0 and 1)" in text
    offer = ", ".join(report.alternatives)
    assert f"functions of the observation, by this data: --auxiliary {offer}" in text
    assert offer in read_page(report).text
    assert to_json(report)["no_well_trained_model"]["alternatives"] == report.alternatives


@pytest.mark.parametrize("values", [(0.25, 0.2501), (0.0, 4.0), (-3.0, 5.0), (9.0, 0.0), (8.9, 0.0)])
@pytest.mark.parametrize("terminated", [None, [True, True, False], [True, False, False]])
def test_every_alternative_is_a_function_of_the_observation(values, terminated):
    data = seen_twice(*values, terminated=terminated)
    report = analyse(data, auxiliary="reward", identity="content")
    assert report.verdict == "no-well-trained-model"
    assert ("terminated" in report.alternatives) == (terminated == [True, True, False])
    for name in report.alternatives:
        found = auxiliary_values(data, name, data.content_ids())
        assert len(np.unique(found.value[found.known], axis=0)) > 1
        assert analyse(data, auxiliary=name, identity="content").verdict == "relation-only"


def test_absorbing_terminals_hide_no_function_that_would_serve():
    data = seen_twice(0.25, 0.2501, terminated=[True, True, False])
    leaf, absorbing = (
        analyse(data, auxiliary="reward", identity="content", terminal=each) for each in ("leaf", "absorb")
    )
    assert absorbing.terminals.rows > 0
    assert absorbing.alternatives == leaf.alternatives != []
    for name in absorbing.alternatives:
        assert analyse(data, auxiliary=name, identity="content", terminal="absorb").verdict == "relation-only"


def test_a_merge_that_is_forced_offers_no_other_function():
    data = TransitionDataset([0, 0, 1, 2], [0, 0, 0, 0], [1, 2, 1, 2], [0, 0, 0, 1])
    report = analyse(data, folding=True)
    assert report.alternatives == []
    assert "functions of the observation" not in to_text(report)


def test_the_command_takes_the_names(tmp_path, capsys):
    write_transitions(tmp_path / "d.npz", walk([0.1, 0.12, 0.9, 0.5], terminated=[False, False, False, True]))
    for name, values in (("reward:round:0.1", 3), ("reward:bins:2", 2), ("terminated", 2), ("reward+terminated", 4)):
        for options in (["--auxiliary", name], ["--compare", f"{name},constant"]):
            status, out, err = run(capsys, tmp_path / "d.npz", *options, "--json", tmp_path / "out.json")
            assert (status, err) == (0, "")
            found = json.loads((tmp_path / "out.json").read_text())
            assert (found["auxiliary"], found["auxiliary_values"]) == (name, values)
            assert f"p: {name}, " in out


def test_how_much_of_determinism_was_tested_is_said_everywhere():
    once, again = np.array([[0], [1], [2]]), np.array([[0], [1], [0], [1]])
    for data, said, repeated in (
        (walk([0, 0], observation=once), "determinism was not tested", 0),
        (TransitionDataset([0, 2], [0, 0], [1, 3], reward=[0, 0.0], observation=again), "1", 1),
    ):
        report = analyse(data, auxiliary="reward")
        assert said in to_text(report)
        row = "(Observation, action) pairs that repeat, told apart by content"
        assert f"{row} {said}" in read_page(report).text.replace("none, so ", "")
        found = to_json(report)
        assert found["repeated_by_content"] == repeated
        assert found["coinciding_observations"] == 2 * repeated
        assert found["conflicts_by_content"] == 0


def test_conflicts_by_content_do_not_contradict_those_that_were_counted():
    """One image leads to two others under one action, so that each occurrence is one of its own."""
    images = np.zeros((4, 2, 2, 3), np.uint8)
    images[1], images[3] = 1, 2
    data = TransitionDataset([0, 2], [0, 0], [1, 3], observation=images, auxiliary=[0.0, 1.0])
    text = " ".join(to_text(analyse(data, identity="occurrence")).split())
    assert "(one observation and action, several successors), images told apart by occurrence: none" in text
    assert "were they told apart by content, 1 (observation, action) pair would repeat, 1 of them with several" in text
    assert " then" not in text.partition("Equal images")[2].partition(" --identity content")[0]
