import dataclasses
import functools
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from pjepa_agent import load
from pjepa_agent.cli.figure import main
from pjepa_agent.evaluation import reconstruction as decoder_module
from pjepa_agent.evaluation.held_out import HeldOut
from pjepa_agent.evaluation.reconstruction import fit_decoder, reconstruct, reconstruction, run_decoder
from pjepa_agent.figures.figure_two import load_column, mosaic, name_of, normalized
from pjepa_agent.run import train_run
from pjepa_agent.runs.checkpoint import SCHEMA
from pjepa_agent.runs.directory import RunDirectory
from support.commands import run_command

run = functools.partial(run_command, main)


@pytest.fixture(autouse=True)
def _few_updates(monkeypatch):
    monkeypatch.setattr(fit_decoder, "__defaults__", (3, *fit_decoder.__defaults__[1:]))


@pytest.fixture
def finished(left_alone, tmp_path):
    return RunDirectory(shutil.copytree(left_alone.path, tmp_path / "run"))


def test_the_command_draws_a_column_a_run(finished, tmp_path, capsys):
    out = tmp_path / "out.png"
    status, shown, err = run(capsys, finished.path, "--out", out)
    assert status == 0, err
    assert "reward, seed 0: nearest-centroid accuracy 0." in shown
    assert "of the pixels' variance explained)" in shown
    assert f"written to {out}" in shown
    one = Image.open(out)
    kept = finished.decoder().stat().st_mtime_ns
    assert run(capsys, finished.path, finished.path, "--out", out)[0] == 0
    assert Image.open(out).size == (2 * one.size[0], one.size[1])
    assert finished.decoder().stat().st_mtime_ns == kept
    assert np.asarray(one.convert("L")).std() > 10
    # The same pictures again, to the byte.
    first = out.read_bytes()
    assert run(capsys, finished.path, finished.path, "--out", out)[0] == 0
    assert out.read_bytes() == first
    # And its most compact state.
    assert run(capsys, finished.path, "--at", "best", "--out", out)[0] == 0
    assert finished.decoder("best").is_file()


def test_bad_input_is_one_clear_line_and_status_2(finished, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    runs = {name: tmp_path / name for name in ("no checkpoint", "damaged", "no data", "no best")}
    for path in runs.values():
        shutil.copytree(finished.path, path)
    (runs["no checkpoint"] / "checkpoints" / "last.pt").unlink()
    (runs["no best"] / "checkpoints" / "best.pt").unlink()
    (runs["damaged"] / "transitions.npz").write_bytes(b"PK" * 50)
    (runs["no data"] / "transitions.npz").unlink()
    cases = {
        "the following arguments are required: RUN": [],
        "holds no run": [tmp_path],
        "last.pt: does not exist": [runs["no checkpoint"]],
        "damaged/transitions.npz": [runs["damaged"]],
        "no data/transitions.npz": [runs["no data"]],
        "best.pt: does not exist; this run keeps its last state alone": [runs["no best"], "--at", "best"],
        "must end in .png, .pdf, .svg": [finished.path, "--out", "figure.txt"],
        "must be a file in an existing folder": [finished.path, "--out", "none/figure.png"],
        "invalid choice: 'first'": [finished.path, "--at", "first"],
    }
    before = sorted(tmp_path.rglob("*"))
    for message, arguments in cases.items():
        status, shown, err = run(capsys, *arguments)
        assert (status, shown) == (2, ""), message
        lines = err.splitlines()
        assert lines[-1].startswith("pjepa-figure: error: "), message
        assert message in lines[-1]
        assert [line for line in lines[:-1] if not line.startswith("fitting a decoder")] == [], message
    assert sorted(tmp_path.rglob("*")) == before


def test_help_imports_nothing_heavy():
    code = "import sys; from pjepa_agent.cli.figure import main; sys.argv = ['pjepa-figure', '--help']\n"
    code += "try: main()\nexcept SystemExit: pass\nprint({'torch', 'numpy', 'matplotlib'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("set()\n")
    assert "--out" in done.stdout


def test_a_decoder_brings_back_what_embeddings_hold(tiny):
    """Embeddings that are the colour of the whole image, under autocast: a decoder learns to show it."""
    config = dataclasses.replace(tiny(), network=dataclasses.replace(tiny().network, latent_dim=3))
    color = np.random.default_rng(0).integers(0, 60, (300, 3), dtype=np.uint8)
    images = np.broadcast_to(color[:, None, None], (300, 64, 64, 3))
    embedding = (color / 6 - 5).astype(np.float32)
    decoder = fit_decoder(embedding, images, config, updates=60)
    with torch.no_grad():
        decoded = decoder(torch.from_numpy(embedding)).numpy()
    truth = images / 127.5 - 1
    error, variance = np.square(decoded - truth).mean(), np.square(truth - truth.mean(0)).mean()
    assert error < 0.6 * variance
    one, other = (fit_decoder(embedding, images, config, updates=2).state_dict() for _ in range(2))
    assert all(torch.equal(value, other[name]) for name, value in one.items())


@pytest.mark.parametrize("shape", [(12, 20, 3), (7, 7, 1), (9, 6, 12), (5,)])
def test_a_decoder_is_fitted_to_any_observations(tiny, shape):
    config = dataclasses.replace(tiny(), network=dataclasses.replace(tiny().network, latent_dim=2))
    embedding = 5 * np.random.default_rng(0).normal(size=(200, 2)).astype(np.float32)
    bright = np.broadcast_to((embedding[:, :1] > 0).reshape(-1, *[1] * len(shape)), (200, *shape))
    observations = (bright * 100 + 50).astype(np.uint8) if len(shape) == 3 else bright * 1e4 + embedding[:, 1:]
    decoder = fit_decoder(embedding, observations, config, updates=40)
    with torch.no_grad():
        output = decoder(torch.from_numpy(embedding))
        shown = decoder.observations(output).numpy().astype(float)
    assert shown.shape == observations.shape
    truth = observations.astype(float)
    assert np.square(shown - truth).mean() < 0.6 * np.square(truth - truth.mean(0)).mean()


def test_a_decoder_under_autocast_is_never_stuck_at_black(tiny):
    decoder = decoder_module.Decoder(16)
    with torch.no_grad():
        decoder.layers[-2].bias.fill_(-4)  # in bfloat16 the tanh of this is -1
    with torch.autocast("cpu", torch.bfloat16):
        decoder(torch.ones(1, 16)).sum().backward()
    assert decoder.layers[-2].bias.grad.abs().min() > 0


def test_a_fitted_decoder_is_kept_until_the_encoder_changes(finished, tiny, monkeypatch):
    fitted = []
    fit = decoder_module.fit_decoder
    monkeypatch.setattr(decoder_module, "fit_decoder", lambda *a, **k: fitted.append(1) or fit(*a, **k))
    model = load(finished.path)
    first = run_decoder(finished, tiny(), model)
    again = run_decoder(finished, tiny(), model)
    assert len(fitted) == 1
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in first.state_dict().items())
    assert torch.load(finished.decoder(), weights_only=True)["schema"] == SCHEMA
    finished.decoder().write_bytes(b"damaged")
    run_decoder(finished, tiny(), model)
    with torch.no_grad():
        model.encoder.proj.bias += 1
    run_decoder(finished, tiny(), model)
    assert len(fitted) == 3


