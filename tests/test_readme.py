"""What the documents show is run here as it stands."""

import re
import runpy
from pathlib import Path

import numpy as np
import pytest
from bisim_theory.cli import make_parser as bisim_check_parser
from pjepa_agent.cli.curves import make_parser as pjepa_curves_parser
from pjepa_agent.cli.figure import make_parser as pjepa_figure_parser
from pjepa_agent.cli.plan import make_parser as pjepa_plan_parser
from pjepa_agent.cli.train import make_parser as pjepa_train_parser
from support.corridor import walks
from support.models import Flat
from support.small import SMALL, make_laptop_small
from support.tutorials import commands

ROOT = Path(__file__).parent.parent
DOCUMENTS = [ROOT / "README.md", *sorted(ROOT.glob("packages/*/README.md")), *sorted(ROOT.glob("docs/**/*.md"))]
PARSERS = {
    "bisim-check": bisim_check_parser,
    "pjepa-curves": pjepa_curves_parser,
    "pjepa-figure": pjepa_figure_parser,
    "pjepa-plan": pjepa_plan_parser,
    "pjepa-train": pjepa_train_parser,
}


def blocks(language):
    return list(_blocks(language))


def _blocks(language):
    for path in DOCUMENTS:
        if language == "python" and path.parent.name == "tutorials":
            continue  # test_tutorials.py runs these, each page as one
        found = re.findall(rf"^```{language}\n(.*?)^```", path.read_text(), re.S | re.M)
        for number, code in enumerate(found):
            yield pytest.param(code, id=f"{path.relative_to(ROOT)}-{number}")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a small trained run where the documents say runs/NAME."""
    from pjepa_agent.config.presets import make_config
    from pjepa_agent.run import train_run
    from pjepa_agent.runs.directory import RunDirectory

    path = tmp_path_factory.mktemp("readme")
    config = make_config(updates=2).override(SMALL)
    train_run(RunDirectory.create(path / "runs" / "NAME", config), config, "cpu")
    return path


@pytest.mark.parametrize("code", blocks("python"))
def test_python_snippets_run(code, folder, small_preset, monkeypatch):
    monkeypatch.chdir(folder)
    rng = np.random.default_rng(0)
    names = {
        "images": rng.integers(256, size=(4, 64, 64, 3)).astype(np.uint8),
        "f": lambda images: images.reshape(len(images), -1)[:, :5].astype(np.float32),
        "g": lambda z, action: z + action,
        "h": lambda z: z[:, 0],
        "data": walks(),
        "my_module": Flat(),
    }
    exec(compile(code, "<snippet>", "exec"), names)


@pytest.mark.parametrize("code", blocks("sh"))
def test_commands_have_the_options_that_are_shown(code):
    for words in commands(code):
        for name, make_parser in PARSERS.items():
            if name in words:
                make_parser().parse_args(words[words.index(name) + 1 :])


def test_ci_runs_the_readmes_test_command():
    ci = (ROOT / ".ci" / "run").read_text()
    assert "pip install uv && uv run pytest" in (ROOT / "README.md").read_text()
    assert re.search(r"pip install .*uv\nuv run pytest$", ci.strip())


def test_ci_runs_the_tests_that_need_other_peoples_stacks():
    assert (ROOT / ".ci" / "consumers").read_text().endswith("\nuv run --group consumers pytest tests/consumers\n")


def test_links_and_pictures_of_the_documents_exist():
    for path in DOCUMENTS:
        for target in re.findall(r"\]\(([^)#]+)", path.read_text()):
            assert (path.parent / target).exists(), f"{path.name}: {target}"


@pytest.fixture
def small_preset(monkeypatch):
    """The laptop preset made so small that an example takes seconds."""
    make_laptop_small(monkeypatch, "optimization.batch_size=64", "optimization.updates=5")


def example(name):
    return runpy.run_path(str(ROOT / "examples" / f"{name}.py"))["main"]


def test_the_example_trains_loads_and_checks(tmp_path, small_preset, capsys):
    example("train_and_check")(tmp_path / "run", 5)
    shown = capsys.readouterr().out
    assert "embeddings of the first images: (8, 16)" in shown
    assert "Verdict: " in shown


def test_the_example_of_theorem_1_sees_the_whole_world(tmp_path, small_preset, capsys):
    example("theorem_1")(tmp_path / "run", 6, 2)
    shown = capsys.readouterr().out
    assert "65 observations, 130 transitions; B* has 9 classes" in shown
    assert [f"level {level}: " in shown for level in range(1, 7)] == [True] * 5 + [False]
    assert "smallest distance in R*: " in shown
    assert "Theorem 1: " in shown


def test_the_example_of_a_collapse_names_the_pair(capsys):
    example("watch_a_collapse")()
    alone, with_reward = capsys.readouterr().out.split("\n\n")[1:]
    last = {name: text.splitlines()[-2].split() for name, text in (("alone", alone), ("with", with_reward))}
    assert float(last["alone"][1]) > 3.9  # RankMe, of 4
    assert int(last["alone"][5]) > 0
    assert int(last["with"][5]) == 0
    assert re.search(
        r"closest: observations \d+ \(place (\d), lamp 0\) and \d+ \(place \1, lamp 1\) .* p \(reward\)", alone
    )


def test_files_that_the_architecture_names_exist():
    """A path is named from a package's folder, a module's own folder or the one above it."""
    found = [path for pattern in ("packages/*/src/**/*.py", "tests/*.py") for path in ROOT.glob(pattern)]
    files = {f"/{path.relative_to(ROOT)}" for path in found}
    named = re.findall(r"`([\w/]+\.py)`", (ROOT / "docs" / "architecture.md").read_text())
    assert len(named) > 40
    for name in named:
        assert any(file.endswith(f"/{name}") for file in files), name
