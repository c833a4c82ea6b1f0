"""What a newcomer tries first: own functions, codes, outputs and models, each with the answer or the hint to expect."""

import functools
import json

import h5py
import numpy as np
import pytest
from bisim_theory import DatasetError, TransitionDataset, empirical_bisimulation, read_transitions, write_transitions
from bisim_theory.cli import main
from bisim_theory.formats.actions import encode_actions
from support.commands import run_command

run = functools.partial(run_command, main)

FUNCTIONS = """
import numpy as np
def brightness(images, labels): return images.mean(axis=(1, 2, 3))
def scaled(images, labels): return (images / 255 > 0.5).reshape(len(images), -1).sum(1)
def greedy(images, labels): labels["place"][:] = 0; return labels["place"]
def leaves(images, labels): raise SystemExit(7)
"""


def corridor(path, **more):
    """Write four places in a row; the last ends the episode."""
    images = np.arange(4, dtype=np.uint8)[:, None, None, None] * np.full((1, 3, 3, 3), 60, np.uint8)
    fields = {
        "source": [0, 1, 2], "action": [1, 1, 1], "successor": [1, 2, 3], "reward": [0.0, 0, 1],
        "terminated": [False, False, True], "observation": images, "labels": {"place": np.arange(4)},
    }  # fmt: skip
    write_transitions(path, TransitionDataset(**fields | more))
    return path


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "firstuse.py").write_text(FUNCTIONS)
    monkeypatch.syspath_prepend(tmp_path)
    return corridor(tmp_path / "d.npz")


@pytest.mark.parametrize("name", ["brightness", "scaled"])
def test_a_function_is_given_what_behaves_as_an_array(data, capsys, name):
    status, out, err = run(capsys, data, "--auxiliary", f"firstuse:{name}")
    assert (status, err) == (0, "")
    assert "distinguished pairs: " in out


def test_a_function_that_writes_to_the_labels_changes_no_ground_truth(data, capsys):
    status, out, _ = run(capsys, data, "--auxiliary", "firstuse:greedy", "--label", "place")
    assert status == 0
    assert "certified share: 0.000 of the pairs that differ in place" in out


def test_a_function_that_leaves_ends_in_one_line(data, capsys):
    status, _, err = run(capsys, data, "--auxiliary", "firstuse:leaves")
    assert status == 2
    assert "raised SystemExit: 7" in err


def test_the_name_of_the_stored_p_keeps_the_model(tmp_path, capsys):
    path = corridor(tmp_path / "transitions.npz", observation_auxiliary=[0.0, 0, 0, 1], metadata={"auxiliary": "goal"})
    embedding = np.eye(4)
    np.savez(
        tmp_path / "representation.npz", embedding=embedding, predicted_embedding=embedding[1:],
        predicted_auxiliary=np.zeros(3), predicted_observation_auxiliary=np.array([0.0, 0, 0, 1]),
    )  # fmt: skip
    for options in ((), ("--auxiliary", "goal"), ("--auxiliary", "auxiliary")):
        status, out, _ = run(capsys, path, *options)
        assert (status, "Verdict: holds" in out) == (0, True)
    assert "Verdict" not in run(capsys, path, "--auxiliary", "reward")[1]


def test_different_actions_with_one_code_are_said(tmp_path, capsys):
    values = np.array([[0.25], [0.75], [0.5]])
    path = corridor(tmp_path / "d.npz", action=[0, 0, 0], action_value=values)
    said = "1 action (one code for different values: --actions bins:K tells them apart)"
    assert said in run(capsys, path, "--auxiliary", "reward", "--actions", "sign")[1]
    assert said not in run(capsys, path, "--auxiliary", "reward", "--actions", "bins:3")[1]


def test_one_hot_floats_are_discrete():
    rows = np.eye(3)[[2, 0, 1, 1]]
    assert encode_actions(rows).code.tolist() == [2, 0, 1, 1]
    assert encode_actions(rows).value is None
    for continuous in (np.array([[1.0, 0], [0.5, 0.5]]), np.array([[0.0], [1.0]])):
        with pytest.raises(DatasetError, match="action: is continuous"):
            encode_actions(continuous)


