import hashlib

import pytest
import torch
from bisim_theory.files import atomic_write
from matplotlib.collections import Collection
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from pjepa_agent.figures import curves, figure_two
from pjepa_agent.figures import run as figures
from pjepa_agent.run import train_run
from pjepa_agent.runs.directory import RunDirectory
from support import trainings


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    torch.set_num_threads(1)  # the networks of these tests are so small that threads would only wait for each other


@pytest.fixture(scope="session", autouse=True)
def _rendering():
    """Write a digest of what a run's figures show instead of their pixels, which take two thirds of a tiny run."""
    with pytest.MonkeyPatch.context() as patch:
        render = figures.save_figure
        assert render is curves.save_figure is figure_two.save_figure  # imported before, they draw pixels
        patch.setattr(figures, "save_figure", _write_digest)
        yield render


@pytest.fixture
def rendered_figures(_rendering, monkeypatch):
    """Write the pixels of a run's figures."""
    monkeypatch.setattr(figures, "save_figure", _rendering)


def _write_digest(figure, path, dpi):
    shown = [each.get_xydata() for each in figure.findobj(Line2D)]
    shown += [each.get_offsets() for each in figure.findobj(Collection)]
    shown += [each.get_array() for each in figure.findobj(AxesImage)]
    with atomic_write(path) as file:
        file.write(hashlib.sha256(b"".join(each.tobytes() for each in shown)).digest())


@pytest.fixture
def tiny():
    """`support.trainings.tiny`, which makes the smallest configurations."""
    return trainings.tiny


@pytest.fixture(scope="session")
def left_alone(tmp_path_factory):
    """The run of `tiny` that nothing stops, for all that compare theirs with it: read it, and change a copy."""
    run = RunDirectory.create(tmp_path_factory.mktemp("left-alone") / "run", trainings.tiny())
    train_run(run, trainings.tiny(), "cpu")
    before = _contents(run.path)
    yield run
    assert _contents(run.path) == before, "a test has changed the run that others compare theirs with"


def _contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
