"""The rounds of refinement on Daft."""

import json
import subprocess
import sys

import numpy as np
import pytest
from bisim_theory import analyse, to_json
from support.oracles import partly_known_dataset, random_dataset
from support.parquet_folders import write_parquet

pytest.importorskip("daft")

WORLDS = {
    "several actions": lambda rng: random_dataset(rng, frames=300, actions=20, coverage=0.1),
    "trajectories": lambda rng: random_dataset(rng, frames=300, actions=2, one_action=True),
    "unknown p": lambda rng: partly_known_dataset(rng, 0.3, frames=200, actions=3),
}


def answer(folder, backend, tmp_path):
    """What `bisim-check` answers in a process of its own, as Daft chooses its runner once a process."""
    out = tmp_path / f"{backend}.json"
    command = [sys.executable, "-m", "bisim_theory", str(folder), "--backend", backend, "--json", str(out)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    found = json.loads(out.read_text())
    assert found.pop("backend") == backend
    return found


@pytest.mark.parametrize("world", WORLDS)
def test_daft_answers_as_memory_does(world, tmp_path):
    data = WORLDS[world](np.random.default_rng(0))
    folder = write_parquet(tmp_path / "data", data)
    in_memory = json.loads(json.dumps(to_json(analyse(data))))
    del in_memory["backend"]
    assert answer(folder, "daft", tmp_path) == in_memory
