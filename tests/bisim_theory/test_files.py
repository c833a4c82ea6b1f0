"""Results are written whole, through links and into pipes, and a file that is replaced keeps its mode."""

import json
import os
import stat
import subprocess
import sys
import threading

import numpy as np
import pytest
from bisim_theory.files import atomic_write, write_json


def test_a_link_stays_a_link_and_what_it_leads_to_is_replaced(tmp_path):
    (tmp_path / "shared").mkdir()
    target, link = tmp_path / "shared" / "found.json", tmp_path / "latest.json"
    target.write_text("old")
    link.symlink_to("shared/found.json")
    write_json(link, {"new": 1})
    assert link.is_symlink()
    assert json.loads(target.read_text()) == {"new": 1}
    assert [path.name for path in target.parent.iterdir()] == ["found.json"]


def test_a_link_that_leads_nowhere_yet_gets_its_file(tmp_path):
    link = tmp_path / "latest.json"
    link.symlink_to("found.json")
    write_json(link, 1)
    assert link.is_symlink()
    assert (tmp_path / "found.json").read_text() == "1\n"


@pytest.mark.parametrize("mode", [0o600, 0o664])
def test_a_file_that_is_replaced_keeps_its_mode(tmp_path, mode):
    path = tmp_path / "found.json"
    path.touch()
    path.chmod(mode)
    write_json(path, 1)
    assert stat.S_IMODE(path.stat().st_mode) == mode


def test_a_pipe_is_written_to_and_stays_one(tmp_path):
    pipe, read = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()))
    reader.start()
    write_json(pipe, [1, 2])
    reader.join()
    assert json.loads(read[0]) == [1, 2]
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def write_half(path):
    with atomic_write(path, "w") as file:
        file.write("half")
        raise KeyError


def test_what_fails_leaves_the_file_behind_a_link_as_it_was(tmp_path):
    target, link = tmp_path / "found.txt", tmp_path / "link"
    target.write_text("old")
    link.symlink_to(target)
    with pytest.raises(KeyError):
        write_half(link)
    assert target.read_text() == "old"
    assert {path.name for path in tmp_path.iterdir()} == {"found.txt", "link"}


@pytest.fixture
def corridor(tmp_path):
    path = tmp_path / "corridor.npz"
    np.savez(path, source=[0, 1], action=[0, 0], successor=[1, 1], auxiliary=[0, 1])
    return path


def bisim_check(*arguments, **options):
    command = [sys.executable, "-m", "bisim_theory", *map(str, arguments)]
    return subprocess.run(command, check=False, text=True, stderr=subprocess.PIPE, **options)


@pytest.mark.parametrize("name", ["-", "/dev/stdout", "/dev/fd/1"])
def test_json_to_standard_output_is_alone_there(tmp_path, corridor, name):
    captured = tmp_path / "captured"
    with open(captured, "w") as file:
        done = bisim_check(corridor, "--json", name, stdout=file, cwd=tmp_path)
    assert done.returncode == 0
    assert json.loads(captured.read_text())["sources"] == 2
    assert "bisimilar pairs: 0" in done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"captured", "corridor.npz"}


def test_json_reaches_the_file_that_the_shell_opened_for_standard_output(tmp_path, corridor):
    captured = tmp_path / "captured"
    with open(captured, "w") as file:
        done = bisim_check(corridor, "--json", captured, stdout=file)
    assert done.returncode == 0, done.stderr
    text = captured.read_text()
    end = text.index("\n}\n") + 3
    assert json.loads(text[:end])["sources"] == 2
    assert "bisimilar pairs: 0" in text[end:]


def test_devices_can_be_named_twice(corridor):
    done = bisim_check(corridor, "--json", "/dev/null", "--html", "/dev/null", stdout=subprocess.DEVNULL)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_reader_that_closes_the_pipe_has_read_enough(corridor):
    reading, writing = os.pipe()
    os.close(reading)
    done = bisim_check(corridor, stdout=writing)
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, "")


MODULES = {
    "bisim_theory": "bisim-check",
    "bisim_theory.cli": "bisim-check",
    "pjepa_agent": "pjepa-train",
    "pjepa_agent.cli": "pjepa-train",
    "pjepa_agent.cli.curves": "pjepa-curves",
    "pjepa_agent.cli.figure": "pjepa-figure",
}


@pytest.mark.parametrize("module", MODULES)
def test_a_module_is_its_command(module):
    command = [sys.executable, "-m", module, "--no-such-option"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert f"{MODULES[module]}: error: " in done.stderr
