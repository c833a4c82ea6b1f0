"""Wheels and source distributions in empty environments of every Python that the packages are for."""

import json
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
from bisim_theory.cli import EXIT_STATUS
from support.empty_environment import find_python, install, make_environment, run

ROOT = Path(__file__).parents[2]
PACKAGES = ("bisim-theory", "counting-env", "pjepa-agent")
CLASSIFIERS = tomllib.loads((ROOT / "packages/pjepa-agent/pyproject.toml").read_text())["project"]["classifiers"]
VERSIONS = [each.rpartition(" ")[2] for each in CLASSIFIERS if each.startswith("Programming Language :: Python :: 3.")]

MADE = """\
import gymnasium, counting_env, bisim_theory, pjepa_agent
image, info = gymnasium.make("CountingEnv-v0").reset(seed=0)
assert image.shape == (64, 64, 3), image.shape
print(*(package.__file__ for package in (counting_env, bisim_theory, pjepa_agent)), sep="\\n")
"""

SMALL = [
    "--updates", "4", "--optimization.batch-size", "16", "--collection.transitions", "300", "--network.width", "4",
    "--evaluation.reference-per-count", "8", "--evaluation.scored-per-count", "8", "--evaluation.probe-per-count", "8",
    "--evaluation.transitions", "60", "--device", "cpu",
]  # fmt: skip


@pytest.fixture(scope="module")
def distributions(tmp_path_factory):
    """Folder of the wheels and source distributions of all packages."""
    out = tmp_path_factory.mktemp("distributions")
    subprocess.run(["uv", "build", "--quiet", "--all-packages", "--out-dir", str(out)], cwd=ROOT, check=True)
    return out


@pytest.fixture(scope="module")
def constraints(tmp_path_factory):
    """File of the versions that uv.lock has, which are the same for every Python."""
    path = tmp_path_factory.mktemp("constraints") / "constraints.txt"
    command = ["uv", "export", "--quiet", "--frozen", "--no-hashes", "--no-emit-workspace", "--all-packages"]
    subprocess.run([*command, "--no-default-groups", "--output-file", str(path)], cwd=ROOT, check=True)
    return path


@pytest.fixture
def environment(tmp_path, request):
    """Variables of a shell with an empty environment of the Python that the test names, removed afterwards."""
    version = getattr(request, "param", VERSIONS[-1])
    python = find_python(version)
    if python is None:
        pytest.skip(f"runs where Python {version} is installed, on the PATH or by pyenv")
    try:
        yield make_environment(tmp_path, python)
    finally:
        shutil.rmtree(tmp_path / "venv", ignore_errors=True)


@pytest.mark.parametrize("environment", VERSIONS, indirect=True)
def test_wheels_in_an_empty_environment_train_and_check(environment, distributions, constraints, tmp_path):
    install(["--constraints", constraints, *distributions.glob("*.whl")], tmp_path, environment)
    for path in run(["python", "-c", MADE], tmp_path, environment).splitlines():
        assert Path(path).is_relative_to(tmp_path / "venv"), path
    told = run(["pjepa-train", "--run-dir", "made", *SMALL], tmp_path, environment)
    assert "next: bisim-check made" in told
    check = ["bisim-check", "made", "--json", "check.json", "--html", "check.html"]
    status = subprocess.run(check, cwd=tmp_path, env=environment, capture_output=True).returncode
    found = json.loads((tmp_path / "check.json").read_text())
    assert found["transitions"] == 300
    assert status == EXIT_STATUS[found["verdict"]]
    assert found["verdict"] != "relation-only"  # so the representation was checked
    assert "data:image/png" in (tmp_path / "check.html").read_text()


def test_source_distributions_install_the_files_of_the_wheels(environment, distributions, tmp_path):
    def installed(files):
        install(["--no-deps", "--reinstall", *files], tmp_path, environment)
        (packages,) = (tmp_path / "venv").glob("lib/python*/site-packages")
        return {
            path.relative_to(packages): path.read_bytes()
            for path in packages.rglob("*")
            if path.is_file() and path.relative_to(packages).parts[0].split("-")[0] in names
            if path.suffix not in (".pyc", ".json") and path.name != "RECORD"  # which say how they were installed
        }

    names = {name.replace("-", "_") for name in PACKAGES}
    sources = sorted(distributions.glob("*.tar.gz"))
    assert len(sources) == len(PACKAGES)
    of_sources = installed(sources)
    assert {path.suffix for path in of_sources} >= {".py", ".j2", ".css", ".typed"}
    assert of_sources == installed(sorted(distributions.glob("*.whl")))


@pytest.mark.parametrize("environment", ["3.10"], indirect=True)
def test_an_older_python_is_refused_by_name(environment, distributions, tmp_path):
    wheels = sorted(distributions.glob("*.whl"))
    told = run(["python", "-m", "pip", "install", "--no-deps", *wheels], tmp_path, environment, status=1)
    assert "requires a different Python: 3.10" in told
    assert "not in '>=3.11'" in told
    run(["python", "-c", "import bisim_theory"], tmp_path, environment, status=1)
