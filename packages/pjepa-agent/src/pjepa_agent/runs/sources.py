"""Digests of the files that a user's objective and encoder are in, which tell on resuming whether one has changed."""

import hashlib
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pjepa_agent.config.schema import Config


def source_digests(config: Config) -> dict[str, str]:
    """Compute a digest of the file of each imported module that the configuration names, by ``module:attribute``.

    A module without a file, such as a built-in one, has none.
    """
    names = [name for name in (config.objective.name, config.network.encoder) if ":" in name]
    files = {name: getattr(sys.modules.get(name.partition(":")[0]), "__file__", None) for name in names}
    return {
        name: hashlib.blake2b(Path(file).read_bytes(), digest_size=16).hexdigest()
        for name, file in files.items()
        if file and Path(file).is_file()
    }


def changed_sources(starts: Iterable[Any], now: Mapping[str, str]) -> list[str]:
    """Return the names whose files differ from those of the latest start that has a digest of them.

    Args:
        starts: the entries of ``provenance.json``, oldest first.
        now: the digests of this start.
    """
    before: dict[str, Any] = {}
    for start in starts:
        digests = start.get("sources") if isinstance(start, dict) else None
        before |= digests if isinstance(digests, dict) else {}
    return [name for name, digest in now.items() if before.get(name, digest) != digest]
