import base64
import functools
import io
import re
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pytest
from bisim_theory import DatasetError, Representation, TransitionDataset, analyse
from bisim_theory.cli import main
from bisim_theory.report.html import to_html, write_page
from bisim_theory.report.json import to_json
from bisim_theory.report.tables import ends
from bisim_theory.report.witness_images import (
    MAX_FRAMES_SHOWN,
    MAX_SIDE,
    TransitionLookup,
    encode_frames,
    encode_png,
    witness_strips,
)
from PIL import Image
from support.commands import run_command

run = functools.partial(run_command, main)
VOID = {"meta", "img"}


class Reader(HTMLParser):
    """Collects elements and text, and sees to it that every element is closed where it should be."""

    def __init__(self, page):
        super().__init__()
        self.open, self.elements, self.words, self.headings = [], [], [], []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not {"style", "svg"} & set(self.open):
            self.words.append(data)
        if self.open[-1:] == ["h2"]:
            self.headings.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


def chains(length=5, copies=4, **fields):
    """Counters that go down to 0, where p is 1: an observation of `count` k is told from others after k steps."""
    count = np.tile(np.arange(length)[::-1], copies)
    source = np.arange(len(count))
    successor = np.where(count > 0, source + 1, source)
    given = {"observation": frames(len(count)), "labels": {"count": count}} | fields
    return TransitionDataset(source, np.ones(len(count), int), successor, (count == 0).astype(float), **given)


def frames(number, side=4, channels=3):
    return np.random.default_rng(0).integers(0, 256, (number, side, side, channels), dtype=np.uint8)


def model(data, scale=1.0, noise=0.0, error=1.0):
    rng = np.random.default_rng(1)
    count = data.labels["count"] if "count" in data.labels else np.arange(data.frames)
    embedding = scale * (count[:, None] + 0.01 * rng.random((data.frames, 2)))
    return Representation(embedding, embedding[data.successor] + noise, data.p + 0.1 * error * rng.random(len(data)))


def page(report, title="runs/one"):
    text = to_html(report, title)
    reader = Reader(text)
    outside = [value for _, attributes in reader.elements for value in attributes.values() if "//" in (value or "")]
    assert all(value.startswith("data:image/png;base64,") for value in outside)
    assert "http" not in text
    assert "url(" not in text.replace("url(#", "")
    assert not reader.all("script")
    assert not reader.all("link")
    assert all(image["src"].startswith("data:") and image["alt"] for image in reader.all("img"))
    assert all(svg["aria-label"] for svg in reader.all("svg"))
    names = [attributes["id"] for _, attributes in reader.elements if "id" in attributes]
    assert len(names) == len(set(names))
    referred = set(re.findall(r'(?:url\(#|href="#)([^")]+)', text))
    assert referred <= set(names)
    assert len(text) < 3_000_000
    return reader


def test_the_page_says_what_the_json_says():
    data = chains()
    report = analyse(data, model(data))
    found, reader = to_json(report), page(report)
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
    assert f"{found['certified_share']:.3f} of the pairs of sources that differ in count" in reader.text
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
    reader = page(report)
    assert said in reader.text
    assert ("Not met." in reader.text) == (not report.check.hypothesis_met)
    assert not {"nan", "inf"} & set(reader.text.split())


def test_a_model_without_residuals():
    data = chains(length=3)
    assert len(page(analyse(data, model(data, error=0.0))).all("svg")) == 2 + 2


def test_equal_findings_give_equal_bytes(tmp_path):
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
    reader = Reader(text)
    assert name in reader.text
    assert name in re.sub(r"&lt;|&gt;|&amp;", lambda m: {"l": "<", "g": ">", "a": "&"}[m[0][1]], text)
    assert title.replace("\udcff", "") in text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


def test_a_title_that_is_no_text_can_be_written(tmp_path):
    write_page(tmp_path / "page.html", analyse(chains()), "run \udcff")
    assert "<h1>run ?</h1>" in (tmp_path / "page.html").read_text("utf-8")


def test_relation_only():
    reader = page(analyse(chains(), pairs=[(0, 1), (0, 5)]))
    assert "Relation only. What a well-trained model must keep apart" in reader.text
    assert "Theorem 3, hypothesis" not in reader.text
    assert "A pair of level 4" in reader.text
    assert "0, 1 4 after actions 1, 1, 1 no" in reader.text
    assert "0, 5 bisimilar yes" in reader.text


@pytest.mark.parametrize("representation", [False, True])
def test_neither_images_nor_labels(representation):
    data = chains(observation=None, labels={})
    reader = page(analyse(data, model(data) if representation else None))
    assert not reader.all("img")
    assert "Certified share" not in reader.text
    assert "along their witness" not in reader.text


