"""`bisim-check --backend` on folders of Parquet files: equal answers, and faults that end with one line."""

import json
import os
import signal
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from bisim_theory.cli import main
from bisim_theory.relation.backends import database as database_module
from bisim_theory.relation.backends import memory
from bisim_theory.relation.backends.database import Database
from support.oracles import partly_known_dataset
from support.parquet_folders import write_parquet

TRANSITIONS = "transitions/part-1.parquet"


@pytest.fixture
def spill(tmp_path, monkeypatch):
    """The folder that the database spills to."""
    place = tmp_path / "spill"
    place.mkdir()
    monkeypatch.setattr(database_module, "spill_parent", lambda: place)
    return place


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(3)
    data = partly_known_dataset(rng, 0.3, frames=40, actions=3, coverage=0.5)
    contents = rng.integers(data.frames, size=data.frames)
    more = {
        "observation": rng.integers(0, 255, (data.frames, 4), np.uint8)[contents],
        "labels": {"count": rng.integers(3, size=data.frames)},
        "reward": rng.normal(size=len(data)),
        "terminated": rng.random(len(data)) < 0.1,
        "size": None,
    }
    return write_parquet(tmp_path / "data", type(data)(**{**vars(data), **more}))


def answer(capfd, *arguments):
    """The JSON of a run, without the backend."""
    assert main([*map(str, arguments), "--json", "-"]) in (0, 4)
    found = json.loads(capfd.readouterr().out)
    return found.pop("backend"), found


def refusal(capfd, *arguments):
    """The single line on standard error of a run that ends with status 2."""
    assert main([*map(str, arguments)]) == 2
    printed = capfd.readouterr()
    assert printed.out == ""
    (line,) = printed.err.splitlines()
    assert line.startswith("bisim-check: error: ")
    return line


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--fold",),
        ("--identity", "content", "--fold", "--auxiliary", "constant"),
        ("--compare", "count,terminated"),
    ],
)
def test_both_backends_give_one_answer(folder, spill, capfd, arguments):
    given = ["--identity", "occurrence", *arguments, "--pair", "0", "1"]
    assert answer(capfd, folder, *given, "--backend", "memory") == (
        "memory", answer(capfd, folder, *given, "--backend", "duckdb")[1],
    )  # fmt: skip
    assert list(spill.iterdir()) == []


def test_what_exceeds_the_memory_is_left_on_disk(folder, spill, capfd):
    assert answer(capfd, folder, "--memory", "1GB")[0] == "memory"
    assert answer(capfd, folder, "--memory", "1kB")[0] == "duckdb"


def test_small_data_of_other_formats_is_answered_by_the_database_too(tmp_path, spill, capfd):
    np.savez(tmp_path / "d.npz", source=[0, 1, 2], action=[0, 0, 0], successor=[1, 2, 2], auxiliary=[0, 0, 1])
    backend, found = answer(capfd, tmp_path / "d.npz", "--backend", "duckdb")
    assert (backend, found["distinguished_pairs_per_level"]) == ("duckdb", [2, 1])


def test_small_data_waits_for_nothing_of_the_other_backends(tmp_path):
    np.savez(tmp_path / "d.npz", source=[0, 1, 2], action=[0, 0, 0], successor=[1, 2, 2], auxiliary=[0, 0, 1])
    script = (
        "import sys; from bisim_theory.cli import main; assert main(sys.argv[1:]) == 0; "
        "print(*(name for name in sys.modules if '.stored' in name or '.backends' in name or name == 'duckdb'))"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "d.npz")]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert printed.splitlines()[-1] == ""


@pytest.mark.parametrize("backend", ["memory", "duckdb"])
class TestBadFolders:
    def test_a_damaged_part(self, folder, spill, capfd, backend):
        (folder / TRANSITIONS).write_bytes((folder / TRANSITIONS).read_bytes()[:-60])
        assert TRANSITIONS in refusal(capfd, folder, "--backend", backend)
        assert list(spill.iterdir()) == []

    def test_a_part_whose_pages_are_damaged(self, folder, spill, capfd, backend):
        content = bytearray((folder / TRANSITIONS).read_bytes())
        content[4:60] = bytes(56)
        (folder / TRANSITIONS).write_bytes(content)
        assert str(folder) in refusal(capfd, folder, "--backend", backend)
        assert list(spill.iterdir()) == []

    def test_a_missing_column(self, folder, spill, capfd, backend):
        for part in (folder / "transitions").iterdir():
            pq.write_table(pq.read_table(part).drop_columns(["action"]), part)
        assert "action: is missing" in refusal(capfd, folder, "--backend", backend)

    def test_parts_of_different_schemas(self, folder, spill, capfd, backend):
        table = pq.read_table(folder / TRANSITIONS)
        pq.write_table(table.set_column(0, "source", table["source"].cast(pa.int32())), folder / TRANSITIONS)
        line = refusal(capfd, folder, "--backend", backend)
        assert "part-1.parquet: has another schema" in line
        assert "source is int32, not int64" in line

    def test_a_missing_value(self, folder, spill, capfd, backend):
        table = pq.read_table(folder / TRANSITIONS)
        reward = pa.array([None, *table["reward"].to_pylist()[1:]], pa.float64())
        pq.write_table(table.set_column(table.column_names.index("reward"), "reward", reward), folder / TRANSITIONS)
        assert "reward: a value is missing" in refusal(capfd, folder, "--backend", backend)

    def test_ids_that_are_no_observations(self, folder, spill, capfd, backend):
        table = pq.read_table(folder / TRANSITIONS)
        pq.write_table(table.set_column(0, "source", pa.array([99] * len(table))), folder / TRANSITIONS)
        assert "holds index 99 and there are 40 observations" in refusal(capfd, folder, "--backend", backend)

    def test_observations_that_are_numbered_twice(self, folder, spill, capfd, backend):
        part = folder / "observations/part-1.parquet"
        table = pq.read_table(part)
        pq.write_table(table.set_column(0, "id", pa.array([0] * len(table))), part)
        assert "each once" in refusal(capfd, folder, "--backend", backend)

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
    def test_a_part_without_permission(self, folder, spill, capfd, backend):
        (folder / TRANSITIONS).chmod(0)
        assert "Permission denied" in refusal(capfd, folder, "--backend", backend)


