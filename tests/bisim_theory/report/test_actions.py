"""What a code of an action means is said wherever codes are."""

import itertools
import re

import numpy as np
import pytest
from bisim_theory import TransitionDataset, analyse, read_transitions, to_json, to_text, write_transitions
from bisim_theory.cli import main
from bisim_theory.data.action_codes import ENTRY, ActionCodes
from bisim_theory.formats.actions import encode_actions
from hypothesis import given
from hypothesis import strategies as st
from support.commands import run_command
from support.reports import frames, read_page


def chain(action, **fields):
    """Build a chain of observations whose last one has another p, so that witnesses are long."""
    code, value, meaning = encode_actions(np.asarray(action), fields.pop("abstraction", None))
    number = np.arange(len(code))
    return TransitionDataset(
        number, code, np.minimum(number + 1, len(code) - 1), (number == len(code) - 1).astype(float),
        observation=frames(len(code)), action_value=value, metadata={ENTRY: meaning} if meaning else {}, **fields,
    )  # fmt: skip


BINNED = {"action": [[-1.0, 0.0], [1.0, 9.0], [-0.9, 0.5], [0.0, 4.0]], "abstraction": "bins:3"}
CASES = {
    "bins": (BINNED, {0: "dimension 0 in [-1, -0.3333), dimension 1 in [0, 3)",
                      4: "dimension 0 in [-0.3333, 0.3333), dimension 1 in [3, 6)",
                      8: "dimension 0 in [0.3333, 1], dimension 1 in [6, 9]"}, "bins:3"),
    "sign": ({"action": [[-1.0], [0.0], [-2.0], [2.0]], "abstraction": "sign"},
             {0: "value < 0", 1: "value >= 0"}, "sign"),
    "rows": ({"action": [[0, 2], [1, 0], [0, 2], [1, 0]]}, {0: "(0, 2)", 1: "(1, 0)"}, "lexicographic"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_text_page_and_json_say_what_the_codes_mean(case):
    fields, meanings, made = CASES[case]
    report = analyse(chain(**fields), pairs=[(0, 2)])
    text, page, found = to_text(report), read_page(report).text, to_json(report)["action_codes"]
    assert found["meaning"] == {str(code): meaning for code, meaning in meanings.items()}
    assert made in found["made"]
    assert f"Action codes: {found['made']}" in text
    used = {code for note in report.pairs for code in note.witness}
    assert used
    for code in used:
        assert f"\n  {code}: {meanings[code]}" in text
        assert f"{code} {meanings[code]}" in page


@pytest.mark.parametrize(("action", "made"), [([2, 0, 1, 1], None), (np.eye(4, dtype=int), "the index of the one")])
def test_codes_that_are_the_actions_need_no_list(action, made):
    report = analyse(chain(action), pairs=[(0, 1)])
    found = to_json(report)["action_codes"]
    assert (found is None) == (made is None)
    assert ("Action codes: " in to_text(report)) == (made is not None)
    assert ("codes of actions" in read_page(report).text) == (made is not None)
    if found is not None:
        assert made in found["made"]
        assert found["meaning"] == {}


def test_conflicts_merges_and_suggestions_are_explained_too():
    data = TransitionDataset([0, 0, 1, 2], [1, 1, 0, 0], [1, 2, 1, 2], [0, 0, 0, 1], metadata={ENTRY: {"sign": 1}})
    report = analyse(data, folding=True)
    assert report.verdict == "no-well-trained-model"
    assert "\n  1: value >= 0" in to_text(report)
    assert "1 value >= 0" in read_page(report).text
    few = TransitionDataset(
        [0, 1, 2, 3, 5, 6], [1, 1, 1, 1, 0, 0], [1, 2, 3, 4, 6, 7], [0, 0, 0, 1, 0, 0],
        labels={"count": np.array([0, 1, 2, 3, 3, 2, 1, 0])}, metadata={ENTRY: {"sign": 1}},
    )  # fmt: skip
    advised = analyse(few)
    assert advised.suggestions
    for each in advised.suggestions:
        assert f"\n  {each.action}: value " in to_text(advised)


@pytest.mark.parametrize("case", CASES)
def test_the_meaning_survives_a_file(tmp_path, capsys, case):
    fields, meanings, _ = CASES[case]
    path = tmp_path / "d.npz"
    as_text = {str(code): meaning for code, meaning in meanings.items()}
    write_transitions(path, chain(**fields))
    assert to_json(analyse(read_transitions(path)))["action_codes"]["meaning"] == as_text
    if case != "rows":  # codes are made again, of the values
        again = read_transitions(path, actions="sign")
        assert ActionCodes.of(again.metadata) == ActionCodes(signs=again.action_value.shape[1])
        status, out, _ = run_command(main, capsys, path, "--actions", "bins:2", "--pair", 0, 1)
        assert status == 0
        assert "Action codes: bins:2, a digit for each dimension" in out


@given(st.integers(1, 4), st.integers(2, 5), st.randoms(use_true_random=False))
def test_every_action_lies_where_its_code_says(dimensions, bins, random):
    values = np.array([[random.uniform(-5, 5) for _ in range(dimensions)] for _ in range(20)])
    code, _, meaning = encode_actions(values, f"bins:{bins}")
    codes = ActionCodes.of({ENTRY: meaning})
    for row, each in zip(values, code.tolist(), strict=True):
        intervals = re.findall(r"\[(.*?)[])]", codes.meaning(each))
        for value, interval in zip(row, intervals, strict=True):
            ends = [float(end) for end in interval.split(", ")]
            assert min(ends) - 1e-2 <= value <= max(ends) + 1e-2


def test_every_code_of_signs_has_a_meaning_of_its_own():
    codes = ActionCodes(signs=3)
    said = [codes.meaning(code) for code in range(8)]
    signs = itertools.product(["< 0", ">= 0"], repeat=3)
    assert said == [", ".join(f"dimension {d} {each}" for d, each in enumerate(row)) for row in signs]
    assert [codes.meaning(code) for code in (-1, 8)] == [None, None]


@pytest.mark.parametrize(
    "entry",
    [
        None, 3, [], {}, {"sign": 0}, {"sign": True}, {"sign": "1"}, {"sign": 10**9}, {"sign": 1, "rows": [[1]]},
        {"bins": 3}, {"bins": {"count": 1, "low": [0.0], "high": [1.0]}}, {"bins": {"count": 3, "low": 0, "high": 1}},
        {"bins": {"count": 3, "low": [0.0], "high": [1.0, 2.0]}}, {"bins": {"count": 3, "low": [], "high": []}},
        {"bins": {"count": 3, "low": [float("nan")], "high": [1.0]}}, {"bins": {"count": 3, "low": ["a"], "high": [1]}},
        {"bins": {"count": 3, "low": [0.0]}}, {"rows": [1]}, {"rows": [["a"]]}, {"rows": []}, {"one_hot": 1},
        {"other": 1},
    ],
)  # fmt: skip
def test_metadata_of_strangers_that_say_nothing_usable_are_ignored(entry):
    assert ActionCodes.of({ENTRY: entry}) is None
    data = TransitionDataset([0], [7], [0], [0], metadata={ENTRY: entry})
    assert to_json(analyse(data))["action_codes"] is None


def test_codes_beyond_what_is_known_have_no_meaning():
    for entry in ({"rows": [[1, 2]]}, {"bins": {"count": 3, "low": [0.0], "high": [1.0]}}):
        codes = ActionCodes.of({ENTRY: entry})
        assert [codes.meaning(code) for code in (-1, 7, 10**18)] == [None] * 3
