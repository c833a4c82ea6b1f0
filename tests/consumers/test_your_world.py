"""The tutorial on one's own world, as a stranger follows it, in an empty environment and an empty home."""

import json
import re
from pathlib import Path

import pytest
from support.empty_environment import install, make_environment, run
from support.tutorials import blocks, commands, is_shown

ROOT = Path(__file__).parents[2]
OF_A_PROCESSOR = r"\n *collapsed pairs, at most .*\n"
"""A line of the tutorial whose number depends on how a processor rounds."""


@pytest.fixture
def stranger(tmp_path):
    """The variables of a shell whose home and Python environment are empty."""
    return make_environment(tmp_path)


def test_the_tutorial_leads_from_an_installation_to_a_checked_encoder(tmp_path, stranger):
    folder, output = tmp_path / "work", ""
    folder.mkdir()
    for language, file, text in blocks(ROOT / "docs" / "tutorials" / "your-world.md"):
        if file:
            (folder / file).write_text(text)
        elif language == "python":
            run(["python", "-c", text], folder, stranger)
        elif language == "sh" and text.startswith("pip install "):
            wanted = [f"{ROOT}{each[1:]}" for each in commands(text)[0][2:]]
            install(wanted, tmp_path, stranger)
        elif language == "sh":
            for words in commands(text):
                output = run(words, folder, stranger)
        else:
            assert is_shown(re.sub(OF_A_PROCESSOR, "\n...\n", text), output), output
    report = json.loads((folder / "runs" / "room" / "report.json").read_text())
    assert report["held_out"]["trained"]["theorem_least_explained_share"] > 0.9
    html = (folder / "room.html").read_text(encoding="utf-8")
    assert "Holds." in html
    assert html.count("data:image/png") > 5  # the world's own frames along the witnesses
