"""The commands of the benchmarks that the documents show."""

import importlib
import re
import shlex
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = [
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in sorted((ROOT / "benchmarks").rglob("*.py"))
    if "def main(" in path.read_text()
]
SHOWN = re.compile(r"uv run (?:--group \w+ )?python -m (benchmarks[^`\n]*)")
COMMANDS = [
    pytest.param(command, id=f"{path.name}-{number}")
    for path in [*sorted(ROOT.glob("docs/*.md")), ROOT / "benchmarks" / "README.md"]
    for number, command in enumerate(SHOWN.findall(path.read_text()))
]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_that_is_shown_has_its_options(command):
    module, *options = shlex.split(command, comments=True)
    module = module if module in MODULES else f"{module}.__main__"
    assert module in MODULES
    importlib.import_module(module).make_parser().parse_args(options)


@pytest.mark.parametrize("module", MODULES)
def test_every_command_is_in_the_readme(module):
    readme = (ROOT / "benchmarks" / "README.md").read_text()
    assert re.search(rf"`uv run (--group \w+ )?python -m {re.escape(module.removesuffix('.__main__'))}\b", readme)


def test_links_of_the_readme_lead_somewhere():
    readme = ROOT / "benchmarks" / "README.md"
    for target, section in re.findall(r"\]\(([^)#]+)#?([^)]*)\)", readme.read_text()):
        page = (readme.parent / target).read_text()
        titles = re.findall(r"^#+ (.*)", page, re.M)
        headings = [re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles]
        assert not section or section in headings, f"{target}#{section}"
