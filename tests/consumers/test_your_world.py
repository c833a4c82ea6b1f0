"""docs/your-world.md, as a stranger follows it, in an empty environment and an empty home."""

import json
import re
import shlex
from pathlib import Path

import pytest
from support.empty_environment import make_environment, run

ROOT = Path(__file__).parents[2]


@pytest.fixture
def stranger(tmp_path):
    """The variables of a shell whose home and Python environment are empty."""
    return make_environment(tmp_path)


def test_the_page_leads_from_an_installation_to_a_checked_encoder(tmp_path, stranger):
    page = (ROOT / "docs" / "your-world.md").read_text(encoding="utf-8")
    lines = [shlex.split(line) for line in re.search(r"^```sh\n(.*?)^```", page, re.S | re.M)[1].splitlines()]
    install, train, check = lines
    assert install[:2] == ["pip", "install"]
    run(["uv", "pip", "install", "--python", tmp_path / "venv", "--quiet", *install[2:]], ROOT, stranger)
    told = run(train, tmp_path, stranger)
    assert re.search(r"p protects [\d,]+ of [\d,]+ pairs of \d+ observations", told)
    report = json.loads((tmp_path / "runs" / "grid" / "report.json").read_text())
    assert report["held_out"]["trained"]["theorem_least_explained_share"] > 0.9
    assert "Verdict: holds" in run(check, tmp_path, stranger)
    html = (tmp_path / "grid.html").read_text(encoding="utf-8")
    assert "Holds." in html
    assert html.count("data:image/png") > 5  # the world's own frames along the witnesses
