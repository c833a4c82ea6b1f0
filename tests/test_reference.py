"""The pages of the reference name everything that is public."""

import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
REFERENCE = ROOT / "docs" / "reference"


@pytest.mark.parametrize("name", ["counting_env", "bisim_theory", "pjepa_agent", "pjepa_agent.planning"])
def test_every_public_name_is_in_the_reference(name):
    module = importlib.import_module(name)
    text = (REFERENCE / f"{name.split('.')[0].replace('_', '-')}.md").read_text()
    paths = re.findall(r"^::: ([\w.]+)$", text, re.M)
    listed = [getattr(importlib.import_module(path.rpartition(".")[0]), path.rpartition(".")[2]) for path in paths]
    for public in module.__all__:
        assert any(getattr(module, public) is each for each in listed), public
