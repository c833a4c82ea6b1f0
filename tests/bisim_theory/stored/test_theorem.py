"""The check of a model on disk: equal to that in memory where all pairs are compared, estimates where some are."""

import dataclasses
import json
import math
import re

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from bisim_theory import TransitionDataset, analyse, empirical_bisimulation, write_transitions
from bisim_theory.cli import main
from bisim_theory.data.representation import Representation
from bisim_theory.formats.representation import open_representation
from bisim_theory.relation import compute, sampled_levels
from bisim_theory.relation.backends import database as database_module
from bisim_theory.relation.backends.database import Database
from bisim_theory.stored import relation as stored_relation
from bisim_theory.stored import residuals, theorem
from bisim_theory.stored.analysis import analyse_stored
from bisim_theory.stored.relation import StoredSample
from bisim_theory.stored.staging import stage
from support.oracles import partly_known_dataset, random_dataset
from support.parquet_folders import column, write_parquet


@pytest.fixture(autouse=True)
def spill(tmp_path, monkeypatch):
    """The folder that the database spills to; pieces are small."""
    place = tmp_path / "spill"
    place.mkdir()
    monkeypatch.setattr(database_module, "spill_parent", lambda: place)
    monkeypatch.setattr(residuals, "ROWS_AT_ONCE", 17)
    yield place
    assert list(place.iterdir()) == []


def of_contents(rng, frames=40, contents=9, columns=None):
    """Transitions between contents, each shown by several observations."""
    content = rng.permutation(np.arange(frames) % contents)
    shown = [np.flatnonzero(content == each) for each in range(contents)]
    leads = rng.integers(contents, size=(contents, 2))
    source, action = rng.integers(frames, size=60), rng.integers(2, size=60)
    p = content % 3 if columns is None else np.stack([content % (2 + each) for each in range(columns)], 1)
    return TransitionDataset(
        source,
        action,
        np.array([rng.choice(shown[leads[content[x], a]]) for x, a in zip(source, action, strict=True)]),
        observation_auxiliary=p.astype(float),
        observation=rng.integers(0, 255, (contents, 4), np.uint8)[content],
        labels={"count": rng.integers(3, size=frames)},
    )


def model_of(rng, data, **more):
    """A model that is nearly well-trained, equal on equal contents."""
    content = np.arange(data.frames) if data.observation is None else data.content_ids()
    embedding = rng.normal(size=(data.frames, 3)).astype(np.float32)[content]
    values = data.observation_auxiliary if data.auxiliary is None else data.auxiliary
    of_row = rng.normal(size=(len(data), *values.shape[1:])).astype(np.float32)
    reached = embedding[data.successor] + rng.normal(scale=0.1, size=(len(data), 3))
    arrays = {"embedding": embedding, "predicted_embedding": reached.astype(np.float32), "predicted_auxiliary": of_row}
    return {**arrays, **more}


def answer(tmp_path, *arguments):
    """Status and JSON of a run, without the backend."""
    place = tmp_path / "answer.json"
    status = main([*map(str, arguments), "--json", str(place)])
    assert status in (0, 1, 3, 4)
    values = json.loads(place.read_text())
    del values["backend"]
    return status, values


def assert_close(found, wanted, place="answer"):
    """Assert that plain values are equal, floats but for rounding: sums are taken in another order."""
    if isinstance(wanted, dict):
        assert set(found) == set(wanted), place
        for name, value in wanted.items():
            assert_close(found[name], value, f"{place}.{name}")
    elif isinstance(wanted, list):
        assert len(found) == len(wanted), place
        for number, (one, other) in enumerate(zip(found, wanted, strict=True)):
            assert_close(one, other, f"{place}[{number}]")
    elif isinstance(wanted, float):
        assert math.isclose(found, wanted, rel_tol=1e-9, abs_tol=1e-12), (place, found, wanted)
    else:
        assert found == wanted, place


def drawn(seed):
    """A dataset, the questions that it allows, and further arrays of its model."""
    rng = np.random.default_rng(seed)
    occurrence, content = ["--identity", "occurrence"], ["--identity", "content"]
    lipschitz = {"lipschitz_dynamics": 2.0, "lipschitz_auxiliary": 1.5}
    if seed == 0:
        return rng, random_dataset(rng, frames=30, actions=3, values=2), [occurrence], lipschitz
    if seed == 1:
        data = random_dataset(rng, frames=40, actions=2, values=2, one_action=True)
        return rng, data, [occurrence, [*occurrence, "--fold"]], {}
    if seed == 2:
        data = partly_known_dataset(rng, 0.3, frames=40, actions=3, coverage=0.5)
        return rng, data, [occurrence], {"predicted_observation_auxiliary": rng.normal(size=40)}
    data = of_contents(rng, columns=None if seed == 3 else 2)
    canonical = {"predicted_embedding_canonical": rng.normal(size=(len(data), 3))}
    return rng, data, [content, [*content, "--fold", "--label", "count"]], canonical if seed == 3 else lipschitz