def test_comparison():
    data = TransitionDataset([0, 0, 1, 2], [0, 0, 0, 0], [1, 2, 1, 2], [0, 0, 0, 0], labels={"count": [0, 0, 1]})
    report = analyse(data, folding=True, candidates=["count", "constant"])
    reader = page(report)
    assert "Auxiliary functions compared" in reader.text
    assert "observations 1 and 2 must share one embedding and have p = 0 and 1." in reader.text
    label = next(svg["aria-label"] for svg in reader.all("svg") if "compared" in svg["aria-label"])
    assert "count: no well-trained model exists; constant: 0.0% of pairs told apart, embeddings needed: 1" in label


def test_no_well_trained_model_shows_the_chain_and_the_pair():
    data = TransitionDataset([0, 0, 1, 2], [0, 0, 0, 0], [1, 2, 1, 2], [0, 0, 0, 1], observation=frames(3))
    reader = page(analyse(data, folding=True))
    assert "No well-trained model exists. Observations 1 and 2 must share one embedding" in reader.text
    assert "1 = 2: both follow 0 under action 0" in reader.text
    assert "0 \N{NOT EQUAL TO} 1" in reader.text
    assert len(reader.all("img")) == 2


def test_one_observation_with_two_values_of_p():
    data = TransitionDataset([0, 0], [0, 1], [1, 1], [0, 1], observation=frames(2))
    reader = page(analyse(data))
    assert "Observation 0 has two auxiliary values, 0 and 1." in reader.text
    assert not reader.all("img")


def test_nothing_is_distinguished():
    data = TransitionDataset([0, 1], [0, 0], [1, 0], [0, 0], observation=frames(2))
    reader = page(analyse(data, model(data)))
    assert "The data distinguishes no pair, so there is nothing to collapse." in reader.text


def test_many_levels_are_cut_short_in_the_middle():
    data = chains(length=120, copies=2)
    report = analyse(data, model(data))
    reader = page(report)
    assert len(reader.all("svg")) == 3 + 8
    assert f"\N{HORIZONTAL ELLIPSIS} {119 - 16} more" in reader.text
    deepest = witness_strips(report)[-1]
    assert (deepest.level, deepest.shown) == (119, [0, 1, 2, 116, 117, 118])
    assert "114 actions" in reader.text


@pytest.mark.parametrize(("number", "most", "kept"), [(3, 5, [0, 1, 2]), (9, 5, [0, 1, 2, 7, 8]), (0, 5, [])])
def test_the_ends_of_a_long_list(number, most, kept):
    assert ends(number, most) == kept


def test_strips_follow_the_witness_from_both_observations():
    #           0 -a5-> 1 -a7-> 2 (p = 1)          3 -a5-> 4 -a7-> 5 (p = 0); others lead astray
    source, action = [0, 1, 2, 3, 4, 5, 0, 3], [5, 7, 5, 5, 7, 5, 7, 7]
    successor, p = [1, 2, 2, 4, 5, 5, 6, 6], [0, 0, 1, 0, 0, 0, 0, 0]
    data = TransitionDataset(source, action, successor, p, observation=frames(7))
    embedding = np.arange(14.0).reshape(7, 2)
    embedding[3] = embedding[0] + [0.3, 0.4]
    report = analyse(data, Representation(embedding, embedding[data.successor], data.p.astype(float)))
    strip = witness_strips(report)[0]
    assert (strip.x, strip.y, strip.level, strip.witness) == ([0, 1, 2], [3, 4, 5], 3, [5, 7])
    assert strip.complete
    assert strip.distances == pytest.approx([0.5, np.hypot(6, 6), np.hypot(6, 6)])
    assert strip.p == (1, 0)
    reader = page(report)
    assert reader.text.count("action 5 \N{RIGHTWARDS ARROW}") >= 2
    pictures = encode_frames(data.observation, range(7))
    shown = [image["src"] for image in reader.all("img")][:6]
    assert shown == [pictures[each] for each in (0, 1, 2, 3, 4, 5)]
    assert [image["alt"] for image in reader.all("img")][2] == "x after 2 actions: observation 2"


def test_a_path_that_leaves_for_a_merged_observation_ends_there():
    # 1 and 2 both follow 0, so they are one; only 2 is seen to go on.
    data = TransitionDataset(
        [0, 0, 2, 3, 4, 5, 6],
        [0, 0, 0, 0, 0, 0, 0],
        [1, 2, 3, 3, 5, 6, 6],
        [0, 0, 0, 1, 0, 0, 0],
        observation=frames(7),
    )
    report = analyse(data, folding=True)
    strip = witness_strips(report)[-1]
    assert strip.level == 3
    assert not strip.complete
    assert [0, 1] in (strip.x, strip.y)
    reader = page(report)
    assert "Frames are shown for 1 of 2 actions" in reader.text
    assert "not observed of both" in reader.text