def test_a_run_with_a_decoder_shows_its_own(tiny, tmp_path):
    config = dataclasses.replace(tiny(), network=dataclasses.replace(tiny().network, decoder=True))
    directory = RunDirectory.create(tmp_path / "run", config)
    train_run(directory, config, "cpu")
    found = reconstruction(directory.path)
    assert not directory.decoder().exists()
    model = load(directory.path)
    embedding = HeldOut(config).embed(model)[0]
    shown = ((found.decoded + 1) * 127.5).round().astype(np.uint8)
    assert abs(shown.astype(int) - model.decode(embedding).numpy()).max() <= 1


def test_reconstruction_errors_by_hand(tiny):
    held_out = HeldOut(tiny())
    images = held_out.images[held_out.scored] / 127.5 - 1

    class Known:
        def encode(self, wanted):
            return torch.from_numpy(np.asarray(wanted).reshape(len(wanted), -1).astype(np.float32))

    def scaled(factor, mean=0.0):
        return lambda z: factor * (z.reshape(-1, 64, 64, 3) / 127.5 - 1) + mean

    perfect = reconstruct(scaled(1), held_out, Known())
    assert perfect.error == pytest.approx(0, abs=1e-12)
    assert perfect.explained == pytest.approx(1)
    mean = torch.from_numpy(images.mean(0).astype(np.float32))
    assert reconstruct(scaled(0, mean), held_out, Known()).explained == pytest.approx(0, abs=1e-4)
    black = reconstruct(scaled(0, -1.0), held_out, Known())
    assert black.error == pytest.approx(np.square(images + 1).mean(), rel=1e-4)
    assert black.explained < 0


def test_names_examples_and_contrast(tiny, finished):
    assert name_of(tiny()) == "reward, seed 0"
    counted = dataclasses.replace(tiny(), objective=dataclasses.replace(tiny().objective, auxiliary="count"), seed=3)
    assert name_of(counted) == "reward, auxiliary count, seed 3"
    assert name_of(tiny("random")) == "random, seed 0"
    column = load_column(finished.path)
    shown = column.reconstruction.images[column.examples]
    lit = shown.any(-1).sum((1, 2))
    assert len(shown) == 8
    assert lit[0] > 0
    assert lit[7] > lit[0]
    picture = mosaic(column.reconstruction, column.examples)
    assert picture.shape == (2 * 130 + 12, 4 * 64 + 3 * 6, 3)
    np.testing.assert_allclose(picture[:64, :64], shown[0] / 255)
    stretched = picture[66:130, :64]
    assert (stretched.min(), stretched.max()) == (0, 1)
    assert normalized(np.full((2, 2, 3), 0.5)).max() == 0