@pytest.mark.parametrize("seed", range(5))
def test_a_model_is_checked_as_in_memory(tmp_path, seed):
    rng, data, questions, more = drawn(seed)
    write_transitions(tmp_path / "d.npz", data)
    path = tmp_path / "d.npz" if seed % 2 else write_parquet(tmp_path / "p", data)
    save = np.savez if seed % 2 else np.savez_compressed
    save(tmp_path / "model.npz", **model_of(rng, data, **more))
    for asked in questions:
        given = [path, "--representation", tmp_path / "model.npz", *asked]
        status, found = answer(tmp_path, *given, "--backend", "duckdb")
        wanted_status, wanted = answer(tmp_path, *given, "--backend", "memory")
        assert status == wanted_status
        assert_close(found, wanted)
        assert wanted["conclusion"]["exact"]


def write_model(folder, arrays):
    """Write a model as folders of Parquet files, each of two parts."""
    for place, names in (
        ("observations", [name for name in arrays if name in ("embedding", "predicted_observation_auxiliary")]),
        ("transitions", [name for name in arrays if name not in ("embedding", "predicted_observation_auxiliary")]),
    ):
        (folder / place).mkdir(parents=True)
        table = pa.table({name: column(arrays[name]) for name in names})
        half = len(table) // 2
        for number, part in enumerate((table.slice(0, half), table.slice(half))):
            pq.write_table(part, folder / place / f"part-{number}.parquet", row_group_size=7)
    return folder


def test_a_model_in_parquet_files_is_that_of_npz(tmp_path):
    rng, data, _, _ = drawn(1)
    path, arrays = write_parquet(tmp_path / "p", data), model_of(rng, data)
    np.savez(tmp_path / "model.npz", **arrays)
    folder = write_model(tmp_path / "model", arrays)
    given = ["--backend", "duckdb", "--representation"]
    of_npz, of_folder = (answer(tmp_path, path, *given, each) for each in (tmp_path / "model.npz", folder))
    assert of_npz == of_folder
    assert_close(answer(tmp_path, path, "--backend", "memory", "--representation", folder)[1], of_npz[1])


def grid(rng, copies):
    """Many observations of few behaviours: the walks of a corridor, each occurring several times."""
    cells, steps = 5, 6
    episodes = []
    for _ in range(copies):
        place, path = int(rng.integers(cells)), []
        for _ in range(steps):
            path.append((place, action := int(rng.integers(2))))
            place = min(place + action, cells - 1)
        episodes.append([*path, (place, 0)])
    place = np.array([[cell for cell, _ in each] for each in episodes])
    ids = np.arange(place.size).reshape(place.shape)
    return TransitionDataset(
        ids[:, :-1].ravel(),
        np.array([[action for _, action in each[:-1]] for each in episodes]).ravel(),
        ids[:, 1:].ravel(),
        observation_auxiliary=(place == cells - 1).ravel().astype(float),
        labels={"count": place.ravel()},
    )


def collapsing(rng, data, share=0.3):
    """A model of the cells in which some observations are mapped to one point."""
    cell = data.labels["count"]
    embedding = np.stack([cell, cell**2], 1) + rng.normal(scale=0.05, size=(data.frames, 2))
    embedding[rng.random(data.frames) < share] = 0.0
    reached, p = embedding[data.successor] + 0.01, data.observation_auxiliary
    return {"embedding": embedding, "predicted_embedding": reached, "predicted_auxiliary": p[data.source]}


def check_of(database, data, arrays, tmp_path):
    np.savez(tmp_path / "model.npz", **arrays)
    model = open_representation(tmp_path / "model.npz", tmp_path)
    return analyse_stored(stage(database, data), identity="occurrence", representation=model).check


def test_what_is_sampled_is_an_unbiased_estimate_and_said(tmp_path, monkeypatch):
    rng = np.random.default_rng(5)
    data = grid(rng, 40)
    arrays = collapsing(rng, data)
    wanted = analyse(data, Representation(**arrays), "occurrence").check
    most = 100
    monkeypatch.setattr(theorem, "MOST_OBSERVATIONS", most)
    estimates = []
    with Database(1 << 27, threads=1) as database:
        for seed in range(12):
            monkeypatch.setattr(theorem, "SEED", seed)
            found = check_of(database, data, arrays, tmp_path)
            estimates.append(found.collapsed_pairs)
            assert not found.exact
            assert found.compared == most
            # Of all transitions and pairs, whatever is compared:
            assert_close(list(found.transition_residual), list(wanted.transition_residual))
            assert_close(list(found.auxiliary_residual), list(wanted.auxiliary_residual))
            assert [level.pairs for level in found.levels] == [level.pairs for level in wanted.levels]
            assert (found.unprotected.pairs, found.unprotected.sampled) == (wanted.unprotected.pairs, True)
            assert abs(found.unprotected.separation - wanted.unprotected.separation) < 0.1
            assert found.closest.min_distance >= wanted.closest.min_distance
            assert found.verdict == wanted.verdict == "collapsed"
    error = np.std(estimates, ddof=1) / np.sqrt(len(estimates))
    assert error < wanted.collapsed_pairs / 5
    assert abs(np.mean(estimates) - wanted.collapsed_pairs) < 4 * error


