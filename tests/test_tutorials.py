"""Every tutorial is followed here from its first block to its last, as its reader follows it."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from bisim_theory.cli import main as bisim_check
from pjepa_agent.cli.plan import main as pjepa_plan
from pjepa_agent.cli.train import main as pjepa_train
from pjepa_agent.config import presets
from support.small import SMALL
from support.tutorials import blocks, commands, is_shown

TUTORIALS = Path(__file__).parent.parent / "docs" / "tutorials"
COMMANDS = {"bisim-check": bisim_check, "pjepa-train": pjepa_train, "pjepa-plan": pjepa_plan}
VERDICTS = (0, 1, 3, 4)
"""Exit statuses of commands that answered."""


def follow(name, folder, monkeypatch, capfd, compared=True):
    """Do what a tutorial shows, in a folder; `compared`, what it shows as printed has to be what is printed."""
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder)
    names, output = {"__name__": "tutorial"}, ""
    capfd.readouterr()
    for language, file, text in blocks(TUTORIALS / f"{name}.md"):
        if file:
            (folder / file).write_text(text)
        elif language == "python":
            exec(compile(text, f"<{name}>", "exec"), names)
        elif language == "sh":
            for command, *arguments in commands(text):
                if command != "pip":
                    assert COMMANDS[command](arguments) in VERDICTS, (command, arguments, capfd.readouterr())
            output = "".join(capfd.readouterr())
        elif language == "text" and compared:
            assert is_shown(text, output), output


@pytest.mark.parametrize("name", ["which-auxiliary", "own-encoder", "plan"])
def test_a_tutorial_does_and_prints_what_it_shows(name, tmp_path, monkeypatch, capfd):
    follow(name, tmp_path, monkeypatch, capfd)


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
    small = presets.PRESETS["laptop"].override([*SMALL, "optimization.updates=5"])
    monkeypatch.setattr(presets, "PRESETS", {"laptop": small})
    follow("your-world", tmp_path, monkeypatch, capfd, compared=False)
    follow("report", tmp_path, monkeypatch, capfd, compared=False)
    verdict, *explained = re.findall(r"^## (.*)", (TUTORIALS / "report.md").read_text(), re.M)
    assert verdict == "The verdict"
    assert Headings((tmp_path / "room.html").read_text()).found == explained


def test_every_tutorial_is_followed():
    followed = re.findall(r'"([a-z]+(?:-[a-z]+)*)"', Path(__file__).read_text())
    assert {page.stem for page in TUTORIALS.glob("*.md")} <= set(followed)


def test_text_that_was_not_printed_is_noticed():
    assert is_shown("b\n...\nd\n", "a\nb\nc\nd\ne\n")
    assert not is_shown("b\nd\n", "a\nb\nc\nd\n")
    assert not is_shown("d\n...\nb\n", "a\nb\nc\nd\n")
