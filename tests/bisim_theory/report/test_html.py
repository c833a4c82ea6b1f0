import functools
import re
import subprocess
import sys

import numpy as np
import pytest
from bisim_theory import TransitionDataset, analyse
from bisim_theory.cli import main
from bisim_theory.report.html import to_html, write_page
from bisim_theory.report.json import to_json
from bisim_theory.report.tables import ends
from bisim_theory.report.witness_images import witness_strips
from support.commands import run_command
from support.reports import PageReader, chains, frames, model, read_page

run = functools.partial(run_command, main)


def test_the_page_says_what_the_json_says():
    data = chains()
    report = analyse(data, model(data))
    found, reader = to_json(report), read_page(report)
    conclusion = found["conclusion"]
    assert found["verdict"] == "holds"
    assert "Holds. The model is well-trained within tolerance" in reader.text
    for level, pairs in enumerate(found["distinguished_pairs_per_level"], start=1):
        assert f"{level} {pairs:,} " in reader.text
    assert f"the smallest distance is {conclusion['min_distance']:.4g}," in reader.text
    x, y = conclusion["pair"]
    assert f"The closest distinguished pair: {x} and {y}" in reader.text
    actions = ", ".join(str(action) for action in conclusion["witness"])
    assert (
        f"between observations {x} and {y} (level {conclusion['level']}), whose p differs after action" in reader.text
    )
    assert f"{actions}. Pairs at most" in reader.text
    assert f"{found['certified_share']:.3f} of the pairs that differ in count" in reader.text
    assert f"{found['hypothesis']['transition_residual_quantiles']['0.99']:.4g}" in reader.text
    # levels, residuals, margins, and a histogram for each level
    assert len(reader.all("svg")) == 3 + len(found["distinguished_pairs_per_level"])
    assert [heading.split(",")[0] for heading in reader.headings] == [
        "Data", "Largest bisimulation", "Theorem 3", "Theorem 3", "The closest pairs along their witness",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("scale", "noise", "verdict", "said"),
    [
        (1e-9, 0.0, "holds", "Holds."),
        (1.0, 5.0, "hypothesis-not-met", "Hypothesis not met."),
        (0.0, 0.0, "collapsed", "Collapsed."),
    ],
)
def test_every_verdict_of_a_model(scale, noise, verdict, said):
    data = chains(length=3)
    report = analyse(data, model(data, scale, noise))
    assert report.verdict == verdict
    reader = read_page(report)
    assert said in reader.text
    assert ("Not met." in reader.text) == (not report.check.hypothesis_met)
    assert not {"nan", "inf"} & set(reader.text.split())


def test_a_model_without_residuals():
    data = chains(length=3)
    assert len(read_page(analyse(data, model(data, error=0.0))).all("svg")) == 2 + 2


def test_equal_reports_give_equal_bytes(tmp_path):
    for name in ("a.html", "b.html"):
        data = chains(length=3)
        write_page(tmp_path / name, analyse(data, model(data), candidates=["count"]), "title")
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.html", "b.html"]


def test_what_others_named_is_escaped():
    name, title = '<script>alert("x")</script>$_$ id="x" e_d', "</title><img src=http:x>&\udcff"
    data = chains(labels={name: chains().labels["count"]})
    report = analyse(data, candidates=[name, "constant"])
    text = to_html(report, title)
    assert "<script" not in text
    assert "<img src=h" not in text
    reader = PageReader(text)
    assert name in reader.text
    assert name in re.sub(r"&lt;|&gt;|&amp;", lambda m: {"l": "<", "g": ">", "a": "&"}[m[0][1]], text)
    assert title.replace("\udcff", "") in text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


def test_a_title_that_is_no_text_can_be_written(tmp_path):
    write_page(tmp_path / "page.html", analyse(chains()), "run \udcff")
    assert "<h1>run ?</h1>" in (tmp_path / "page.html").read_text("utf-8")


def test_relation_only():
    reader = read_page(analyse(chains(), pairs=[(0, 1), (0, 5)]))
    assert "Relation only. What a well-trained model must keep apart" in reader.text
    assert "Theorem 3, hypothesis" not in reader.text
    assert "A pair of level 4" in reader.text
    assert "0, 1 4 after actions 1, 1, 1 no" in reader.text
    assert "0, 5 bisimilar yes" in reader.text


@pytest.mark.parametrize("representation", [False, True])
def test_neither_images_nor_labels(representation):
    data = chains(observation=None, labels={})
    reader = read_page(analyse(data, model(data) if representation else None))
    assert not reader.all("img")
    assert "Certified share" not in reader.text
    assert "along their witness" not in reader.text