def test_the_report_says_how_many_observations_were_compared(tmp_path, monkeypatch, capsys):
    rng = np.random.default_rng(6)
    data = grid(rng, 20)
    path = write_parquet(tmp_path / "p", data)
    np.savez(tmp_path / "model.npz", **collapsing(rng, data))
    monkeypatch.setattr(theorem, "MOST_OBSERVATIONS", 50)
    given = [path, "--representation", tmp_path / "model.npz", "--backend", "duckdb"]
    status, found = answer(tmp_path, *given)
    assert status == 1
    assert found["conclusion"]["compared_observations"] == 50
    assert not found["conclusion"]["exact"]
    assert "50 observations that were drawn" in capsys.readouterr().out


def test_rare_behaviours_are_compared_however_few_are_drawn(tmp_path, monkeypatch):
    """One observation alone is distinguished and collapsed; a sample of a few would hardly hold it."""
    rng = np.random.default_rng(7)
    data = grid(rng, 60)
    rare = data.frames - 1
    p = data.observation_auxiliary.copy()
    p[rare] = 7.0
    data = dataclasses.replace(data, observation_auxiliary=p, size=None)
    arrays = collapsing(rng, data, share=0.0)
    arrays["embedding"][rare] = arrays["embedding"][rare - 1]
    monkeypatch.setattr(theorem, "MOST_OBSERVATIONS", 150)
    with Database(1 << 27, threads=1) as database:
        found = check_of(database, data, arrays, tmp_path)
    assert [level.level for level in found.levels] == list(range(1, len(found.levels) + 1))
    assert len(found.levels) == len(empirical_bisimulation(data).distinguished_pairs_per_level)


@pytest.mark.parametrize("kind", ["several actions", "unknown p anywhere"])
def test_too_many_classes_are_sampled_as_in_memory(tmp_path, monkeypatch, kind):
    rng = np.random.default_rng(len(kind))
    if kind == "several actions":
        data = random_dataset(rng, frames=60, actions=3, values=2, coverage=0.7)
    else:
        data = partly_known_dataset(rng, 0.3, frames=60, actions=2, coverage=0.7)
    data = dataclasses.replace(data, labels={"count": rng.integers(4, size=data.frames)}, size=None)
    exact = empirical_bisimulation(data)
    monkeypatch.setattr(compute, "MOST_CLASSES", 5)
    for module in (sampled_levels, stored_relation):
        monkeypatch.setattr(module, "SAMPLED_PAIRS", pairs := 3_000)
    path = write_parquet(tmp_path / "p", data)
    (_, found), (_, wanted) = (answer(tmp_path, path, "--backend", each) for each in ("duckdb", "memory"))
    assert found == wanted
    assert not found["exact"]
    with Database(1 << 27, threads=1) as database:
        relation = analyse_stored(stage(database, data), identity="occurrence").relation
        sample = relation.over_classes
        assert isinstance(sample, StoredSample)
        assert (sample.levels == exact.level(sample.x_ids, sample.y_ids)).all()
    total = exact.distinguished_pairs + exact.bisimilar_pairs
    for number, estimate in enumerate(relation.distinguished_pairs_per_level):
        share = exact.distinguished_pairs_per_level[number] / total
        assert abs(estimate / total - share) < 5 * np.sqrt(share * (1 - share) / pairs) + 1e-9


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("embedding", lambda value: value[:-1], "embedding: is .* the transitions ask for"),
        ("predicted_auxiliary", lambda value: np.stack([value, value], 1), "predicted_auxiliary: is"),
        ("predicted_embedding", lambda value: np.where(np.arange(len(value))[:, None] == 20, np.nan, value), "row 20"),
        ("predicted_embedding", lambda value: None, "predicted_embedding: is missing"),
    ],
)
def test_a_model_that_does_not_fit_is_refused_in_one_line(tmp_path, capsys, name, change, message):
    rng, data, _, _ = drawn(1)
    path, arrays = write_parquet(tmp_path / "p", data), model_of(rng, data)
    arrays[name] = change(arrays[name])
    np.savez(tmp_path / "model.npz", **{key: value for key, value in arrays.items() if value is not None})
    status = main([str(path), "--representation", str(tmp_path / "model.npz"), "--backend", "duckdb"])
    printed = capsys.readouterr().err
    assert status == 2
    assert printed.count("\n") == 1
    assert re.search(message, printed)
    assert "model.npz" in printed


def test_equal_observations_with_different_embeddings_are_refused(tmp_path, capsys):
    rng = np.random.default_rng(3)
    data = of_contents(rng)
    path, arrays = write_parquet(tmp_path / "p", data), model_of(rng, data)
    arrays["embedding"] = rng.normal(size=(data.frames, 3))
    np.savez(tmp_path / "model.npz", **arrays)
    given = [path, "--representation", tmp_path / "model.npz", "--identity", "content"]
    lines = []
    for backend in ("memory", "duckdb"):
        assert main([*map(str, given), "--backend", backend]) == 2
        lines.append(capsys.readouterr().err)
    assert lines[0] == lines[1]
    assert "are equal and have embeddings" in lines[0]
