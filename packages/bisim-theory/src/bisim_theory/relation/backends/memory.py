"""The memory that a computation may take, and what the data asks for."""

import contextlib
import os
import re
from pathlib import Path

from bisim_theory.data.transitions import DatasetError

SHARE = 0.5
"""Share of the free memory that is used where no other amount is given."""

BYTES_A_TRANSITION = 100
"""Bytes at the peak that a transition of a Parquet folder takes in memory, with the ids of its observations.

Measured were 80 of a million transitions with 165,000 behaviours, and 39 of ten millions; see docs/scale.md.
"""

LEAST, MOST = 10**3, 10**15
"""Bytes between which an amount of memory must be: a smaller one lacks its unit, a larger one has a wrong one."""

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}


def parse_memory(text: str) -> int:
    """Return the bytes that a text such as ``2GB`` names.

    Raises:
        DatasetError: it names none, or one that no machine has.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgt]?)b?", text.strip().lower())
    if found is None or not float(found[1]):
        raise DatasetError(f"--memory {text}: must be an amount such as 500MB or 2GB")
    amount = int(float(found[1]) * _UNITS[found[2]])
    if not LEAST <= amount < MOST:
        raise DatasetError(
            f"--memory {text}: is {amount:,} byte{'' if amount == 1 else 's'}; give an amount such as 500MB or 2GB"
        )
    return amount


def free_memory() -> int:
    """Return the bytes that are free: in the machine, or in the container where that has less."""
    free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
    with contextlib.suppress(OSError, ValueError, TypeError):
        found = re.search(r"MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text())
        free = free if found is None else 1024 * int(found[1])
    with contextlib.suppress(OSError, ValueError):
        group = Path("/sys/fs/cgroup")
        limit, used = (int((group / name).read_text()) for name in ("memory.max", "memory.current"))
        free = min(free, max(limit - used, 0))
    return free


def exceeds(transitions: int, memory: int, row_bytes: int = 0) -> bool:
    """Return whether a dataset would take more than `memory` bytes in memory.

    Args:
        transitions: how many it has.
        memory: the bytes.
        row_bytes: bytes of a transition in the file that are held beside those of its graph.
    """
    return transitions * (BYTES_A_TRANSITION + row_bytes) > memory
