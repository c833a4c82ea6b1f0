"""The runner behind the studies in benchmarks/: what is finished is not trained again, and nothing else is mixed in."""

import dataclasses
import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from bisim_theory import write_transitions
from pjepa_agent.cli.train import configure, make_parser
from pjepa_agent.config.presets import LAPTOP
from pjepa_agent.evaluation.compactness import read_groups
from pjepa_agent.model import PJEPA
from pjepa_agent.runs.directory import RunDirectory
from pjepa_agent.runs.metrics import MetricsFile
from pjepa_agent.training.trainer import Training, collect_dataset
from torch import nn

from benchmarks.studies import diffusion, experiments, stability, unnormalized
from benchmarks.studies.stability import LEVERS
from benchmarks.studies.study import RECORDS, Study, settings
from benchmarks.tables import markdown, seed_range, spread

STUDIES = {
    "experiments": experiments.VARIANTS,
    "stability": stability.VARIANTS,
    "unnormalized": unnormalized.VARIANTS,
}

SMALL = [
    part
    for each in (
        "collection.transitions=200", "network.width=4", "network.latent_dim=16", "network.hidden_dim=32",
        "optimization.batch_size=16", "evaluation.reference_per_count=4", "evaluation.scored_per_count=30",
        "evaluation.transitions=120", "evaluation.probe_per_count=0", "evaluation.batch_norm_samples=0",
    )
    for part in ("--set", each)
]  # fmt: skip


@pytest.mark.slow
def test_a_study_trains_and_records_what_is_missing(tmp_path, capfd):
    runs, records = tmp_path / "runs", tmp_path / "records"

    def study(updates=2):
        variants = {"short": [*SMALL, "--updates", str(updates)]}
        return Study(runs, variants, [3], records, lambda path: {"run": path.name})

    study().complete(lanes=2)
    (report,) = study().reports("short")
    assert (report["seed"], report["updates"]) == (3, 2)
    assert study().measures("short") == [{"run": "short-3"}]
    assert [path.name for path in records.iterdir()] == ["short-3"]
    assert [row["update"] for row in read_groups(study().records("short"))[0].metrics[0].rows] == [0, 2]
    assert capfd.readouterr().err.count("trained (") == 1

    # One that was stopped before its report is continued, not begun anew.
    (runs / "short-3" / "report.json").unlink()
    shutil.rmtree(records)
    config = (runs / "short-3" / "config.json").stat().st_mtime_ns
    study().complete(lanes=1)
    again = study().reports("short")[0]
    assert again["nearest_centroid_accuracy"] == report["nearest_centroid_accuracy"]
    assert (runs / "short-3" / "config.json").stat().st_mtime_ns == config

    # Of a recorded run nothing else is needed, on whatever machine it was.
    shutil.rmtree(runs)
    capfd.readouterr()
    study().complete(lanes=1)
    assert capfd.readouterr().err == ""
    assert list(runs.iterdir()) == []

    with pytest.raises(SystemExit, match="has another configuration than this study"):
        study(updates=3).complete(lanes=1)


def test_a_run_that_fails_is_named_and_not_recorded(tmp_path):
    (tmp_path / "bad-0").mkdir()
    (tmp_path / "bad-0" / "mine.txt").write_text("mine")
    with pytest.raises(SystemExit, match=r"not trained: .*bad-0"):
        Study(tmp_path, {"bad": SMALL}, [0], tmp_path / "records").complete(lanes=1)
    assert [path.name for path in (tmp_path / "bad-0").iterdir()] == ["mine.txt"]
    assert not (tmp_path / "records").exists()


@pytest.mark.parametrize(
    "path", [path for study in STUDIES for path in sorted((RECORDS / study).glob("[!.]*"))], ids=lambda path: path.name
)
def test_a_record_is_of_a_finished_run_of_its_study(path):
    variant, seed = path.name.rsplit("-", 1)
    wanted = configure(make_parser().parse_args([*STUDIES[path.parent.name][variant], "--seed", seed]))
    assert RunDirectory.open(path)[1] == wanted
    assert json.loads((path / "report.json").read_text())["updates"] == wanted.optimization.updates
    assert MetricsFile(path / "metrics.csv", until=10**9).rows[-1]["update"] == wanted.optimization.updates


def test_records_name_no_folder_of_the_machine_they_are_of():
    for path in RECORDS.glob("*/*/provenance.json"):
        for start in json.loads(path.read_text()):
            assert not any(Path(word.partition("=")[2] or word).is_absolute() for word in start["command"].split()), (
                path
            )


def test_the_darkest_are_those_with_the_darkest_objects():
    """Of ten colours of every count the two darkest are embedded at another's place, and none of the empty ones."""
    counts = np.tile(np.repeat([0, 1, 2], 10), 2)
    color = np.tile(np.arange(10), 6)
    images = np.zeros((60, 4, 4, 3), np.uint8)
    images[counts > 0, 1, 2] = 20 * (color[counts > 0, None] + 1)
    scored = np.arange(60) >= 30
    wrong = scored & (color < 2) & (counts > 0)
    embedding = np.eye(3)[np.where(wrong, (counts + 1) % 3, counts)]
    held_out = SimpleNamespace(images=images, counts=counts, scored=scored)
    assert unnormalized.darkest(held_out, embedding) == 0
    assert unnormalized.darkest(held_out, np.eye(3)[counts]) == 1


