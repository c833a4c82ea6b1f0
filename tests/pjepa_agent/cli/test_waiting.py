"""How PyTorch's threads wait for work."""

import os
import subprocess
import sys

import pytest
from pjepa_agent.cli.waiting import SPINS, wait_briefly


@pytest.mark.parametrize(
    ("given", "expected"),
    [({}, SPINS), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "active"}, None)],
)
def test_threads_sleep_soon_unless_the_environment_says_otherwise(monkeypatch, given, expected):
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    wait_briefly()
    assert os.environ.get("GOMP_SPINCOUNT") == expected


@pytest.mark.parametrize("command", ["train", "plan", "figure"])
def test_commands_say_so_before_pytorch_is_imported(command):
    """A command that ends at once, since what it is given does not exist, has said so and imported nothing."""
    code = f"""
import os, sys
os.environ.pop("GOMP_SPINCOUNT", None)
from pjepa_agent.cli import {command}
seen = []
def say():
    seen.append("torch" in sys.modules)
{command}.wait_briefly = say
try:
    {command}.main({[["--data", "missing.npz"], ["missing"], ["missing"]][["train", "plan", "figure"].index(command)]})
except SystemExit:
    pass
assert seen == [False], seen
"""
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, timeout=120)
