"""Format a report as text, JSON or an HTML page."""

from typing import Any

from bisim_theory import _aliases


def __getattr__(name: str) -> Any:
    return _aliases.moved(__name__, name)
