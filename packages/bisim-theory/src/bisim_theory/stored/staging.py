"""Loading of a dataset from memory into the tables of a database."""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bisim_theory.data.transitions import TransitionDataset
from bisim_theory.formats.parquet_columns import P as OBSERVATION_P
from bisim_theory.formats.streaming import CONTENT
from bisim_theory.relation.backends.database import Database
from bisim_theory.stored.dataset import NUMBERED, OBSERVATION, TRANSITION, StoredDataset, validated
from bisim_theory.theorem.explained import varying_codes

STEP = ("auxiliary", "reward", "terminated", "truncated")


def stage(database: Database, data: TransitionDataset, path: str = "data") -> StoredDataset:
    """Load a dataset into the tables of a database; of observations, which of them are equal.

    Args:
        database: where to.
        data: the dataset.
        path: where it comes from, for messages.
    """
    given = {name: getattr(data, name) for name in STEP if getattr(data, name) is not None}
    rows = {"source": data.source, "action": data.action, "successor": data.successor, **given}
    database.load(
        NUMBERED, {"row": np.arange(len(data)), **{name: arrow_column(value) for name, value in rows.items()}}
    )
    columns = list(rows)
    database.execute(f"create or replace view {TRANSITION} as select * exclude row from {NUMBERED}")
    known: dict[str, Any] = {name: arrow_column(value) for name, value in data.labels.items()}
    if data.observation is not None and not data.lossy:
        known[CONTENT] = data.content_ids()
    if data.observation_auxiliary is not None:
        known[OBSERVATION_P] = arrow_column(data.observation_auxiliary, data.observation_auxiliary_known)
    database.load(OBSERVATION, {"id": np.arange(data.frames), **known})
    stored = validated(database, path, columns, list(known), data.metadata, where=path)
    return replace(stored, varying_codes=varying_codes(data))


def arrow_column(value: NDArray[Any], known: NDArray[np.bool_] | None = None) -> Any:
    """Return values (N,) or (N, k) as an Arrow column, of lists where k is there; those not `known` are missing."""
    import pyarrow

    value = value.astype(np.float32) if value.dtype == np.float16 else value  # which DuckDB lacks
    missing = None if known is None else ~known
    if value.ndim == 1:
        return pyarrow.array(value, mask=missing)
    lists = pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(value.ravel()), value.shape[1])
    if missing is None:
        return lists
    rows = [None if gone else row for gone, row in zip(missing.tolist(), lists.to_pylist(), strict=True)]
    return pyarrow.array(rows, lists.type)


def digest_column(digests: NDArray[np.uint8]) -> Any:
    """Return digests (B, 32) as an Arrow column of 32 bytes each."""
    import pyarrow

    return pyarrow.FixedSizeBinaryArray.from_buffers(
        pyarrow.binary(digests.shape[1]), len(digests), [None, pyarrow.py_buffer(np.ascontiguousarray(digests))]
    )
