"""The pages have the tables that the records make."""

import re
from pathlib import Path

import pytest
from pjepa_agent.runs.metrics import ACCURACY

from benchmarks.studies import diffusion, experiments, recipes, stability, unnormalized
from benchmarks.studies.records import RECORDS, Records, Table
from benchmarks.studies.study import Study
from benchmarks.tables import seed_range, spread

DOCS = Path(__file__).parents[3] / "docs"


def recorded(name, variants, seeds):
    return Study(Path(), variants, seed_range(seeds), Records(RECORDS, name))


def test_the_page_on_stability_has_the_tables_that_the_records_make():
    page = (DOCS / "stability.md").read_text()
    assert stability.table(recorded("stability", stability.LEVERS, "10-12").groups()) in page
    assert diffusion.table(Table(RECORDS / diffusion.TABLE), seed_range("10-12")) in page
    commands = re.findall(r"unnormalized(?: --seeds (\S+))? --only (.*)", page)
    assert {name for _, names in commands for name in names.split()} == set(unnormalized.VARIANTS)
    for seeds, names in commands:
        variants = {name: unnormalized.VARIANTS[name] for name in names.split()}
        assert unnormalized.table(recorded("unnormalized", variants, seeds or "10-12")) in page, names


def test_the_page_of_results_has_the_tables_that_the_records_make(capsys):
    page = (DOCS / "results.md").read_text()
    experiments.print_tables(recorded("experiments", experiments.VARIANTS, "0-4"))
    tables = capsys.readouterr().out.strip().split("\n\n")
    assert len(tables) == 6
    for table in tables:
        assert table in page
    assert stability.table(recorded("stability", {"default": []}, "10-14").groups()) in page


def test_the_page_of_other_worlds_has_the_tables_that_the_records_make():
    page = (DOCS / "your-world.md").read_text()
    known = Records(RECORDS, "recipes").runs()
    for names in (recipes.VARIANTS, (recipes.ABLATED, *recipes.ABLATIONS)):
        assert recipes.table(known, list(names), seed_range("0-2")) in page


@pytest.mark.parametrize(
    ("variant", "row"), [("default", "the default"), ("without-fast-paths", "all of this off, but for `joint_batch`")]
)
def test_the_page_of_benchmarks_has_the_accuracies_that_the_records_have(variant, row):
    page = (DOCS / "benchmarks.md").read_text()
    runs = recorded("stability", {variant: []}, "10-12").metrics(variant)
    updates = [int(update) for update in re.search(r"\| updates \|(.*)\|", page)[1].split("|")]
    cells = [spread([each[ACCURACY] for run in runs for each in run if each["update"] == update]) for update in updates]
    assert f"| {row} | {' | '.join(cells)} |" in page
