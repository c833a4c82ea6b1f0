"""Notebooks of the examples, executed with a training of a few updates."""

import base64
import io
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from PIL import Image
from support.small import SMALL_OPTIONS

FOLDER = Path(__file__).parents[2] / "examples" / "notebooks"
NOTEBOOKS = sorted(path.stem for path in FOLDER.glob("*.ipynb"))
OPTIONS = [*SMALL_OPTIONS, "--updates", "8", "--evaluation.every", "2"]
OPTIONS += ["--collection.transitions", "3000", "--evaluation.transitions", "600"]  # some reach the goal

EMPTY = 350
"""Pixels of the height of a picture of witnesses without a pair, at most."""


def read(name):
    return nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)


def outputs(notebook):
    return [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]


def test_there_is_one_of_the_counting_world_and_one_of_another():
    assert NOTEBOOKS == ["counting_world", "minigrid"]


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_is_valid_and_stored_without_outputs(name):
    notebook = read(name)
    nbformat.validate(notebook)
    assert outputs(notebook) == []
    assert {cell.execution_count for cell in notebook.cells if cell.cell_type == "code"} == {None}


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_runs_to_its_end_and_shows_its_pictures(name, tmp_path, monkeypatch):
    monkeypatch.setenv("PJEPA_OPTIONS", " ".join(OPTIONS))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    notebook = read(name)
    NotebookClient(
        notebook, timeout=1_200, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    shown = outputs(notebook)
    pictures = [each["data"] for each in shown if each.output_type in ("display_data", "execute_result")]
    (forming,) = [
        Image.open(io.BytesIO(base64.b64decode(each["image/gif"]))) for each in pictures if "image/gif" in each
    ]
    assert forming.n_frames == 5  # the untrained state, and updates 2, 4, 6 and 8
    stills = [Image.open(io.BytesIO(base64.b64decode(each["image/png"]))) for each in pictures if "image/png" in each]
    assert len(stills) == 2  # the world, and the witnesses
    assert stills[1].height > EMPTY
    text = "".join(each["text"] for each in shown if each.output_type == "stream")
    assert "next: bisim-check" in text
    assert "Verdict: " in text