def test_a_spill_folder_that_cannot_be_written_to(folder, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(database_module, "spill_parent", lambda: tmp_path / "nowhere")
    assert "set TMPDIR" in refusal(capfd, folder, "--backend", "duckdb")


@pytest.mark.parametrize("place", ["nowhere", "file"])
def test_a_TMPDIR_that_cannot_be_used_is_not_replaced_by_another(folder, tmp_path, monkeypatch, capfd, place):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TMPDIR", str(tmp_path / place))
    line = refusal(capfd, folder, "--backend", "duckdb")
    assert f"{tmp_path / place}: cannot be written to (" in line
    assert line.endswith("; set TMPDIR to another folder")


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, 130)])
def test_a_command_that_is_stopped_leaves_nothing_behind(folder, spill, number, status):
    script = (
        "import signal, sys, time; from bisim_theory.cli import main; from bisim_theory.stored import parquet\n"
        "signal.signal(signal.SIGHUP, signal.SIG_DFL)\n"  # which nohup has its children ignore, and a shell SIGINT
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "def endless(database, folder): print('ready', flush=True); time.sleep(60)\n"
        "parquet.open_parquet = endless\n"
        "sys.exit(main([sys.argv[1], '--backend', 'duckdb']))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(folder)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, "TMPDIR": str(spill)},
    )  # fmt: skip
    assert process.stdout.readline() == b"ready\n"
    assert len(list(spill.iterdir())) == 1
    process.send_signal(number)
    assert process.communicate(timeout=30)[1] == b""
    assert process.returncode == status
    assert list(spill.iterdir()) == []


def test_no_space_for_spilling_is_said_in_one_line(spill):
    with Database(memory=1 << 27, threads=1) as database:
        database.execute("set max_temp_directory_size = '1MB'")
        with pytest.raises(database_module.DatasetError, match="no space left for spilled rows; set TMPDIR"):
            database.keep("large", "select range as a, hash(range) as b, hash(range + 1) as c from range(20000000)")
    assert list(spill.iterdir()) == []


def test_the_files_of_a_killed_process_go_at_the_next_start(spill):
    script = (
        "import os, sys, time; os.environ['TMPDIR'] = sys.argv[1]\n"
        "from bisim_theory.relation.backends.database import Database\n"
        "database = Database(1 << 28); (database.folder / 'rows').write_bytes(bytes(1000))\n"
        "print('ready', flush=True)\n"
        "time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", script, str(spill)], stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"ready\n"
    (left,) = spill.iterdir()
    with Database(1 << 28):
        assert left.exists()  # its process is alive
    process.send_signal(signal.SIGKILL)
    process.wait()
    with Database(1 << 28) as database:
        assert list(spill.iterdir()) == [database.folder]
    assert list(spill.iterdir()) == []


def test_an_unknown_amount_of_memory_is_refused(folder, capfd):
    assert "--memory much: must be an amount such as" in refusal(capfd, folder, "--memory", "much")
    assert "--memory 1: is 1 byte; give an amount such as 500MB or 2GB" in refusal(capfd, folder, "--memory", "1")
    assert "is 999,999,000,000,000,000 bytes; give" in refusal(capfd, folder, "--memory", "999999TB")
    assert "--memory -1GB: must be an amount" in refusal(capfd, folder, "--memory=-1GB")
    assert memory.parse_memory("2GB") == 2_000_000_000
    assert memory.parse_memory("1.5k") == 1500


def test_what_only_memory_answers_is_refused(folder, capfd):
    for name in ("random", "worlds.p:brightness", "count+worlds:p:bins:3"):
        refused = refusal(capfd, folder, "--backend", "duckdb", "--auxiliary", name)
        assert "does not answer p that is computed from observations" in refused
        assert refused.endswith("; use --backend memory")
