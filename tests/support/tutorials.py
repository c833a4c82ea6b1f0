"""The blocks of a tutorial, in the order in which a reader meets them."""

import re
import shlex
from pathlib import Path
from typing import NamedTuple

_BLOCK = re.compile(r"^```(\w+)(?: title=\"([^\"]+)\")?\n(.*?)^```", re.S | re.M)


class Block(NamedTuple):
    """A fenced block: its language, the file that it is to be saved as, and its text."""

    language: str
    file: str | None
    text: str


def blocks(page: Path) -> list[Block]:
    """Return the blocks of a page, in order."""
    return [Block(language, file or None, text) for language, file, text in _BLOCK.findall(page.read_text())]


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
