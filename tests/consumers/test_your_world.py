"""docs/your-world.md, as a stranger follows it, in an empty environment and an empty home."""

import json
import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run(words, folder, environment):
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, f"{shlex.join(words)}\n{done.stdout}{done.stderr}"
    return done.stdout + done.stderr


@pytest.fixture
def stranger(tmp_path):
    """The variables of a shell whose home and Python environment are empty."""
    subprocess.run(["uv", "venv", "--quiet", "--seed", str(tmp_path / "venv")], check=True)
    path = f"{tmp_path / 'venv' / 'bin'}{os.pathsep}{os.environ['PATH']}"
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    cache = subprocess.run(["uv", "cache", "dir"], capture_output=True, text=True, check=True).stdout.strip()
    (tmp_path / "home").mkdir()
    return {**kept, "PATH": path, "HOME": str(tmp_path / "home"), "UV_CACHE_DIR": cache}


def test_the_page_leads_from_an_installation_to_a_checked_encoder(tmp_path, stranger):
    page = (ROOT / "docs" / "your-world.md").read_text(encoding="utf-8")
    lines = [shlex.split(line) for line in re.search(r"^```sh\n(.*?)^```", page, re.S | re.M)[1].splitlines()]
    install, train, check = lines
    assert install[:2] == ["pip", "install"]
    # uv takes from its cache what pip would download once more.
    run(["uv", "pip", "install", "--python", str(tmp_path / "venv"), "--quiet", *install[2:]], ROOT, stranger)
    told = run(train, tmp_path, stranger)
    assert re.search(r"p protects [\d,]+ of [\d,]+ pairs of \d+ observations", told)
    report = json.loads((tmp_path / "runs" / "grid" / "report.json").read_text())
    assert report["held_out"]["trained"]["theorem_least_explained_share"] > 0.9
    assert "Verdict: holds" in run(check, tmp_path, stranger)
    html = (tmp_path / "grid.html").read_text(encoding="utf-8")
    assert "Holds." in html
    assert html.count("data:image/png") > 5  # the world's own frames along the witnesses
