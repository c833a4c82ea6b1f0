"""The pages have the tables that the records make."""

import json
import math
import re
import statistics
from pathlib import Path

import pytest
from pjepa_agent.runs.metrics import ACCURACY

from benchmarks.speed import throughput
from benchmarks.studies import (
    acting,
    diffusion,
    experiments,
    objectives,
    objectives_figure,
    objectives_tables,
    paper,
    planning,
    plateau,
    promise,
    recipes,
    stability,
    unnormalized,
)
from benchmarks.studies.promise_figure import alternative
from benchmarks.studies.promise_tables import kept_table, rows_of, unprotected_table
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


@pytest.mark.parametrize(("starts", "seeds"), [(["he-image-scale"], "0-4"), ([*plateau.STARTS], "0-1")])
def test_the_page_on_stability_has_the_plateaus_of_the_twin(starts, seeds):
    records = Records(RECORDS, "plateau", plateau.CURVES)
    study = Study(Path(), {start: plateau.VARIANTS[start] for start in starts}, seed_range(seeds), records)
    assert plateau.table(study) in (DOCS / "stability.md").read_text()


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


@pytest.fixture(scope="module")
def scale():
    return paper.PaperScale()


def test_the_page_of_results_has_the_runs_at_the_papers_scale_as_recorded(scale):
    page = " ".join((DOCS / "results.md").read_text().split())
    for make in (paper.course, paper.ends, paper.theorem):
        assert " ".join(make(scale).split()) in page
    before, first = scale.escape("exact", 0.9)
    rows = {int(row["update"]): row for row in scale.metrics["exact"]}
    rates = [row["charts/updates_per_second"] for row in scale.metrics["exact"]][2:-1]
    assert f"after a plateau of {before:,} updates" in page
    assert f"at update {first:,} accuracy is {rows[first][ACCURACY]:.3f}" in page
    assert f"{statistics.median(rates):.0f} updates a second each" in page
    best = scale.runs["exact"]["report"]
    assert f"{best['best_nearest_centroid_accuracy']:.3f} at its best" in page
    assert f"Figure 2 of exact at update {best['best_update']:,}" in page
    assert f"is at {scale.metrics['changed'][-1][ACCURACY]:.3f} after" in page


def test_until_the_escape_the_papers_network_knows_no_more_than_a_constant(scale):
    before, _ = scale.escape("exact", 0.9)
    plateau = [row for row in scale.metrics["exact"] if 0 < row["update"] <= before]
    share = 1 / 9
    constant = -share * math.log(share) - (1 - share) * math.log(1 - share)
    assert len(plateau) == 17
    for row in plateau:
        assert row["eval/auxiliary_loss"] > constant
        assert row["losses/auxiliary"] > 0.38
        assert row["eval/spread"] < 0.02


def test_the_account_of_the_plateau_has_the_recorded_numbers(scale):
    page = " ".join((DOCS / "stability.md").read_text().split())
    before, first = scale.escape("exact", 0.9)
    row = next(row for row in scale.metrics["exact"] if row["update"] == first)
    assert f"for {before:,} of them L_p, spread and accuracy" in page
    assert f"accuracy is {row[ACCURACY]:.3f} and within / across {row[paper.WITHIN_ACROSS]:.3f}" in page


def test_the_curves_at_the_papers_scale_are_drawn(scale, tmp_path):
    paper.draw(scale, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes()[:4] == b"\x89PNG"


def test_the_page_of_benchmarks_has_what_was_recorded_on_a_gpu():
    page = " ".join((DOCS / "benchmarks.md").read_text().split())
    record = json.loads(throughput.RECORD.read_text())
    assert " ".join(throughput.recorded_table(record).split()) in page
    profile, laptop = record["profile"], record["laptop"]
    update = statistics.mean(record["update_milliseconds"])
    device = profile["device_milliseconds"] / profile["updates"]
    assert f"bfloat16, {update:.1f} ms, the device works {device:.1f} ms" in page
    assert (
        f"ends after {laptop['seconds']:.0f} s there, at an accuracy of {laptop['nearest_centroid_accuracy']:.4f}"
        in page
    )
    rates = laptop["rates"][1:]
    assert f"then {min(rates):.0f} to {max(rates):.0f} updates a second" in page


def test_the_page_of_the_promise_has_the_tables_and_the_text_of_the_figure_that_the_records_make():
    page = (DOCS / "promise.md").read_text()
    found = promise.measures_of(Records(RECORDS, "promise"), promise.VARIANTS, seed_range("30-32"))
    assert {len(runs) for runs in found.values()} == {3}
    assert kept_table(found) in page
    assert unprotected_table(found) in page
    assert f"![{alternative(found)}]" in page
    rows = [row for runs in found.values() for run in runs for row in rows_of(run) if row.seen]
    explained = [row.separation for row in rows if row.explained and row.separation is not None]
    kept = sum(each >= 0.99 for each in explained)
    assert f"{kept} of {len(explained)} have a separation of 0.99 or more; the lowest has {min(explained):.2f}" in page


def test_the_page_of_planning_has_the_tables_that_the_records_make():
    page = (DOCS / "planning.md").read_text()
    known = Records(RECORDS, "planning", planning.CURVES).runs()
    assert {name for name, _ in known} == set(planning.VARIANTS)
    tables = planning.tables(known, list(planning.VARIANTS), seed_range("0-2"))
    assert len(tables) == 4
    for table in tables:
        assert table in page


def test_the_page_of_planning_has_the_curves_of_acting_that_the_records_make():
    page = (DOCS / "planning.md").read_text()
    records = Records(RECORDS, "acting", acting.CURVES)
    curves = acting.curves_of(records)
    seconds = {key: run["report"]["seconds"] for key, run in records.runs().items()}
    worlds = {name.partition("-")[0] for name, _ in curves}
    assert "counting" in worlds
    for world in worlds:
        assert acting.format_table(curves, seconds, world, seed_range("0-2")) in page


@pytest.mark.parametrize(("world", "number"), [("counting", 3), ("grid", 1)])
def test_the_page_on_objectives_has_the_tables_and_the_text_of_the_figure_that_the_records_make(world, number):
    page = (DOCS / "baselines.md").read_text()
    searches = objectives.searches_of(world, list(objectives.OBJECTIVES), RECORDS, Path())
    chosen = objectives.winners(searches)
    assert list(chosen) == list(objectives.OBJECTIVES)
    found = objectives.recorded_runs(world, chosen, Records(RECORDS, "objectives"), seed_range("40-44"))
    assert {name: len(runs) for name, runs in found.items()} == dict.fromkeys(chosen, 5)
    made = objectives_tables.tables(world, found)
    assert len(made) == number
    for table in (objectives_tables.chosen_table(chosen), *made):
        assert table in page
    assert f"![{objectives_figure.alternative(world, found)}]" in page
