"""The rounds of refinement on Daft, in one process and on a Ray cluster of this machine."""

import json
import os
import subprocess
import sys
import time

import numpy as np
import pytest
from bisim_theory import analyse, to_json
from support.oracles import partly_known_dataset, random_dataset
from support.parquet_folders import write_parquet

from benchmarks.relation.cluster import ray_cluster

pytest.importorskip("daft")

WORLDS = {
    "several actions": lambda rng: random_dataset(rng, frames=300, actions=20, coverage=0.1),
    "trajectories": lambda rng: random_dataset(rng, frames=300, actions=2, one_action=True),
    "unknown p": lambda rng: partly_known_dataset(rng, 0.3, frames=200, actions=3),
}

PATIENCE = 300
"""Seconds that a run may take."""


def start(folder, out, spill, environment, backend="daft"):
    """Start `bisim-check` in a process of its own, as Daft chooses its runner once a process."""
    spill.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "bisim_theory", str(folder), "--backend", backend, "--json", str(out)]
    return subprocess.Popen(
        command,
        env=environment | {"TMPDIR": str(spill)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def answer(folder, tmp_path, environment=os.environ):
    """What `bisim-check` answers; it leaves nothing behind."""
    out, spill = tmp_path / "answer.json", tmp_path / "spill"
    process = start(folder, out, spill, environment)
    _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode in (0, 4), said
    assert [each.name for each in spill.iterdir() if each.name.startswith("bisim-check")] == []
    return told(out)


def told(out):
    found = json.loads(out.read_text())
    assert found.pop("backend") == "daft"
    return found


def in_memory(data):
    found = json.loads(json.dumps(to_json(analyse(data))))
    del found["backend"]
    return found


@pytest.mark.parametrize("world", WORLDS)
def test_daft_answers_as_memory_does(world, tmp_path):
    data = WORLDS[world](np.random.default_rng(0))
    assert answer(write_parquet(tmp_path / "data", data), tmp_path) == in_memory(data)


@pytest.fixture(scope="module")
def two_workers():
    with ray_cluster(2) as (reach, cluster, nodes):
        yield os.environ | reach, cluster, nodes


class TestOnRay:
    def test_two_workers_answer_as_memory_does(self, two_workers, tmp_path):
        environment, _, _ = two_workers
        data = WORLDS["several actions"](np.random.default_rng(1))
        assert answer(write_parquet(tmp_path / "data", data), tmp_path, environment) == in_memory(data)

    def test_a_worker_that_dies_costs_the_answer_or_nothing(self, two_workers, tmp_path):
        environment, cluster, nodes = two_workers
        data = WORLDS["trajectories"](np.random.default_rng(2))
        folder, out, spill = write_parquet(tmp_path / "data", data), tmp_path / "answer.json", tmp_path / "spill"
        process = start(folder, out, spill, environment)
        while not list(spill.glob("*/exchange/edge.parquet")) and process.poll() is None:
            time.sleep(0.05)  # until the rounds begin
        cluster.remove_node(nodes[0], allow_graceful=False)  # kills the processes of this node
        _, said = process.communicate(timeout=PATIENCE)
        if process.returncode == 0:
            assert told(out) == in_memory(data)
        else:
            assert process.returncode == 2
            (line,) = [each for each in said.splitlines() if each.startswith("bisim-check: error:")]
            assert "--backend daft: " in line
            assert "Traceback" not in said
        assert [each.name for each in spill.iterdir() if each.name.startswith("bisim-check")] == []
