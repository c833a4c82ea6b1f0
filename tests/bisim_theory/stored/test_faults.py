"""Faults below the database: a disk that is full, what is left behind then, and an optimizer that errs."""

import resource

import pytest
from bisim_theory import DatasetError
from bisim_theory.relation.backends import database as database_module
from bisim_theory.relation.backends.database import Database


@pytest.fixture
def full_disk():
    """No file of this process may become larger than a megabyte, as on a disk with so much space."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
def spill(tmp_path, monkeypatch):
    monkeypatch.setattr(database_module, "spill_parent", lambda: tmp_path)
    monkeypatch.setattr(database_module, "LEAST_MEMORY", 1 << 20)
    return tmp_path


MANY = "select range as a, hash(range) as b, hash(range + 1) as c from range(2000000)"


def test_a_full_disk_is_said_in_one_line_and_nothing_is_left(spill, full_disk):
    with Database(24 << 20, threads=1) as database, pytest.raises(DatasetError) as caught:
        database.keep("large", MANY)
    assert str(caught.value) == f"{spill}: has no space left for spilled rows; set TMPDIR to a folder on a larger disk"
    assert list(spill.iterdir()) == []


def test_rows_beyond_the_memory_are_answered_from_a_disk_with_space(spill):
    with Database(24 << 20, threads=1) as database:
        assert database.keep("large", MANY) == 2_000_000
        assert sum(each.stat().st_size for each in database.folder.rglob("*") if each.is_file()) > 1 << 20
        assert database.row("select count(*), sum(a) from large") == (2_000_000, 1_999_999_000_000)
    assert list(spill.iterdir()) == []


def test_tables_for_another_engine_that_do_not_fit_on_the_disk_are_said_in_one_line(spill, full_disk):
    with Database(1 << 28, threads=1) as database, pytest.raises(DatasetError, match="has no space left for spilled"):
        database.execute(f"copy ({MANY}) to '{database.folder / 'vertex.parquet'}' (format parquet)")
    assert list(spill.iterdir()) == []


def test_a_view_with_two_joins_keeps_its_columns_apart_where_a_query_reads_it_twice(spill):
    # The optimizer common_subplan of DuckDB 2.0.1 gives successor the join of source, so 6 and 7 keep their ids.
    with Database(1 << 28, threads=1) as database:
        database.execute("create table step as select * from (values (3, 7), (2, 7), (5, 0), (1, 6)) as t(x, y)")
        database.execute("create table same as select * from (values (3, 2), (6, 1), (7, 1)) as t(id, name)")
        database.execute(
            "create view joined as select coalesce(a.name, x) as x, coalesce(b.name, y) as y from step "
            "left join same as a on a.id = x left join same as b on b.id = y"
        )
        found = database.rows(
            "select id, max(acted) from (select x as id, 1 as acted from joined union all "
            "select y as id, 0 as acted from joined) group by id order by id"
        )
    assert found == [(0, 0), (1, 1), (2, 1), (5, 1)]