@pytest.mark.slow
def test_a_run_is_continued_in_each_way_from_one_state(tmp_path, monkeypatch):
    """Without a rate nothing moves; without a loss the other alone is minimised; nothing is written into the run."""
    path = tmp_path / "run"
    config = configure(
        make_parser().parse_args([*SMALL, *settings("optimization.schedule=constant"), "--updates", "3"])
    )
    run, data = RunDirectory.create(path, config), collect_dataset(config)
    write_transitions(run.transitions, data)
    Training(config, run, data, torch.device("cpu")).train()
    before = {file.name: file.read_bytes() for file in path.iterdir() if file.is_file()}
    monkeypatch.setattr(diffusion, "UPDATES", 4)
    monkeypatch.setattr(diffusion, "EVERY", 2)
    rows = {name: diffusion.follow(path, way) for name, way in diffusion.WAYS.items()}
    assert {len(each) for each in rows.values()} == {2}
    moved = {name: each[-1]["moved"] for name, each in rows.items()}
    assert moved.pop("no-rate") == 0
    assert moved["tenth-of-the-rate"] < 0.3 * moved["as-it-was"]
    assert min(moved.values()) > 0
    without = [rows[name][-1]["transition"] for name in ("without-auxiliary-loss", "without-transition-loss")]
    assert without[0] < rows["as-it-was"][-1]["transition"] < without[1]
    assert {file.name: file.read_bytes() for file in path.iterdir() if file.is_file()} == before


def test_exact_statistics_are_those_of_all_observations():
    """The first layer's are the mean over batches of what its input is there, and the weights stay as they were."""
    torch.manual_seed(0)
    model = PJEPA(dataclasses.replace(LAPTOP, network=dataclasses.replace(LAPTOP.network, width=4)))
    frames = torch.randint(0, 256, (600, 64, 64, 3), dtype=torch.uint8)
    inputs = []
    exact = diffusion.with_exact_statistics(model, frames, batches=2)
    first, layer = (next(m for m in each.modules() if isinstance(m, nn.BatchNorm2d)) for each in (exact, model))
    layer.register_forward_pre_hook(lambda module, arguments: inputs.append(arguments[0]))
    with torch.no_grad():
        for batch in torch.randperm(600, generator=torch.Generator().manual_seed(0))[:512].split(256):
            model.encoder(frames[batch])
    mean = torch.stack([each.mean((0, 2, 3)) for each in inputs]).mean(0)
    torch.testing.assert_close(first.running_mean, mean, rtol=1e-4, atol=1e-5)
    assert not torch.equal(first.running_mean, layer.running_mean)
    for ours, theirs in zip(exact.parameters(), model.parameters(), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("path", sorted((RECORDS / "diffusion").glob("*.json")), ids=lambda path: path.name)
def test_a_record_of_diffusion_is_whole(path):
    assert path.stem.rpartition("-")[0] in diffusion.WAYS
    assert len(json.loads(path.read_text())) == diffusion.UPDATES / diffusion.EVERY


def test_the_page_on_stability_has_the_tables_that_the_records_make():
    page = (Path(__file__).parents[3] / "docs" / "stability.md").read_text()
    levers = Study(Path(), LEVERS, seed_range("10-12"), RECORDS / "stability")
    assert stability.table(levers.groups()) in page
    assert diffusion.table(RECORDS / "diffusion", seed_range("10-12")) in page
    commands = re.findall(r"unnormalized(?: --seeds (\S+))? --only (.*)", page)
    assert {name for _, names in commands for name in names.split()} == set(unnormalized.VARIANTS)
    for seeds, names in commands:
        variants = {name: unnormalized.VARIANTS[name] for name in names.split()}
        study = Study(Path(), variants, seed_range(seeds or "10-12"), RECORDS / "unnormalized")
        assert unnormalized.table(study) in page, names


def test_tables():
    assert seed_range("3") == [3]
    assert seed_range("0-2") == [0, 1, 2]
    assert spread([1.0, 3.0, None], ".1f") == "2.0 (1.0 to 3.0)"
    assert (spread([2.0, 2.0], ".1f"), spread([])) == ("2.0", "")
    assert markdown(["a", "b"], [["1", "2"]]) == "| a | b |\n| --- | --- |\n| 1 | 2 |"


def test_every_lever_is_another_run_of_the_same_size():
    default, *others = [configure(make_parser().parse_args(options)) for options in LEVERS.values()]
    assert default == LAPTOP
    assert len({str(config) for config in others} - {str(default)}) == len(others)
    for name, config in zip(list(LEVERS)[1:], others, strict=True):
        observations = config.optimization.batch_size * (1 + config.objective.horizon) * config.optimization.updates
        assert observations / (256 * 2 * 1_000) == pytest.approx(1, rel=0.01), name
