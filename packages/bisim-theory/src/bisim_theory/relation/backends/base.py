"""Declare what an engine offers: it keeps the rows of a query as a table."""

from typing import Protocol


class Engine(Protocol):
    """Executes the statements of a refinement, in the part of SQL that DuckDB and Daft both read.

    That part has joins by equal columns, ``group by``, ``min``, ``max``, ``coalesce``, and ``case`` with ``else``.
    Columns have names other than those of tables, and no missing values.

    Attributes:
        name: how ``--backend`` calls it.
    """

    name: str

    def keep(self, table: str, query: str) -> int:
        """Store the rows of a query as a table, in place of one of that name that it may read, and count them."""

    def drop(self, *tables: str) -> None:
        """Delete tables, where they are."""
