"""Tutorials are followed from the first block to the last, as a reader follows them; the longer in tests/consumers."""

import re
from html.parser import HTMLParser
from pathlib import Path

from support.small import make_laptop_small
from support.tutorials import TUTORIALS, follow, is_shown, record_lake


def test_which_auxiliary_does_and_prints_what_it_shows(tmp_path, monkeypatch, capfd):
    """Those that train as shown are followed in tests/consumers."""
    follow("which-auxiliary", tmp_path, monkeypatch, capfd)


def test_a_model_of_ones_own_is_checked_on_a_dataset_of_minari(tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    record_lake(tmp_path)
    follow("own-encoder", tmp_path, monkeypatch, capfd, begin="## A dataset of Minari")


class Headings(HTMLParser):
    """The second-level headings of a page."""

    def __init__(self, text):
        super().__init__()
        self.found, self._open = [], False
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        """Begin a heading."""
        self._open = tag == "h2"

    def handle_data(self, data):
        """Take the text of a heading."""
        if self._open:
            self.found.append(data)
        self._open = False


def test_a_world_of_ones_own_is_trained_on_and_its_report_has_the_parts_that_are_explained(
    tmp_path, monkeypatch, capfd
):
    """Train a small network for a few updates; tests/consumers does it as it is shown."""
    make_laptop_small(monkeypatch, "optimization.updates=5")
    follow("your-world", tmp_path, monkeypatch, capfd, compared=False)
    follow("report", tmp_path, monkeypatch, capfd, compared=False)
    verdict, *explained = re.findall(r"^## (.*)", (TUTORIALS / "report.md").read_text(), re.M)
    assert verdict == "The verdict"
    assert Headings((tmp_path / "room.html").read_text()).found == explained


def test_every_tutorial_is_followed():
    tests = (Path(__file__), Path(__file__).parent / "consumers" / "test_tutorials.py")
    followed = re.findall(r'"([a-z]+(?:-[a-z]+)*)"', "".join(each.read_text() for each in tests))
    assert {page.stem for page in TUTORIALS.glob("*.md")} <= set(followed)


def test_text_that_was_not_printed_is_noticed():
    assert is_shown("b\n...\nd\n", "a\nb\nc\nd\ne\n")
    assert not is_shown("b\nd\n", "a\nb\nc\nd\n")
    assert not is_shown("d\n...\nb\n", "a\nb\nc\nd\n")
