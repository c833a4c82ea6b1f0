import json

import numpy as np
import pytest
from bisim_theory import DatasetError, TransitionDataset, empirical_bisimulation, write_transitions
from bisim_theory.cli import main
from bisim_theory.data.terminals import Terminals, absorb, ended
from support.oracles import random_dataset

# 0 -a-> 1 (ends), 0 -b-> 2, 2 -a-> 3 (truncated), 2 -b-> 4 (ends, and is acted from elsewhere)
CHAIN = {
    "source": [0, 0, 2, 2, 4], "action": [7, 9, 7, 9, 7], "successor": [1, 2, 3, 4, 0],
    "reward": [1.0, 0, 0, 0.5, 0], "terminated": [True, False, True, True, False],
    "truncated": [False, False, True, False, False],
}  # fmt: skip


def chain(**changes):
    return TransitionDataset(**{name: np.array(value) for name, value in CHAIN.items()} | changes)


def test_a_terminated_observation_that_is_never_a_source_leads_to_itself_under_every_action():
    absorbed, found = absorb(chain())
    assert found == Terminals(absorbing=1, rows=2, sources=1)
    rows = list(zip(absorbed.source, absorbed.action, absorbed.successor, strict=True))
    assert rows == [*zip(CHAIN["source"], CHAIN["action"], CHAIN["successor"], strict=True), (1, 7, 1), (1, 9, 1)]
    assert ended(chain()).tolist() == [1, 4]  # not 3, where time was up


def test_without_terminals_nothing_changes():
    data = chain(terminated=np.zeros(5, bool))
    assert absorb(data) == (data, Terminals(0, 0, 0))


def test_it_is_an_assumption_that_adds_rows_so_that_no_distinction_is_lost():
    for seed in range(60):
        data = random_dataset(np.random.default_rng(seed), frames=8, actions=2, coverage=0.6)
        last = np.random.default_rng(seed).random(len(data)) < 0.4
        data = TransitionDataset(data.source, data.action, data.successor, data.auxiliary, terminated=last)
        before = empirical_bisimulation(data)
        values = np.zeros(data.frames)
        values[data.source] = data.auxiliary
        absorbed, found = absorb(data)
        after = empirical_bisimulation(
            TransitionDataset(
                absorbed.source, absorbed.action, absorbed.successor,
                observation_auxiliary=np.resize(values, absorbed.frames),
                observation_auxiliary_known=np.isin(np.arange(absorbed.frames), data.source),
            )
        )  # fmt: skip
        x, y = np.meshgrid(before.observations, before.observations)
        then, now = before.level(x, y).astype(int), after.level(x, y).astype(int)
        assert ((then == 0) | ((now > 0) & (now <= then))).all()
        assert found.rows == found.absorbing * len(np.unique(data.action))


def test_data_that_does_not_say_what_ended_is_refused():
    with pytest.raises(DatasetError, match="terminated: is not in this dataset, and --terminal absorb needs it"):
        absorb(chain(terminated=None, truncated=None))


def test_the_command_counts_what_absorbs_and_what_does_not(tmp_path, capsys):
    write_transitions(tmp_path / "transitions.npz", chain())
    found = tmp_path / "found.json"
    assert main([str(tmp_path), "--auxiliary", "reward", "--terminal", "absorb", "--json", str(found)]) == 0
    assert "Terminal observations: 1 absorb: every action is taken to lead back (2 rows added); 1 " in (
        capsys.readouterr().out
    )
    said = json.loads(found.read_text())
    assert said["terminal"] == {"mode": "absorb", "absorbing": 1, "rows": 2, "sources": 1}
    assert (said["sources"], said["leaves"], said["transitions"]) == (4, 1, 7)
    assert main([str(tmp_path), "--auxiliary", "reward", "--json", str(found)]) == 0
    said = json.loads(found.read_text())
    assert (said["terminal"], said["leaves"]) == ({"mode": "leaf"}, 2)


def test_a_model_without_predictions_of_the_added_rows_is_left_out_and_that_is_said(tmp_path, capsys):
    write_transitions(tmp_path / "transitions.npz", chain())
    embedding = np.arange(10.0).reshape(5, 2)
    np.savez(
        tmp_path / "representation.npz", embedding=embedding, predicted_embedding=embedding[CHAIN["successor"]],
        predicted_auxiliary=np.zeros(5),
    )  # fmt: skip
    assert main([str(tmp_path), "--auxiliary", "reward", "--terminal", "absorb"]) == 0
    out = capsys.readouterr().out
    assert "Left out: the model, which has no prediction of the rows that --terminal absorb adds" in out
    assert "Verdict" not in out
