"""What is published: distributions, their metadata, and READMEs that are read away from the repository."""

import importlib
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = {path.name: path for path in sorted((ROOT / "packages").iterdir()) if (path / "pyproject.toml").is_file()}


def project(path):
    return tomllib.loads((path / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def distributions(tmp_path_factory):
    """Build wheels and source distributions of all packages, without the network."""
    uv = shutil.which("uv")
    if uv is None:
        pytest.skip("runs where uv is on the PATH, as under `uv run pytest`")
    out = tmp_path_factory.mktemp("distributions")
    command = [uv, "build", "--quiet", "--all-packages", "--offline", "--no-build-isolation", "--out-dir", str(out)]
    done = subprocess.run([*command, "--python", sys.executable], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [path for path in out.iterdir() if path.suffix in (".whl", ".gz")]


@pytest.mark.slow
def test_every_package_builds_a_wheel_and_a_source_distribution_with_its_licence(distributions):
    licences = {}
    for path in distributions:
        if path.suffix == ".whl":
            with zipfile.ZipFile(path) as archive:
                (member,) = [name for name in archive.namelist() if name.endswith("/licenses/LICENSE")]
                licences[path.name] = archive.read(member).decode()
        else:
            with tarfile.open(path) as archive:
                (member,) = [name for name in archive.getnames() if name.count("/") == 1 and name.endswith("/LICENSE")]
                file = archive.extractfile(member)
                assert file is not None
                licences[path.name] = file.read().decode()
    assert len(licences) == 2 * len(PACKAGES)
    assert set(licences.values()) == {(ROOT / "LICENSE").read_text()}


@pytest.mark.slow
@pytest.mark.parametrize("path", PACKAGES.values(), ids=PACKAGES)
def test_both_distributions_hold_every_file_of_the_package(distributions, path):
    tracked = subprocess.run(["git", "ls-files", "src"], cwd=path, capture_output=True, text=True, check=True)
    files = {name.removeprefix("src/") for name in tracked.stdout.splitlines()}
    assert f"{path.name.replace('-', '_')}/py.typed" in files
    wheel, source = sorted(
        (each for each in distributions if each.name.startswith(path.name.replace("-", "_"))),
        key=lambda each: each.suffix != ".whl",
    )
    with zipfile.ZipFile(wheel) as archive:
        assert files - set(archive.namelist()) == set()
    with tarfile.open(source) as archive:
        assert files - {name.partition("/src/")[2] for name in archive.getnames()} == set()


@pytest.mark.slow
def test_a_package_index_can_show_every_description(distributions):
    command = [sys.executable, "-m", "twine", "check", "--strict", *map(str, distributions)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_all_packages_have_one_version():
    versions = {name: importlib.import_module(name.replace("-", "_")).__version__ for name in PACKAGES}
    root = project(ROOT)["version"]
    assert set(versions.values()) == {root}, versions
    assert re.search(rf"^version: {re.escape(root)}$", (ROOT / "CITATION.cff").read_text(), re.M)
    assert f"## {root}" in (ROOT / "CHANGELOG.md").read_text()


@pytest.mark.parametrize("path", PACKAGES.values(), ids=PACKAGES)
def test_metadata_says_who_wrote_it_and_for_which_python(path):
    metadata = project(path)
    assert metadata["authors"] == [{"name": "pjepa developers"}]
    assert metadata["dynamic"] == ["version"]
    lowest = re.fullmatch(r">=(3\.\d+)", metadata["requires-python"])
    assert lowest is not None
    assert f"Programming Language :: Python :: {lowest[1]}" in metadata["classifiers"]
    assert "Typing :: Typed" in metadata["classifiers"]
    assert (path / "src" / path.name.replace("-", "_") / "py.typed").is_file()


@pytest.mark.parametrize("path", PACKAGES.values(), ids=PACKAGES)
def test_links_of_a_package_readme_work_away_from_the_repository(path):
    text = (path / "README.md").read_text()
    titles = re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```", "", text, flags=re.S | re.M), re.M)
    anchors = {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        assert target.startswith("https://") or target.removeprefix("#") in anchors, target


def test_every_extra_is_explained_where_extras_are():
    for path in PACKAGES.values():
        text = (path / "README.md").read_text()
        for extra in project(path).get("optional-dependencies", {}):
            assert f"`{extra}`" in text, (path.name, extra)
