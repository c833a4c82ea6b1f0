"""Folders of Parquet files as other writers make them: both backends read them alike, or refuse them alike."""

import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from bisim_theory.cli import main
from bisim_theory.relation.backends import database as database_module

ROWS = {"source": [0, 1, 2], "action": [0, 0, 0], "successor": [1, 2, 3], "auxiliary": [0.0, 1.0, 0.0]}
U64, BEYOND = pa.uint64(), 2**63
DIGESTS = [bytes([each]) * 32 for each in range(4)]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder for the part files; the database spills beside it."""
    spill = tmp_path / "spill"
    spill.mkdir()
    monkeypatch.setattr(database_module, "spill_parent", lambda: spill)
    return tmp_path / "data"


@pytest.fixture
def outcome(folder, capfd):
    """Runs both backends, and returns the JSON without their names or the one line of refusal, which must be alike."""

    def run(path=folder, *arguments):
        found = []
        for backend in ("memory", "duckdb"):
            status = main([str(path), "--backend", backend, "--json", "-", *arguments])
            printed = capfd.readouterr()
            if status == 2:
                (line,) = printed.err.splitlines()
                found.append(line.removeprefix("bisim-check: error: "))
            else:
                found.append({name: value for name, value in json.loads(printed.out).items() if name != "backend"})
        assert found[0] == found[1]
        return found[0]

    return run


def put(folder, observations=None, name="a.parquet", **columns):
    """Write `ROWS`, with other columns, and what is known of observations."""
    (folder / "transitions").mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({**ROWS, **columns}), folder / "transitions" / name)
    if observations is not None:
        (folder / "observations").mkdir(exist_ok=True)
        table = pa.table({"id": pa.array(range(4)), **observations})
        pq.write_table(table, folder / "observations" / name)


def answered(found, left_out=()):
    """The JSON, in which p tells 1 from 0 and from 2."""
    assert found["distinguished_pairs_per_level"][0] == 2
    assert found["left_out"] == list(left_out)
    return found


class TestTypes:
    @pytest.mark.parametrize(
        "columns",
        [
            {name: pa.array(ROWS[name], U64) for name in ("source", "action", "successor")},
            {"auxiliary": pa.array([0, 1, 0], U64)},
            {"auxiliary": pa.array([[0, 5], [1, 5], [0, 5]], pa.list_(U64))},
            {"auxiliary": pa.array([0.0, 1.0, 0.0]).cast(pa.decimal128(15, 3))},
            {"auxiliary": pa.array([0, 1, 0], pa.uint8())},
            {"reward": pa.array([0, 1, 1], U64)},
            {"episode": pa.array([0, 0, 1], U64)},
        ],
        ids=lambda columns: f"{next(iter(columns))} {next(iter(columns.values())).type}",
    )
    def test_numbers_are_read_whatever_their_type(self, folder, outcome, columns):
        put(folder)
        expected = outcome()
        shutil.rmtree(folder)
        put(folder, **columns)
        found = answered(outcome())
        assert found["distinguished_pairs_per_level"] == expected["distinguished_pairs_per_level"]

    @pytest.mark.parametrize("kind", [U64, pa.decimal128(4, 1), pa.float32()])
    def test_p_of_observations_is_read_whatever_its_type(self, folder, outcome, kind):
        put(folder, {"observation_auxiliary": pa.array([0.0, 1.0, 0.0, None])})
        expected = answered(outcome())
        put(folder, {"observation_auxiliary": pa.array([0.0, 1.0, 0.0, None]).cast(kind)})
        assert outcome() == expected

    def test_ids_and_labels_of_64_bits_without_sign_are_read(self, folder, outcome):
        put(folder, {"id": pa.array(range(4), U64), "count": pa.array([7, 8, 7, 9], U64)})
        assert answered(outcome())["label"] == "count"

    @pytest.mark.parametrize(
        "name", ["source", "action", "auxiliary", "episode", "count", "id", "observation_auxiliary"]
    )
    def test_a_number_beyond_63_bits_is_named(self, folder, outcome, name):
        if name in ("count", "id", "observation_auxiliary"):
            put(folder, {name: pa.array([0, 1, 2, BEYOND], U64)})
        else:
            put(folder, **{name: pa.array([0, 1, BEYOND], U64)})
        assert f"{name}: holds 9223372036854775808, and whole numbers are read up to" in outcome()

    def test_a_number_beyond_63_bits_in_a_list_is_named(self, folder, outcome):
        put(folder, auxiliary=pa.array([[0, 1], [2, BEYOND], [0, 0]], pa.list_(U64)))
        assert "auxiliary: holds 9223372036854775808, and" in outcome()

    @pytest.mark.parametrize(
        ("column", "kind"),
        [
            (pa.array(["a", "b", "c"]), "string"),
            (pa.array([{"a": 1.0}] * 3), "struct<a: double>"),
            (pa.nulls(3), "null"),
            (pa.array([1.0, 2.0, 3.0]).cast(pa.decimal128(16, 0)), "decimal128(16, 0), of more than 15 digits"),
            (pa.array([[1], [2], [3]], pa.list_(pa.decimal128(4, 1))), "list<element: decimal128(4, 1)>"),
        ],
    )
    @pytest.mark.parametrize("name", ["auxiliary", "observation_auxiliary", "reward"])
    def test_a_column_with_a_meaning_is_never_left_out(self, folder, outcome, name, column, kind):
        if name == "observation_auxiliary":
            put(folder, {name: pa.concat_arrays([column, column[:1]])})
        else:
            put(folder, **{name: column})
        assert f"a.parquet: {name}: must hold numbers or lists of numbers, is {kind}; write it as" in outcome()

    def test_an_episode_that_is_no_whole_number_is_refused(self, folder, outcome):
        put(folder, episode=pa.array(["a", "a", "b"]))
        assert "episode: must hold whole numbers, is string; write it as int64" in outcome()
        put(folder, episode=pa.array([0, None, 1]))
        assert "episode: a value is missing" in outcome()

    def test_rewards_in_lists_are_refused(self, folder, outcome):
        put(folder, reward=pa.array([[1.0], [2.0], [3.0]]))
        assert "reward: must hold one number a row, is list" in outcome()

    def test_what_is_no_label_is_left_out_with_the_reason(self, folder, outcome):
        put(folder, {
            "text": ["a"] * 4, "grid": [[[1.0]]] * 4, "exact": pa.array([1.0] * 4).cast(pa.decimal128(20, 2)),
            "holes": [0.0, np.nan, np.inf, 1.0], "pairs": [[0.0, 1.0], [np.nan, 1.0], [2.0, 1.0], [3.0, 1.0]],
        })  # fmt: skip
        reasons = outcome()["left_out"]
        assert reasons == [
            "text: holds no numbers or lists of numbers, but string",
            "grid: holds no numbers or lists of numbers, but list<element: list<element: double>>",
            "exact: holds no numbers or lists of numbers, but decimal128(20, 2), of more than 15 digits",
            "holes: 2 values are not finite, or beyond 1e+100, so it is no label",
            "pairs: 1 value is not finite, or beyond 1e+100, so it is no label",
        ]

    def test_two_columns_of_one_name_are_refused(self, folder, outcome):
        put(folder)
        arrays = [*map(pa.array, ROWS.values()), pa.array([5] * 3)]
        pq.write_table(pa.table(arrays, names=[*ROWS, "action"]), folder / "transitions/a.parquet")
        assert "a.parquet: 'action': is the name of two columns" in outcome()

    def test_the_database_takes_no_column_for_one_of_another_case(self, folder, capfd):
        put(folder)
        pq.write_table(pa.table({"Action": [1, 2, 3], **ROWS}), folder / "transitions/a.parquet")
        assert main([str(folder), "--backend", "memory"]) == 0
        assert main([str(folder), "--backend", "duckdb"]) == 2
        assert "action: differs from the column Action in the case of letters alone" in capfd.readouterr().err


class TestDigests:
    @pytest.mark.parametrize("kind", [pa.binary(32), pa.binary(), pa.large_binary()], ids=str)
    def test_digests_are_read_whatever_their_type(self, folder, outcome, kind):
        contents = [DIGESTS[each] for each in (0, 1, 0, 2)]
        put(folder, {"content": pa.array(contents, kind)})
        found = outcome(folder, "--identity", "content", "--fold")
        assert (found["identity"], found["observations"]) == ("content", 4)

    @pytest.mark.parametrize("kind", [pa.binary(32), pa.binary()], ids=str)
    @pytest.mark.parametrize("missing", [(1,), range(4)])
    def test_a_missing_digest_is_equal_to_none(self, folder, outcome, kind, missing):
        contents = [None if each in missing else DIGESTS[each] for each in range(4)]
        put(folder, {"content": pa.array(contents, kind)})
        assert outcome().endswith("observations: content: a value is missing (null); digest every observation")

    def test_a_digest_of_another_length_is_refused(self, folder, outcome):
        put(folder, {"content": pa.array([*DIGESTS[:3], b"short"], pa.binary())})
        assert outcome().endswith("content: must be 32 bytes, a 256-bit digest; a value has 5")


class TestStatementsOfP:
    def test_contradictions_of_both_statements_are_bad_input(self, folder, outcome):
        put(folder, {"observation_auxiliary": pa.array([None, 0.0, 1.0, 0.0])})
        assert "auxiliary: row 1 gives its source, observation 1, another p than" in outcome()
        lists = {"observation_auxiliary": pa.array([[0.0, 0.0], [1.0, 0.0], None, None])}
        put(folder, lists, auxiliary=[[0.0, 0.0], [1.0, 2.0], [0.0, 0.0]])
        assert "auxiliary: row 1 gives its source, observation 1, another p than" in outcome()

    def test_statements_that_agree_are_read(self, folder, outcome):
        put(folder, {"observation_auxiliary": pa.array([None, 1.0, 0.0, 5.0])})
        assert answered({**outcome(), "distinguished_pairs_per_level": [2]})["leaves"] == 1

    def test_a_missing_value_of_p_points_to_the_table_of_observations(self, folder, outcome):
        put(folder, auxiliary=[0.0, None, 0.0])
        assert "leave this column out and give observation_auxiliary in observations/, null where" in outcome()

    def test_p_of_an_observation_that_is_missing_in_part_is_refused(self, folder, outcome):
        put(folder, {"observation_auxiliary": pa.array([[0.0, 1.0], [None, 1.0], None, [0.0, 2.0]])})
        assert "observation_auxiliary: a value is missing (null)" in outcome()


class TestFiles:
    @pytest.mark.parametrize(
        "place", ["b.parquet", "transitions/part=2/b.parquet", "observations/more/b.parquet", "more/b.parquet",
                  "2024/01/b.PARQUET"]
    )  # fmt: skip
    def test_a_part_that_would_be_left_out_is_refused(self, folder, outcome, place):
        put(folder, {"count": range(4)})
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table(ROWS), folder / place)
        table = "observations" if place.startswith("observations") else "transitions"
        assert outcome().startswith(
            f"{folder / place}: would be left out, as part files are {folder / table}/*.parquet alone; move it into "
            f"{folder / table}"
        )

    def test_a_part_below_those_of_the_folder_itself_is_refused(self, tmp_path, outcome):
        (tmp_path / "flat/more").mkdir(parents=True)
        for place in ("a.parquet", "more/b.parquet"):
            pq.write_table(pa.table(ROWS), tmp_path / "flat" / place)
        assert "flat/more/b.parquet: would be left out" in outcome(tmp_path / "flat")

    def test_hidden_files_and_other_datasets_below_are_no_parts(self, folder, outcome):
        put(folder)
        expected = outcome()
        (folder / "transitions/._a.parquet").write_bytes(b"\0\5\x16\7")
        put(folder / "model", {"embedding": [[0.0]] * 4})
        put(folder / "transitions/_temporary")
        (folder / "transitions/loop").symlink_to(folder)
        assert outcome() == expected

    @pytest.mark.parametrize(
        ("name", "instead"),
        [
            ("2024/01/a.parquet", "move it into DATA"),
            ("transitions/part=1/a.parquet", "move it into DATA/transitions"),
            ("A.PARQUET", "rename it to A.parquet"),
        ],
    )
    def test_parts_in_other_places_are_found_and_named(self, folder, outcome, name, instead):
        (folder / name).parent.mkdir(parents=True)
        pq.write_table(pa.table(ROWS), folder / name)
        assert outcome() == (
            f"{folder}: holds {name}, but *.parquet is looked for in the folder itself and in its folder transitions; "
            + instead.replace("DATA", str(folder))
        )

    def test_an_empty_folder_says_where_parts_are_looked_for(self, folder, outcome):
        (folder / "transitions").mkdir(parents=True)
        assert "(*.parquet is looked for in the folder itself and in its folder transitions)" in outcome()

    def test_one_file_names_its_folder(self, folder, outcome):
        put(folder)
        assert "is one Parquet file; give its folder" in outcome(folder / "transitions/a.parquet")

    def test_a_damaged_part_is_named(self, folder, outcome):
        rows = {name: np.arange(3000) for name in ROWS}
        for name in ("a.parquet", "b.parquet"):
            put(folder, name=name, **rows)
        content = bytearray((folder / "transitions/b.parquet").read_bytes())
        content[4:2000] = bytes(1996)
        (folder / "transitions/b.parquet").write_bytes(content)
        assert outcome().startswith(f"{folder}/transitions/b.parquet: is damaged (")

    def test_faults_of_observations_name_their_folder_once(self, folder, outcome):
        put(folder, {"id": [0, 1, 2, 2]})
        assert outcome() == f"{folder}/observations: id: must number the observations 0 to 3, each once"
