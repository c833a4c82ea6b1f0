"""Measure the rounds of `bisim-check --backend daft` on a Ray cluster of this machine, with one worker and with two.

Command: ``uv run --group consumers python -m benchmarks.relation.cluster``; ``--transitions 20000`` takes two minutes.
A worker is a node of one core. The answers are asserted to be equal to that of memory.
"""

import argparse
import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

from benchmarks.relation.engines import INPUTS, run_backend, write_folder
from benchmarks.relation.measuring import row, table

OBJECTS = 80 * 2**20
"""Bytes of shared memory for the objects of a node, near the least that Ray accepts."""


@contextlib.contextmanager
def ray_cluster(workers: int, objects: int = OBJECTS) -> Iterator[tuple[dict[str, str], Any, list[Any]]]:
    """Start a head without a core and some workers of one core; yield how to reach them, the cluster and its workers.

    Under ``uv run``, Ray would have each worker make its environment anew, from an index of packages; these are told
    not to. Sockets of Ray lie in its folder, and their names may have 107 characters, so it lies in no deep one. Ray
    gives a node 30 s to start.
    """
    from ray.cluster_utils import Cluster

    with (
        tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp", ignore_cleanup_errors=True) as place,
        mock.patch.dict(os.environ, {"RAY_TMPDIR": place, "RAY_AUTH_MODE": "disabled"}),
    ):
        cluster = Cluster()
        try:
            options = {"object_store_memory": objects, "include_dashboard": False}
            cluster.add_node(num_cpus=0, **options)
            nodes = [cluster.add_node(num_cpus=1, **options) for _ in range(workers)]
            reach = {"RAY_ADDRESS": cluster.address, "DAFT_RUNNER": "ray", "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0"}
            yield reach, cluster, nodes
        finally:
            cluster.shutdown()


def make_parser() -> argparse.ArgumentParser:
    """Return the options of the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--transitions", type=int, default=1_000_000)
    parser.add_argument("--memory", default="600MB", help="what DuckDB may hold beside the workers (default: 600MB)")
    parser.add_argument("--objects", type=int, default=2**30, help="bytes of shared memory of a node (default: 1 GiB)")
    return parser


def main() -> None:
    """Measure and print the table."""
    arguments = make_parser().parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = write_folder(Path(place) / "data", INPUTS["walk"], arguments.transitions)
        table("workers", "transitions", "s")
        figures, expected = run_backend(folder, "memory", arguments.memory, "occurrence")
        row("none, in memory", f"{arguments.transitions:,}", figures["seconds"])
        for workers in (1, 2):
            with ray_cluster(workers, arguments.objects) as (reach, _, _), mock.patch.dict(os.environ, reach):
                figures, found = run_backend(folder, "daft", arguments.memory, "occurrence")
            assert found == expected, f"{workers} workers answer otherwise"
            row(str(workers), f"{arguments.transitions:,}", figures["seconds"])


if __name__ == "__main__":
    main()
