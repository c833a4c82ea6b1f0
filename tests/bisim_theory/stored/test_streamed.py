"""Datasets of other formats, read in pieces and spilled: the answers are those of memory."""

import json
import os

import h5py
import numpy as np
import pytest
from bisim_theory.cli import main
from bisim_theory.formats import columns, convention, rows, streaming
from bisim_theory.relation.backends import database as database_module
from support.contract import WRITERS, corridor
from support.written_datasets import record, record_vectors, write_hdf5, write_minari

STREAMED = [name for name in WRITERS if name.split()[0] in ("minari", "hdf5", "d4rl", "robomimic", "lerobot")]


@pytest.fixture(autouse=True)
def spill(tmp_path, monkeypatch):
    """The folder that the database spills to; pieces are small."""
    place = tmp_path / "spill"
    place.mkdir()
    monkeypatch.setattr(database_module, "spill_parent", lambda: place)
    for module in (streaming, columns):
        monkeypatch.setattr(module, "ROWS_AT_ONCE", 7)
    for module in (streaming, convention, rows):
        monkeypatch.setattr(module, "MOST_ROWS", 20)
    yield place
    assert list(place.iterdir()) == []


def answers(capfd, *arguments):
    """The status and JSON of both backends, without the name of the backend."""
    found = []
    for backend in ("memory", "duckdb"):
        status = main([*map(str, arguments), "--backend", backend, "--json", "-"])
        printed = capfd.readouterr()
        assert status in (0, 4), printed.err
        values = json.loads(printed.out)
        assert values.pop("backend") == backend
        found.append((status, values))
    return found


def walks(rng, continuous=False):
    """Random walks of random lengths in a corridor of random length."""
    cells = int(rng.integers(3, 7))
    recorded = []
    for _ in range(int(rng.integers(3, 9))):
        codes = rng.integers(2, size=int(rng.integers(1, 12)))
        place = np.minimum(rng.integers(cells) + np.append(0, np.cumsum(codes)), cells - 1)
        last = np.arange(len(codes)) == len(codes) - 1
        values = (codes - 0.5)[:, None] * rng.uniform(0.5, 1.5, (len(codes), 1))
        recorded.append(
            {
                "observation": np.stack([place, place % 2], 1).astype(np.float32) - 0.0,
                "count": place,
                "action": values.astype(np.float32) if continuous else codes,
                "reward": (place[1:] == cells - 1).astype(np.float32),
                "terminated": last & (place[-1] == cells - 1),
                "truncated": last & (place[-1] != cells - 1),
            }
        )
    return recorded


QUESTIONS = [
    ["--identity", "content", "--fold", "--pair", "0", "1"],
    ["--identity", "occurrence", "--fold"],
    ["--identity", "content", "--fold", "--terminal", "absorb"],
]


@pytest.mark.parametrize("name", STREAMED)
def test_random_walks_are_answered_as_in_memory(name, tmp_path, capfd):
    writer = WRITERS[name]
    for seed in range(2):
        rng = np.random.default_rng([seed, len(name)])
        continuous = writer.continuous and seed % 2 == 1
        path = writer.write(tmp_path / f"{seed}{writer.suffix}", walks(rng, continuous))
        given = ["--actions", "bins:3" if seed == 1 else "sign"] if continuous else []
        for questions in QUESTIONS:
            if "absorb" in questions and "terminated" in writer.missing:
                continue
            in_memory, stored = answers(capfd, path, "--auxiliary", "reward", *given, *questions)
            assert stored == in_memory


def test_images_are_told_apart_by_digests(tmp_path, capfd):
    recorded = record(5, steps=7)
    paths = [write_minari(tmp_path / "images", recorded), write_hdf5(tmp_path / "images.h5", recorded)]
    for path in paths:
        in_memory, stored = answers(capfd, path, "--auxiliary", "reward")
        assert stored == in_memory
        assert stored[1]["coinciding_observations"] is not None
    path = write_minari(tmp_path / "jpeg", recorded, jpeg_encoding=True)
    in_memory, stored = answers(capfd, path, "--auxiliary", "reward")
    assert stored == in_memory
    assert stored[1]["coinciding_observations"] is None


def test_actions_of_several_columns_get_the_codes_of_the_whole_file(tmp_path, capfd):
    recorded = record_vectors(episodes=4, steps=9)
    for path in (write_minari(tmp_path / "d", recorded), write_hdf5(tmp_path / "d.h5", recorded, key="observation")):
        for abstraction in ("sign", "bins:4"):
            in_memory, stored = answers(capfd, path, "--actions", abstraction, "--auxiliary", "reward:bins:3")
            assert stored == in_memory
            assert stored[1]["action_codes"] is not None
    rng = np.random.default_rng(1)
    whole = [{**each, "action": rng.integers(3, size=(9, 2))} for each in recorded]
    whole[0]["action"] = np.eye(2, dtype=int)[rng.integers(2, size=9)]  # which alone would be taken for one-hot rows
    path = write_hdf5(tmp_path / "whole.h5", whole, key="observation")
    in_memory, stored = answers(capfd, path, "--auxiliary", "reward")
    assert stored == in_memory


