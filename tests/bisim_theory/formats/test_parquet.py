"""Folders of Parquet files in memory: columns are narrowed while they are read."""

import decimal
import tracemalloc

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from bisim_theory import DatasetError, read_transitions
from bisim_theory.formats import parquet
from bisim_theory.formats.arrow import Filled

LARGE = 2**40


def write(folder, rows, parts, **columns):
    folder.mkdir()
    names = np.arange(rows + 1)
    given = {"source": names[:-1], "action": np.zeros(rows, np.int64), "successor": names[1:], **columns}
    table = pa.table(given)
    for number, start in enumerate(range(0, rows, -(-rows // parts))):
        pq.write_table(table.slice(start, -(-rows // parts)), folder / f"part-{number}.parquet")
    return folder


def test_whole_numbers_are_held_in_32_bits_until_one_does_not_fit():
    filled = Filled(6)
    filled.add("x", np.array([1, -2]))
    assert filled.array.dtype == np.int32
    filled.add("x", np.array([3, LARGE]))
    filled.add("x", np.array([5, 6], np.uint32))
    assert filled.array.dtype == np.int64
    assert filled.array.tolist() == [1, -2, 3, LARGE, 5, 6]


@pytest.mark.parametrize("kind", [np.bool_, np.int8, np.float32, np.float64])
def test_other_numbers_keep_their_type(kind):
    filled = Filled(3)
    for piece in ([0], [1, 1]):
        filled.add("x", np.array(piece, kind))
    assert filled.array.dtype == kind
    assert filled.array.tolist() == [0, 1, 1]


def test_rows_of_another_length_in_a_later_piece_are_refused():
    filled = Filled(2)
    filled.add("p", np.zeros((1, 2)))
    with pytest.raises(DatasetError, match="p: has rows of different lengths"):
        filled.add("p", np.zeros((1, 3)))


def test_large_action_codes_in_the_last_part_are_read_whole(tmp_path):
    action = np.array([0, 1, 2, LARGE])
    data = read_transitions(write(tmp_path / "d", 4, 2, action=action, auxiliary=np.array([0, 0, 0, -LARGE])))
    assert data.action.tolist() == action.tolist()
    assert data.auxiliary.tolist() == [0, 0, 0, -LARGE]
    assert data.source.dtype == np.int32


def test_reading_holds_little_beside_the_narrow_columns(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet, "ROWS_AT_ONCE", 1 << 14)
    rows = 400_000
    folder = write(tmp_path / "d", rows, 3, auxiliary=np.arange(rows) % 5)
    read_transitions(folder)  # what is imported is not of this data
    tracemalloc.start()
    try:
        data = read_transitions(folder)
        held, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert [each.dtype for each in (data.source, data.action, data.successor, data.auxiliary)] == [np.int32] * 4
    assert held < 17 * rows
    assert peak < 23 * rows  # those 16 bytes, masks of what is checked, and a piece


def test_the_bytes_of_columns_are_known_before_they_are_read(tmp_path):
    rng, rows = np.random.default_rng(0), 40
    label = pa.FixedSizeListArray.from_arrays(pa.array(rng.random(3 * rows)), 3)
    digest = pa.array([bytes([each]) * 32 for each in range(rows)], pa.binary(32))
    for name, columns in {
        "transitions": {
            "source": np.arange(rows), "action": np.zeros(rows, int), "successor": np.arange(rows),
            "auxiliary": rng.random(rows), "terminated": np.zeros(rows, bool),
        },
        "observations": {"id": np.arange(rows), "place": label, "small": np.ones(rows, np.int8), "content": digest},
    }.items():  # fmt: skip
        (tmp_path / name).mkdir()
        pq.write_table(pa.table(columns), tmp_path / name / "part.parquet")
    data = read_transitions(tmp_path)
    held = [data.auxiliary, data.terminated, data.observation, *data.labels.values()]
    assert sum(each.nbytes for each in held) == rows * (8 + 1 + 24 + 1 + 32)
    assert parquet.ParquetFolder.open(tmp_path).bytes_beside == sum(each.nbytes for each in held)


def test_observations_in_any_order_are_read_by_their_ids(tmp_path):
    (tmp_path / "d").mkdir()
    write(tmp_path / "d" / "transitions", 3, 1)
    (tmp_path / "d" / "observations").mkdir()
    known = {
        "id": [2, 0, 3, 1],
        "count": [12, 10, 13, 11],
        "observation_auxiliary": pa.array([None, 0.5, 3.5, 1.5]),
        "content": pa.array([bytes([each]) * 32 for each in (2, 0, 3, 1)], pa.binary(32)),
    }
    for number, part in enumerate((slice(0, 2), slice(2, 4))):
        table = pa.table(known).slice(part.start, 2)
        pq.write_table(table, tmp_path / "d" / "observations" / f"part-{number}.parquet")
    data = read_transitions(tmp_path / "d")
    assert data.labels["count"].tolist() == [10, 11, 12, 13]
    assert data.observation_auxiliary.tolist() == [0.5, 1.5, 0, 3.5]
    assert data.observation_auxiliary_known.tolist() == [True, True, False, True]
    assert data.observation[:, 0].tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("scale", [0, 7, 15])
@pytest.mark.parametrize("kind", [pa.decimal128, pa.decimal256])
def test_decimals_are_read_as_the_nearest_floats(tmp_path, kind, scale):
    rng = np.random.default_rng(scale)
    values = [decimal.Decimal(int(each)).scaleb(-scale) for each in rng.integers(-(10**15) + 1, 10**15, 500)]
    data = read_transitions(write(tmp_path / "d", 500, 2, auxiliary=pa.array(values, kind(15, scale))))
    assert data.auxiliary.tolist() == [float(each) for each in values]
