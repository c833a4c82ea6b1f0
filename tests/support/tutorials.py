"""The blocks of a tutorial, in the order in which a reader meets them, and what a reader does with them."""

import re
import shlex
from pathlib import Path
from typing import NamedTuple

import gymnasium
import numpy as np
from bisim_theory.cli import main as bisim_check
from pjepa_agent.cli.plan import main as pjepa_plan
from pjepa_agent.cli.train import main as pjepa_train

from support.written_datasets import write_minari

TUTORIALS = Path(__file__).parents[2] / "docs" / "tutorials"
COMMANDS = {"bisim-check": bisim_check, "pjepa-train": pjepa_train, "pjepa-plan": pjepa_plan}
VERDICTS = (0, 1, 3, 4)
"""Exit statuses of commands that answered."""

_BLOCK = re.compile(r"^```(\w+)(?: title=\"([^\"]+)\")?\n(.*?)^```", re.S | re.M)


class Block(NamedTuple):
    """A fenced block: its language, the file that it is to be saved as, and its text."""

    language: str
    file: str | None
    text: str


def blocks(page: Path, begin: str = "") -> list[Block]:
    """Return the blocks of a page, in order, from the first mention of `begin` on."""
    text = page.read_text()
    found = _BLOCK.findall(text[text.index(begin) :])
    return [Block(language, file or None, text) for language, file, text in found]


def record_lake(folder, episodes=200):
    """Write the dataset of a tutorial into a local store of Minari: random walks on FrozenLake, in one-hot vectors."""
    env, recorded = gymnasium.make("FrozenLake-v1", is_slippery=False), []
    env.action_space.seed(0)
    for seed in range(episodes):
        cells, rows = [env.reset(seed=seed)[0]], []
        while not rows or not any(rows[-1][2:]):
            action = env.action_space.sample()
            cell, reward, terminated, truncated, _ = env.step(action)
            cells.append(cell)
            rows.append((action, reward, terminated, truncated))
        columns = map(np.array, zip(*rows, strict=True))
        steps = dict(zip(("action", "reward", "terminated", "truncated"), columns, strict=True))
        recorded.append({"observation": np.eye(16, dtype=np.float32)[cells], **steps})
    write_minari(folder / "lake" / "random-v0", recorded)


def commands(text: str) -> list[list[str]]:
    """Split the text of a block into the words of its commands, one a line unless a backslash goes on."""
    return [shlex.split(line, comments=True) for line in text.replace("\\\n", " ").splitlines()]


def is_shown(text: str, output: str) -> bool:
    """Say whether an output has these words, in one piece but for lines of `...`, which stand for any others."""
    shown, begin = " ".join(output.split()), 0
    for piece in re.split(r"^\s*\.\.\.\n", text, flags=re.M):
        words = " ".join(piece.split())
        found = shown.find(words, begin)
        if found < 0:
            return False
        begin = found + len(words)
    return True


def follow(name, folder, monkeypatch, capfd, compared=True, begin=""):
    """Do what a tutorial shows from `begin` on, in a folder; `compared`, what it shows as printed has to be printed."""
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder)
    names, output = {"__name__": "tutorial"}, ""
    capfd.readouterr()
    for language, file, text in blocks(TUTORIALS / f"{name}.md", begin):
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