def test_steps_of_an_observation_that_is_never_a_source():
    steps = TransitionLookup(chains())
    assert steps.along(0, [1, 1, 2, 1]) == [0, 1, 2]
    assert steps.p(4) == 1.0
    assert steps.p(10_000) is None


class Once:
    """Frames that can be read only in order and without gaps, as from a compressed file."""

    def __init__(self, array):
        self.array, self.shape, self.dtype, self.next = array, array.shape, array.dtype, 0

    def __getitem__(self, rows):
        assert rows.start == self.next
        self.next = rows.stop
        return self.array[rows]


def test_frames_are_read_in_one_pass(monkeypatch):
    monkeypatch.setattr("bisim_theory.data.transitions.FRAMES_AT_ONCE", 3)
    array = frames(11)
    stored = Once(array)
    pictures = encode_frames(stored, [7, 0, 7, 4])
    assert pictures == encode_frames(array, [0, 4, 7])
    assert stored.next == 9  # and no further than needed
    assert decoded(pictures[7]).tolist() == array[7].tolist()
    assert encode_frames(Once(array), []) == {}


def decoded(address):
    """What a browser shows."""
    return shown(base64.b64decode(address.removeprefix("data:image/png;base64,")))


def shown(png):
    image = np.array(Image.open(io.BytesIO(png), formats=["PNG"]))
    return image[..., None] if image.ndim == 2 else image


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_small_frames_are_shown_pixel_by_pixel(channels):
    frame = frames(1, channels=channels)[0]
    assert (shown(encode_png(frame)) == frame).all()


def test_large_frames_are_made_smaller_and_the_page_stays_small():
    image = np.zeros((400, 1000, 3), np.uint8)
    image[:, 500:] = 200
    small = shown(encode_png(image))
    assert max(small.shape) <= MAX_SIDE
    assert set(np.unique(small)) <= {0, 200, *range(1, 200)}
    assert small[:, 0].max() == 0
    assert small[:, -1].min() == 200
    assert shown(encode_png(np.zeros((1, 5000, 1), np.uint8))).shape[0] == 1
    data = chains(length=9, copies=2, observation=frames(18, side=200))
    assert data.frames > MAX_FRAMES_SHOWN
    page(analyse(data))


def test_command_writes_the_page(tmp_path, capsys):
    data = chains()
    fields = {name: getattr(data, name) for name in ("source", "action", "successor", "auxiliary", "observation")}
    np.savez_compressed(tmp_path / "d.npz", **fields, count=data.labels["count"])
    status, _, err = run(capsys, tmp_path / "d.npz", "--compare", "count,constant", "--html", tmp_path / "p.html")
    assert (status, err) == (0, "")
    text = (tmp_path / "p.html").read_text("utf-8")
    assert "Auxiliary functions compared" in Reader(text).text
    assert "data:image/png" in text


@pytest.mark.parametrize("library", ["matplotlib", "jinja2", "PIL"])
def test_without_a_library_one_line_says_what_to_install(library, tmp_path, capsys, monkeypatch):
    np.savez(tmp_path / "d.npz", source=[0], action=[0], successor=[0], auxiliary=[0])
    monkeypatch.setitem(sys.modules, library, None)
    monkeypatch.delitem(sys.modules, "bisim_theory.report.html", raising=False)
    status, out, err = run(capsys, tmp_path / "d.npz", "--html", tmp_path / "p.html", "--json", tmp_path / "j.json")
    assert (status, out) == (2, "")
    assert err == "bisim-check: error: --html needs the extra html: pip install 'bisim-theory[html]'\n"
    assert [path.name for path in tmp_path.iterdir()] == ["d.npz"]


def test_a_page_that_cannot_be_written_leaves_nothing(tmp_path):
    with pytest.raises(OSError, match="nowhere"):
        write_page(tmp_path / "nowhere" / "p.html", analyse(chains()), "title")
    assert list(tmp_path.iterdir()) == []


def test_frames_that_cannot_be_read_leave_nothing(tmp_path):
    class Damaged(Once):
        def __getitem__(self, rows):
            if self.next:
                raise DatasetError("observation: is damaged")
            self.next = 1
            return self.array[rows]

    report = analyse(chains(observation=Damaged(np.zeros((20, 4, 4, 3), np.uint8))))
    with pytest.raises(DatasetError, match="damaged"):
        write_page(tmp_path / "p.html", report, "title")
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