def test_comparison():
    data = TransitionDataset([0, 0, 1, 2], [0, 0, 0, 0], [1, 2, 1, 2], [0, 0, 0, 0], labels={"count": [0, 0, 1]})
    report = analyse(data, folding=True, candidates=["count", "constant"])
    reader = read_page(report)
    assert "Auxiliary functions compared" in reader.text
    assert "observations 1 and 2 must share one embedding and have p = 0 and 1." in reader.text
    label = next(svg["aria-label"] for svg in reader.all("svg") if "compared" in svg["aria-label"])
    assert "count: no well-trained model exists; constant: 0.0% of pairs told apart, embeddings needed: 1" in label


def test_no_well_trained_model_shows_the_chain_and_the_pair():
    data = TransitionDataset([0, 0, 1, 2], [0, 0, 0, 0], [1, 2, 1, 2], [0, 0, 0, 1], observation=frames(3))
    reader = read_page(analyse(data, folding=True))
    assert "No well-trained model exists. Observations 1 and 2 must share one embedding" in reader.text
    assert "1 = 2: both follow 0 under action 0" in reader.text
    assert "0 \N{NOT EQUAL TO} 1" in reader.text
    assert len(reader.all("img")) == 2


def test_one_observation_with_two_values_of_p():
    data = TransitionDataset([0, 0], [0, 1], [1, 1], [0, 1], observation=frames(2))
    reader = read_page(analyse(data))
    assert "Observation 0 has two auxiliary values, 0 and 1 (transitions 0 and 1)." in reader.text
    assert not reader.all("img")


def test_nothing_is_distinguished():
    data = TransitionDataset([0, 1], [0, 0], [1, 0], [0, 0], observation=frames(2))
    reader = read_page(analyse(data, model(data)))
    assert "The data distinguishes no pair, so there is nothing to collapse." in reader.text


def test_many_levels_are_cut_short_in_the_middle():
    data = chains(length=120, copies=2)
    report = analyse(data, model(data))
    reader = read_page(report)
    assert len(reader.all("svg")) == 3 + 8
    assert f"\N{HORIZONTAL ELLIPSIS} {119 - 16} more" in reader.text
    deepest = witness_strips(report)[-1]
    assert (deepest.level, deepest.shown) == (119, [0, 1, 2, 116, 117, 118])
    assert "114 actions" in reader.text


@pytest.mark.parametrize(("number", "most", "kept"), [(3, 5, [0, 1, 2]), (9, 5, [0, 1, 2, 7, 8]), (0, 5, [])])
def test_the_ends_of_a_long_list(number, most, kept):
    assert ends(number, most) == kept


def test_command_writes_the_page(tmp_path, capsys):
    data = chains()
    fields = {name: getattr(data, name) for name in ("source", "action", "successor", "auxiliary", "observation")}
    np.savez_compressed(tmp_path / "d.npz", **fields, count=data.labels["count"])
    status, _, err = run(capsys, tmp_path / "d.npz", "--compare", "count,constant", "--html", tmp_path / "p.html")
    assert (status, err) == (0, "")
    text = (tmp_path / "p.html").read_text("utf-8")
    assert "Auxiliary functions compared" in PageReader(text).text
    assert "data:image/png" in text


@pytest.mark.parametrize("library", ["matplotlib", "jinja2", "PIL"])
def test_without_a_library_one_line_says_what_to_install(library, tmp_path, capsys, monkeypatch):
    np.savez(tmp_path / "d.npz", source=[0], action=[0], successor=[0], auxiliary=[0])
    monkeypatch.setitem(sys.modules, library, None)
    monkeypatch.delitem(sys.modules, "bisim_theory.report.html", raising=False)
    status, out, err = run(capsys, tmp_path / "d.npz", "--html", tmp_path / "p.html", "--json", tmp_path / "j.json")
    assert (status, out) == (2, "")
    assert (
        err
        == "bisim-check: error: --html needs the extra html: pip install './packages/bisim-theory[html]' in the clone\n"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["d.npz"]


def test_a_page_that_cannot_be_written_leaves_nothing(tmp_path):
    with pytest.raises(OSError, match="nowhere"):
        write_page(tmp_path / "nowhere" / "p.html", analyse(chains()), "title")
    assert list(tmp_path.iterdir()) == []


def test_drawing_leaves_the_callers_matplotlib_alone():
    code = (
        "import sys, matplotlib; from bisim_theory import TransitionDataset, analyse\n"
        "before = matplotlib.rcParams.copy()\n"
        "from bisim_theory.report.html import to_html\n"
        "assert 'jinja2' not in sys.modules\n"
        "to_html(analyse(TransitionDataset([0, 1], [0, 0], [1, 1], [0, 1])), 'title')\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
        "assert dict.__eq__(matplotlib.rcParams, before)\n"  # as a Mapping it would choose a backend
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr == ""
