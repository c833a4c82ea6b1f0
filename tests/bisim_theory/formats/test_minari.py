"""Datasets that Minari's own storage wrote."""

import numpy as np
import pytest
from bisim_theory import DatasetError, read_transitions
from bisim_theory.formats import resolve
from gymnasium import spaces
from support.checks import check
from support.written_datasets import record, record_vectors, spaces_of, write_minari


def test_by_its_id_in_the_local_store_and_by_the_folder_around_it(tmp_path, monkeypatch):
    recorded = record(2)
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    folder = tmp_path / "counting" / "test-v0"
    write_minari(folder / "data", recorded)
    for path in ("counting/test-v0", folder, folder / "data"):
        check(read_transitions(path), recorded)
    assert resolve("counting/test-v0") == (folder, None)
    with pytest.raises(DatasetError, match="counting/test-v1: does not exist"):
        read_transitions("counting/test-v1")
    assert [path.name for path in tmp_path.iterdir()] == ["counting"]


@pytest.mark.parametrize("episodes", [1, 3])
def test_images_in_jpeg_are_refused(tmp_path, episodes):
    folder = write_minari(tmp_path / "d", record(episodes), jpeg_encoding=True)
    with pytest.raises(DatasetError, match=r"JPEG-encoded.*jpeg_encoding=False"):
        read_transitions(folder)


def test_vectors_do_not_suffer_from_the_flag(tmp_path):
    recorded = record_vectors()
    check(read_transitions(write_minari(tmp_path / "d", recorded, jpeg_encoding=True), actions="sign"), recorded, False)


@pytest.mark.parametrize("jpeg_encoding", [False, True])
def test_takes_the_only_image_out_of_a_dictionary(tmp_path, jpeg_encoding):
    recorded = record(2)
    image, _ = spaces_of(recorded)
    inner = spaces.Dict({"image": image, "n": spaces.Box(0, 1, (2,), np.float32)})
    space = spaces.Dict({"view": spaces.Tuple([inner, spaces.Discrete(3)])})

    def observe(frames):
        rest = np.zeros((len(frames), 2), np.float32)
        return {"view": ({"image": frames, "n": rest}, np.zeros(len(frames), int))}

    folder = write_minari(tmp_path / "d", recorded, jpeg_encoding=jpeg_encoding, observe=observe, space=space)
    if jpeg_encoding:
        with pytest.raises(DatasetError, match="JPEG-encoded"):
            read_transitions(folder)
    else:
        check(read_transitions(folder), recorded)


def test_says_which_entries_there_are_where_none_is_the_image(tmp_path):
    recorded = record(1)
    image, _ = spaces_of(recorded)
    space = spaces.Dict({"left": image, "right": image})
    both = {"observe": lambda frames: {"left": frames, "right": frames}, "space": space}
    with pytest.raises(DatasetError, match=r"2 images .* among \['left', 'right'\]"):
        read_transitions(write_minari(tmp_path / "d", recorded, **both))


def test_makes_no_environment_and_reads_no_other_data_format(tmp_path):
    folder = write_minari(tmp_path / "d", record(1))
    text = (folder / "metadata.json").read_text()
    without = text.replace('"observation_space"', '"env_spec": "{}", "other"')
    (folder / "metadata.json").write_text(without)
    with pytest.raises(DatasetError, match="observation_space: is missing"):
        read_transitions(folder)
    (folder / "metadata.json").write_text(text.replace('"data_format": "hdf5"', '"data_format": "arrow"'))
    with pytest.raises(DatasetError, match="data format 'arrow'; create it with data_format='hdf5'"):
        read_transitions(folder)
