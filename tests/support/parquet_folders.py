"""Folders of Parquet files, written from datasets."""

import hashlib
import itertools

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

STEP = ("auxiliary", "reward", "terminated", "truncated", "episode")


def column(value, known=None):
    """Values (N,) or (N, k) as an Arrow column; those not `known` are missing."""
    rows = [row if known is None or known[number] else None for number, row in enumerate(np.asarray(value).tolist())]
    kind = pa.from_numpy_dtype(np.asarray(value).dtype)
    return pa.array(rows, kind if np.asarray(value).ndim == 1 else pa.list_(kind))


def write_parquet(folder, data, parts=3):
    """Write a dataset as a folder of Parquet files, with digests for its observations."""
    given = [name for name in STEP if getattr(data, name) is not None]
    rows = {name: column(getattr(data, name)) for name in ("source", "action", "successor", *given)}
    write_parts(folder / "transitions", pa.table(rows), parts)
    known = {"id": pa.array(np.arange(data.frames))}
    known |= {name: column(value) for name, value in data.labels.items()}
    if data.observation_auxiliary is not None:
        known["observation_auxiliary"] = column(data.observation_auxiliary, data.observation_auxiliary_known)
    if data.observation is not None:
        digests = [
            hashlib.blake2b(np.ascontiguousarray(each).data, digest_size=32).digest() for each in data.observation
        ]
        known["content"] = pa.array(digests, pa.binary(32))
    write_parts(folder / "observations", pa.table(known), 2)
    return folder


def write_parts(folder, table, parts):
    """Write the rows of a table as several files, in order."""
    folder.mkdir(parents=True)
    ends = np.linspace(0, len(table), parts + 1).astype(int)
    for number, (start, stop) in enumerate(itertools.pairwise(ends)):
        pq.write_table(table.slice(start, stop - start), folder / f"part-{number}.parquet")