def test_columns_that_no_label_or_reward_can_have_are_left_out(tmp_path, capfd):
    recorded = record_vectors(episodes=4, steps=9)
    recorded[2]["reward"] = np.append(np.nan, recorded[2]["reward"][1:])
    rows = sum(len(each["observation"]) for each in recorded)
    gap = np.append(np.zeros(rows - 1), np.nan)
    path = write_hdf5(tmp_path / "d.h5", recorded, key="observation", gap=gap, wide=np.eye(rows), text=["x"] * rows)
    in_memory, stored = answers(capfd, path, "--actions", "sign", "--auxiliary", "constant")
    assert stored == in_memory
    assert [each.split()[0] for each in stored[1]["left_out"]] == ["text:", "the", "columns"]
    assert stored[1]["left_out"][-1].endswith("gap")


def test_a_model_of_a_streamed_dataset_is_checked_as_in_memory(tmp_path, capfd):
    """Actions are continuous, so T is known at no code where they differ."""
    path = write_minari(tmp_path / "d", record_vectors(episodes=4, steps=9))
    rng = np.random.default_rng(0)
    embedding, predicted = rng.normal(size=(40, 3)), rng.normal(size=(36, 3))
    model = tmp_path / "model.npz"
    np.savez(model, embedding=embedding, predicted_embedding=predicted, predicted_auxiliary=rng.normal(size=36))
    found = []
    for backend in ("memory", "duckdb"):
        place = tmp_path / backend
        asked = ["--actions", "sign", "--auxiliary", "reward:bins:2", "--representation", str(model)]
        assert main([str(path), *asked, "--backend", backend, "--json", str(place)]) in (1, 3)
        found.append(json.loads(place.read_text()))
    assert found[0]["hypothesis"]["unknown_codes"] == found[1]["hypothesis"]["unknown_codes"] > 0
    shares = [[level["explained_share"] for level in each["hypothesis"]["levels"]] for each in found]
    assert shares[0] == shares[1]


def refusal(capfd, *arguments):
    """The single line on standard error of a run that ends with status 2."""
    assert main([*map(str, arguments), "--backend", "duckdb", "--auxiliary", "reward"]) == 2
    line = capfd.readouterr().err
    assert line.startswith("bisim-check: error: ")
    assert line.count("\n") == 1
    return line


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])


def spoil(name, value):
    """Return what puts a value at the end of an array of a file."""

    def change(path):
        with h5py.File(path, "a") as file:
            file[name][-1] = value

    return change


def drop(name):
    """Return what deletes an array from a file."""

    def change(path):
        with h5py.File(path, "a") as file:
            del file[name]

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (truncate, "is no HDF5 file, or a damaged one"),
        (spoil("episode_2/observations", np.nan), "observation: row 14 is not finite"),
        (spoil("episode_2/actions", np.nan), "action: row 11 is not finite"),
        (drop("episode_1/rewards"), "episode_1/rewards: is missing"),
        (drop("episode_1/observations"), "episode_1/observations: is missing"),
    ],
)
def test_a_damaged_file_is_refused_in_one_line_and_leaves_nothing(tmp_path, capfd, spill, change, message):
    folder = write_minari(tmp_path / "d", record_vectors(episodes=4, steps=4))
    change(folder / "main_data.hdf5")
    line = refusal(capfd, folder, "--actions", "sign")
    assert message in line
    assert "main_data.hdf5" in line or str(folder) in line
    assert list(spill.iterdir()) == []


def test_chunks_that_cannot_be_read_are_found_while_rows_are_spilled(tmp_path, capfd, spill):
    path = tmp_path / "d.h5"
    rows = 40
    with h5py.File(path, "w") as file:
        values = np.arange(rows * 50.0).reshape(rows, 50)
        file.create_dataset("pixels", data=values, chunks=(8, 50), compression="gzip")
        begin = file["pixels"].id.get_chunk_info(3).byte_offset
        file["action"], file["ep_len"], file["ep_offset"] = np.zeros(rows, int), [20, 20], [0, 20]
        file["reward"] = np.zeros(rows)
    content = bytearray(path.read_bytes())
    content[begin + 2 : begin + 40] = bytes(38)
    path.write_bytes(content)
    assert "pixels: is damaged" in refusal(capfd, path)
    assert list(spill.iterdir()) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_refused(tmp_path, capfd):
    path = write_hdf5(tmp_path / "d.h5", record(2))
    path.chmod(0)
    assert "Permission denied" in refusal(capfd, path)


def test_what_exceeds_the_memory_is_read_in_pieces(tmp_path, capfd):
    path = write_minari(tmp_path / "d", corridor())
    for memory, backend in (("1kB", "duckdb"), ("1GB", "memory")):
        assert main([str(path), "--auxiliary", "reward", "--memory", memory, "--json", "-"]) == 0
        assert json.loads(capfd.readouterr().out)["backend"] == backend
