"""The records in benchmarks/records are whole, of their studies, and enough for what reads them."""

import json
import math
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from pjepa_agent.cli.train import configure, make_parser
from pjepa_agent.runs.metrics import ACCURACY

from benchmarks.studies import diffusion, experiments, stability, unnormalized
from benchmarks.studies.records import CURVES, RECORDS, Records, Table

STUDIES = {
    "experiments": experiments.VARIANTS,
    "stability": stability.VARIANTS,
    "unnormalized": unnormalized.VARIANTS,
}
RECORDED = {study: (Records(RECORDS, study).runs(), Records(RECORDS, study).metrics()) for study in STUDIES}
RUNS = [pytest.param(study, *run, id=f"{study}-{run[0]}-{run[1]}") for study in STUDIES for run in RECORDED[study][0]]


@pytest.mark.parametrize(("study", "variant", "seed"), RUNS)
def test_a_record_is_of_a_finished_run_of_its_study(study, variant, seed):
    wanted = configure(make_parser().parse_args([*STUDIES[study][variant], "--seed", str(seed)]))
    assert Records(RECORDS, study).configuration(variant, seed) == wanted
    report = RECORDED[study][0][variant, seed]["report"]
    first, *_, last = RECORDED[study][1][variant, seed]
    assert (report["seed"], report["updates"]) == (seed, wanted.optimization.updates)
    assert (first["update"], last["update"]) == (0, wanted.optimization.updates)


@pytest.mark.parametrize(("study", "variant", "seed"), RUNS)
def test_the_curves_end_at_what_the_report_says(study, variant, seed):
    report = RECORDED[study][0][variant, seed]["report"]
    first, *_, last = RECORDED[study][1][variant, seed]
    for row, held_out in ((first, report["held_out"]["untrained"]), (last, report["held_out"]["trained"])):
        for name in CURVES:
            key = name.replace("theorem/", "theorem_").removeprefix("eval/")
            if not name.startswith("losses/"):
                known = math.nan if held_out[key] is None else held_out[key]
                # The report of a resumed run measures the untrained encoder anew, in another order of summation.
                assert row[name] == pytest.approx(known, rel=1e-5, nan_ok=True), name
    assert last[ACCURACY] == report["nearest_centroid_accuracy"]


@pytest.mark.parametrize("study", STUDIES)
def test_every_row_of_a_table_is_of_a_recorded_run(study):
    assert set(Table(RECORDS / f"{study}.csv").read()) == set(RECORDED[study][0])


@pytest.mark.parametrize("study", STUDIES)
def test_records_name_no_folder_of_the_machine_they_are_of(study):
    for run in RECORDED[study][0].values():
        for start in run["starts"]:
            words = start["command"].split()
            assert not any(Path(word.partition("=")[2] or word).is_absolute() for word in words), run["variant"]


@pytest.mark.parametrize("study", STUDIES)
def test_every_start_has_a_provenance(study):
    content = json.loads((RECORDS / f"{study}.json").read_text())
    numbers = {start["provenance"] for run in content["runs"] for start in run["starts"]}
    assert numbers == set(range(len(content["provenances"])))
    assert {"revision", "versions", "hardware"} <= set.intersection(*map(set, content["provenances"]))


def test_the_record_of_diffusion_is_whole():
    records = Table(RECORDS / diffusion.TABLE).read()
    assert set(records) == {(way, seed) for way in diffusion.WAYS for seed in (10, 11, 12)}
    updates = list(range(diffusion.EVERY, diffusion.UPDATES + 1, diffusion.EVERY))
    assert all([row["update"] for row in rows] == updates for rows in records.values())


def test_there_are_few_files_of_records():
    assert len(list(RECORDS.iterdir())) <= 24


def test_a_table_gives_back_its_rows_to_the_last_digit(tmp_path):
    table = Table(tmp_path / "new" / "table.csv")
    assert table.read() == {}
    rows = [{"update": 0, "a/b": 1 / 3, "c": 5e-324}, {"update": 20, "a/b": -0.1, "c": 1e300}]
    table.put(("with, comma", 3), rows)
    table.put(("other", 10), rows[:1])
    table.put(("other", 2), rows)
    table.put(("other", 10), rows[1:])
    assert table.read() == {("other", 2): rows, ("other", 10): rows[1:], ("with, comma", 3): rows}
    assert list(table.read()) == [("other", 2), ("other", 10), ("with, comma", 3)]


def test_a_measure_that_a_run_does_not_have_is_an_empty_cell(tmp_path):
    table = Table(tmp_path / "table.csv")
    runs = {("a", 0): [{"update": 0, "x": 1.0}], ("b", 0): [{"update": 0, "y": 0.0}, {"update": 1, "x": 2.0, "y": 3.0}]}
    for key, rows in runs.items():
        table.put(key, rows)
    assert table.read() == runs
    assert table.path.read_text().splitlines()[1:] == ["a,0,0,1.0,", "b,0,0,,0.0", "b,0,1,2.0,3.0"]


def test_runs_that_end_at_once_are_all_recorded(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        done = [pool.submit(Table(tmp_path / "t.csv").put, ("v", seed), [{"update": seed}]) for seed in range(24)]
    assert [each.result() for each in done] == [None] * 24
    assert Table(tmp_path / "t.csv").read() == {("v", seed): [{"update": seed}] for seed in range(24)}
