"""The last lines of a training: what was measured, and whether that is good."""

import pytest
from bisim_theory.theorem.check import EXPLAINED
from pjepa_agent.cli.last_lines import describe_trained


def said_of(share, left, collapsed=0.0):
    """Return what is said of a model that explains a share of the pairs, but for some levels, on a line each."""
    names = ("theorem_least_explained_share", "theorem_unexplained_levels", "theorem_collapsed_pairs")
    untrained, trained = (
        dict(zip(names, values, strict=True)) for values in ((0.0, 5, 600.0), (share, left, collapsed))
    )
    report = {"world": "Room-v0", "held_out": {"trained": trained, "untrained": untrained}, "detached": [],
              "updates": 3000, "seconds": 60.0}  # fmt: skip
    return describe_trained("runs/A", report).splitlines()


def test_a_measure_stands_beside_what_is_asked_and_what_no_training_gives():
    lines = said_of(0.2163, 2, collapsed=3.0)
    assert lines[0].endswith("least of the levels with at least 20 pairs: 0.2163 (asked: 0.9, untrained: 0)")
    assert lines[1].endswith("those of fewer pairs too: 2 (asked: 0, untrained: 5)")
    assert lines[2] == "collapsed pairs, held out: 3 (asked: 0, untrained: 600)"
    assert lines[-1] == "next: bisim-check runs/A"


@pytest.mark.parametrize(("share", "left", "met"), [(0.8999, 1, False), (1.0, 3, False), (EXPLAINED, 0, True)])
def test_what_is_not_met_comes_with_what_may_help(share, left, met):
    helps = [line for line in said_of(share, left) if "--updates N in a new run" in line]
    assert len(helps) == (not met)
    assert met or "more than 3,000 updates" in helps[0]


def test_what_was_not_measured_is_not_called_unmet():
    lines = said_of(None, None)
    assert "at least 20 pairs: not measured (asked: 0.9" in lines[0]
    assert "fewer pairs too: not measured (asked: 0" in lines[1]
    assert not any("--updates N" in line for line in lines)
