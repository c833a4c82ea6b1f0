"""`pjepa-figure --out FILE.gif`: how the PCA of a run forms."""

import dataclasses
import functools
import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pjepa_agent import load
from pjepa_agent.cli.figure import main
from pjepa_agent.evaluation.held_out import HeldOut
from pjepa_agent.figures.formation import align, read_formation
from pjepa_agent.model import PJEPA
from pjepa_agent.run import train_run
from pjepa_agent.runs.checkpoint import load_kept
from pjepa_agent.runs.directory import RunDirectory
from support.commands import run_command

run = functools.partial(run_command, main)


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A run that keeps the checkpoints of its updates 4, 8 and 12."""
    from support.trainings import tiny

    config = tiny()
    config = dataclasses.replace(config, evaluation=dataclasses.replace(config.evaluation, every=4, checkpoints=9))
    directory = RunDirectory.create(tmp_path_factory.mktemp("kept") / "run", config)
    train_run(directory, config, "cpu", results=False)
    return directory


def test_every_state_that_is_kept_is_shown_and_the_untrained_one(kept):
    config = RunDirectory.open(kept.path)[1]
    found = read_formation(kept.path)
    assert found.updates == (0, 4, 8, 12)
    assert found.values == tuple(
        HeldOut(config).measure(model)[config.best_column] for _, model in load_kept(kept.path)
    )
    untrained, last = (
        HeldOut(config).embed(PJEPA.untrained(config).eval())[0],
        HeldOut(config).embed(load(kept.path))[0],
    )
    for arrangement, embedding in zip((found.arrangements[0], found.arrangements[-1]), (untrained, last), strict=True):
        rows = {row.tobytes() for row in embedding}
        assert all(row.tobytes() in rows for row in arrangement.embedding)
    values = [each.value for each in found.arrangements]
    assert all(np.array_equal(each, values[0]) for each in values)


def test_the_command_writes_a_frame_a_state(kept, tmp_path, capsys):
    out = tmp_path / "pca.gif"
    status, shown, err = run(capsys, kept.path, "--out", out)
    assert (status, err) == (0, "")
    assert "reward, seed 0: 4 states, updates 0 to 12, nearest-centroid accuracy 0." in shown
    image = Image.open(out)
    assert image.n_frames == 4
    frames = []
    for number in range(image.n_frames):
        image.seek(number)
        frames.append(np.asarray(image.convert("RGB")).copy())
        assert len(np.unique(frames[-1].reshape(-1, 3), axis=0)) > 9  # classes, text and white
    assert any((one != other).any() for one, other in itertools.pairwise(frames))
    first = out.read_bytes()
    assert run(capsys, kept.path, "--out", out)[0] == 0
    assert out.read_bytes() == first


def test_few_states_are_said_and_bad_usage_is_one_line(kept, tmp_path, capsys):
    for path in kept.checkpoints(9)[1:3]:
        path.rename(path.with_suffix(".aside"))
    try:
        status, shown, err = run(capsys, kept.path, "--out", tmp_path / "few.gif")
    finally:
        for path in kept.checkpoints(9)[1:3]:
            path.with_suffix(".aside").rename(path)
    assert (status, err.count("\n")) == (0, 1)
    assert "2 states" in shown
    assert "--evaluation.checkpoints" in err
    for arguments, message in (
        ([kept.path, kept.path, "--out", "a.gif"], "shows one run"),
        ([kept.path, "--at", "best", "--out", "a.gif"], "a gif shows every checkpoint"),
    ):
        status, shown, err = run(capsys, *arguments)
        assert (status, shown, err.count("\n")) == (2, "", 1)
        assert message in err


def cloud(seed, number=20):
    return np.random.default_rng(seed).normal(size=(number, 2))


@given(angle=st.floats(0, 6.3), mirrored=st.booleans(), size=st.floats(0.01, 100))
def test_a_state_that_is_only_turned_mirrored_and_scaled_lies_on_the_next(angle, mirrored, size):
    points = cloud(0)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    other = size * points @ turn @ np.diag([1, -1 if mirrored else 1])
    first, last = align([other, points])
    np.testing.assert_allclose(first, last, atol=1e-9)
    np.testing.assert_allclose(last * np.sqrt(np.square(points).sum(1).mean()), points)


@given(seeds=st.lists(st.integers(0, 99), min_size=1, max_size=5))
def test_shapes_are_kept(seeds):
    for before, after in zip(map(cloud, seeds), align([cloud(seed) for seed in seeds]), strict=True):
        assert np.square(after).sum(1).mean() == pytest.approx(1)
        ratio = np.linalg.norm(after - after[0], axis=1)[1:] / np.linalg.norm(before - before[0], axis=1)[1:]
        np.testing.assert_allclose(ratio, ratio[0])


def test_embeddings_that_coincide_stay_at_the_origin():
    first, last = align([np.zeros((4, 2)), cloud(1, 4)])
    assert not first.any()
    assert np.isfinite(last).all()
