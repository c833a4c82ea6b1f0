"""Small inputs with a known answer, by every way to ask: what was answered wrongly once stays right."""

import functools
import json

import numpy as np
import pytest
from bisim_theory import TransitionDataset, write_transitions
from bisim_theory.cli import main
from support.commands import run_command

run = functools.partial(run_command, main)

NAMES = ["reward", "reward:round:0.01", "reward:bins:2", "reward+constant", "mine_of_cases:by_content"]
"""Names of one p: 1 for content 2, 0 for all others."""


def images_of(content):
    """Return one image of equal pixels for each content."""
    return np.array(content, np.uint8)[:, None, None, None] + np.zeros((1, 4, 4, 3), np.uint8)


def steps(content, reward, action, **fields):
    """Build episodes of two steps each; the contents of three frames follow each other."""
    first = np.arange(0, len(content), 3)
    source = np.stack([first, first + 1], 1).ravel()
    episode = np.repeat(first // 3, 2)
    return TransitionDataset(
        source, action, source + 1, reward=reward, observation=images_of(content), episode=episode, **fields
    )


@pytest.fixture
def ask(tmp_path, capsys, monkeypatch):
    """Write a dataset and run the command on it; returns its exit status and its JSON."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "mine_of_cases.py").write_text(
        "import numpy as np\ndef by_content(images, labels): return (np.asarray(images[:])[:, 0, 0, 0] == 2) * 1.0\n"
    )

    def command(data, *options):
        write_transitions(tmp_path / "d.npz", data)
        (tmp_path / "out.json").unlink(missing_ok=True)
        status, _, err = run(capsys, tmp_path / "d.npz", *options, "--json", tmp_path / "out.json")
        assert (status == 2) == (err != "")
        return status, json.loads((tmp_path / "out.json").read_text())

    return command


@pytest.mark.parametrize("way", ["--auxiliary", "--compare"])
@pytest.mark.parametrize("name", NAMES)
def test_what_follows_an_episodes_first_observation_counts_whatever_is_known_of_it(ask, name, way):
    """Both episodes begin with one image, and one action leads from it to two of different p."""
    data = steps([7, 1, 5, 7, 2, 5], [0, 0, 1, 0], [0, 0, 0, 0])
    status, found = ask(data, way, name, "--identity", "content", "--fold")
    assert (status, found["verdict"]) == (4, "no-well-trained-model")
    assert found["transitions"] == 4
    assert sorted(found["no_well_trained_model"]["pair"]) == [1, 4]
    assert len(found["no_well_trained_model"]["chain"]) == 1


@pytest.mark.parametrize("way", ["--auxiliary", "--compare"])
@pytest.mark.parametrize("name", ["reward", "reward:round:0.5", "reward:bins:2", "reward+constant"])
def test_two_rewards_of_one_image_have_one_answer(ask, name, way):
    """One image is reached with reward 0 and with reward 1, and acted from both times."""
    data = steps([7, 1, 5, 8, 1, 6], [0, 0, 1, 0], [0, 1, 0, 2])
    for options in (["--fold"], []):
        status, found = ask(data, way, name, "--identity", "content", *options)
        assert (status, found["verdict"]) == (4, "no-well-trained-model")
        assert found["no_well_trained_model"]["pair"] == [1, 4]
        assert found["no_well_trained_model"]["transitions"] == [0, 2]
        assert found["no_well_trained_model"]["chain"] == []


def test_choosing_and_comparing_use_the_same_transitions(ask):
    """The first observation of an episode has the image of one whose reward is known."""
    content = [1, 3, 1, 2, 2, 1, 2, 2]
    data = TransitionDataset(
        [0, 1, 2, 4, 5, 6], [0, 1, 1, 1, 1, 0], [1, 2, 3, 5, 6, 7], reward=[1, 0, 0, 0, 0, 0.0],
        observation=images_of(content),
    )  # fmt: skip
    _, chosen = ask(data, "--auxiliary", "reward", "--identity", "content")
    _, compared = ask(data, "--compare", "reward,constant", "--identity", "content")
    assert chosen["transitions"] == compared["transitions"] == compared["comparison"]["transitions"] == 6
    assert compared["comparison"]["left_out"] == 0
    candidate = compared["comparison"]["candidates"][0]
    for name in ("distinguished_pairs_per_level", "bisimulation_classes", "codes_forced"):
        assert chosen[name] == compared[name] == candidate[name]
    assert chosen["codes_forced"] == {"at_least": 3, "exact": True}
    assert sum(chosen["distinguished_pairs_per_level"]) == 3


@pytest.mark.parametrize("terminal", ["leaf", "absorb"])
@pytest.mark.parametrize("name", ["reward", "terminated", "reward:bins:2", "reward+terminated"])
def test_a_goal_that_ends_the_episode_is_told_from_the_rest_and_so_is_what_leads_to_it(ask, name, terminal):
    """Three places in a row; the last is the goal, rewarded and terminal, so never acted from."""
    data = TransitionDataset(
        [0, 1, 0, 1], [1, 1, 0, 0], [1, 2, 0, 0], reward=[0, 1, 0, 0.0], terminated=[False, True, False, False]
    )
    status, found = ask(data, "--auxiliary", name, "--terminal", terminal)
    assert status == 0
    assert found["distinguished_pairs_per_level"] == [2, 1]
    assert found["codes_forced"] == {"at_least": 3, "exact": True}
    assert found["leaves"] == (1 if terminal == "leaf" else 0)


def test_a_label_of_one_column_is_the_same_by_every_name(ask):
    data = steps([0, 1, 2, 3, 4, 5], [0, 0, 1, 0], [0, 0, 0, 0], labels={"place": np.arange(6)[:, None] // 2})
    shares = set()
    for options in (["--label", "place"], [], ["--label", "place", "--compare", "reward,place"]):
        _, found = ask(data, "--auxiliary", "reward", *options)
        assert found["label"] == "place"
        shares.add(found["certified_share"])
    assert len(shares) == 1
    _, found = ask(data, "--auxiliary", "place")
    assert (found["auxiliary_values"], found["certified_share"]) == (3, 1.0)