def test_a_file_without_ends_is_told_of_both_layouts(tmp_path):
    with h5py.File(tmp_path / "d.hdf5", "w") as file:
        for name, value in {
            "observations": np.zeros((4, 2)),
            "actions": np.zeros(4, int),
            "rewards": np.ones(4),
        }.items():
            file[name] = value
    with pytest.raises(DatasetError, match="observations, actions, rewards and terminals, as D4RL does") as caught:
        read_transitions(tmp_path / "d.hdf5")
    assert ": terminals: missing for the layout of D4RL, which is nearest" in str(caught.value)
    with h5py.File(tmp_path / "other.hdf5", "w") as file:
        file["ep_offset"], file["pixels"], file["action"] = np.zeros(1, int), np.zeros((4, 8, 8, 3), "u1"), np.zeros(4)
    with pytest.raises(DatasetError, match="ep_len: missing for the layout of stable-worldmodel, which is nearest"):
        read_transitions(tmp_path / "other.hdf5")


def test_a_far_mean_is_named_as_what_makes_pairs_collapse(tmp_path, capsys):
    path = corridor(tmp_path / "transitions.npz", auxiliary=[0.0, 0, 1])
    embedding = np.eye(4) + 1e7
    np.savez(
        tmp_path / "representation.npz", embedding=embedding, predicted_embedding=embedding[1:],
        predicted_auxiliary=np.array([0.0, 0, 1]),
    )  # fmt: skip
    status, out, _ = run(capsys, path)
    assert status == 1
    assert "apart (point=1e-06 of the embeddings' root mean square): " in out


def test_where_nothing_is_distinguished_the_verdict_says_so(tmp_path, capsys):
    path = corridor(tmp_path / "transitions.npz", auxiliary=[0.0, 0, 0])
    embedding = np.eye(4)
    for error, expected, words in ((0.0, 0, "holds: "), (1e-4, 3, "hypothesis not met: ")):
        np.savez(
            tmp_path / "representation.npz", embedding=embedding, predicted_embedding=embedding[1:] + error,
            predicted_auxiliary=np.zeros(3),
        )  # fmt: skip
        status, out, _ = run(capsys, path)
        assert status == expected
        verdict = out.splitlines()[-1]
        assert words in verdict
        assert "the data distinguishes no pair" in verdict


def test_without_a_model_that_is_said(data, capsys):
    assert "No model was looked at: this is the relation alone." in run(capsys, data, "--auxiliary", "reward")[1]


def test_a_number_of_steps_is_no_ground_truth_unless_asked_for(tmp_path, capsys):
    path = corridor(tmp_path / "d.npz", labels={"step_count": np.arange(4)})
    found = tmp_path / "found.json"
    run(capsys, path, "--auxiliary", "reward", "--json", found)
    assert json.loads(found.read_text())["label"] is None
    run(capsys, path, "--auxiliary", "reward", "--label", "step_count", "--json", found)
    assert json.loads(found.read_text())["label"] == "step_count"


def test_ids_beyond_the_data_are_named():
    relation = empirical_bisimulation(TransitionDataset([0, 1], [0, 0], [1, 1], [0, 1]))
    for wrong in (5, -1):
        with pytest.raises(DatasetError, match=f"observation {wrong}: there are 2 observations, numbered from 0"):
            relation.level(0, wrong)


def test_a_column_that_is_no_label_costs_nothing_and_is_said(tmp_path, capsys):
    path = corridor(tmp_path / "d.npz")
    with np.load(path) as stored:
        arrays = dict(stored)
    np.savez(path, **arrays, junk=[np.nan, 0, 0, 0], words=np.array(["a", "b", "c", "d"]), version=np.array(3))
    status, out, _ = run(capsys, path, "--auxiliary", "reward")
    assert status == 0
    assert "Left out: junk, version, words: cannot be labels, which are finite numbers, one or a few for" in out
    status, _, err = run(capsys, path, "--auxiliary", "junk")
    assert status == 2
    assert "this dataset offers" in err


def test_a_reward_that_is_not_finite_costs_no_other_p(tmp_path, capsys):
    with h5py.File(tmp_path / "d.hdf5", "w") as file:
        file["observations"] = np.arange(6.0)[:, None]
        file["actions"] = np.zeros(6, int)
        file["rewards"] = np.array([0, np.nan, 0, 0, 0, 0])
        file["terminals"] = np.array([False, False, True, False, False, True])
    status, out, _ = run(capsys, tmp_path / "d.hdf5", "--auxiliary", "terminated")
    assert status == 0
    assert "Left out: the rewards, of which that of row 1 is not finite" in out
    status, _, err = run(capsys, tmp_path / "d.hdf5", "--auxiliary", "reward")
    assert status == 2
    assert "auxiliary='reward': left out are the rewards, of which that of row 1 is not finite" in err
    assert "this dataset offers" in err
