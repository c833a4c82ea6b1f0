"""Record every start of a run in ``provenance.json``: command, seed, revision, versions and hardware."""

import contextlib
import datetime
import importlib.metadata
import json
import logging
import os
import platform
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from bisim_theory.files import write_json

from pjepa_agent.config.schema import Config
from pjepa_agent.runs.directory import RunDirectory, RunError
from pjepa_agent.runs.fingerprint import is_other_function
from pjepa_agent.runs.sources import changed_sources, source_digests

logger = logging.getLogger("pjepa_agent")

PACKAGES = (
    "pjepa-agent", "bisim-theory", "counting-env", "torch", "tensordict", "torchrl", "gymnasium", "numpy",
    "scikit-learn",
)  # fmt: skip
"""Packages whose versions affect the numbers of a run."""


def record_start(run: RunDirectory, config: Config, device: torch.device, auxiliary: dict[str, Any] | None) -> None:
    """Append this start of a run to its ``provenance.json``, a list with one entry per start, oldest first.

    Log a warning for an objective or an encoder of the user's whose file has changed since the start before.

    Args:
        run: the run.
        config: its configuration.
        device: where it trains.
        auxiliary: the fingerprint of p, if it is a function of the user's.

    Raises:
        RunError: the file exists and is not such a list, or p is another function than at an earlier start.
        OSError: the file cannot be written.
    """
    starts: Any = []
    if run.provenance.is_file():
        try:
            starts = json.loads(run.provenance.read_text(encoding="utf-8"))
        except (ValueError, RecursionError):
            starts = None
        if not isinstance(starts, list):
            raise RunError(f"{run.provenance}: is damaged; move it away, it is written anew")
    entry = start(config, device)
    if auxiliary is not None:
        before = [each.get("auxiliary") for each in starts if isinstance(each, dict)]
        if any(is_other_function(each, auxiliary) for each in before):
            raise RunError(
                f"{run.provenance}: auxiliary: {config.objective.auxiliary} had other values when the run began, so "
                "the function has changed; restore it, or begin a new run"
            )
        entry["auxiliary"] = auxiliary
    sources = source_digests(config)
    for name in changed_sources(starts, sources):
        logger.warning(
            "%s: its file has changed since this run was last started; the run goes on with what it is now", name
        )
    if sources:
        entry["sources"] = sources
    write_json(run.provenance, [*starts, entry])


def start(config: Config, device: torch.device) -> dict[str, Any]:
    """Return time, command, seed, revision, versions and hardware of this start of a run."""
    return {
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "seed": config.seed,
        "revision": revision(),
        "versions": {"python": platform.python_version()} | {name: _version(name) for name in PACKAGES},
        "hardware": {
            "system": platform.platform(),
            "processor": _processor(),
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "memory_bytes": _memory(),
            "device": str(device),
            "gpu": torch.cuda.get_device_name(device) if device.type == "cuda" else None,
        },
    }


def revision() -> str | None:
    """Return the Git commit of the working directory, with ``+`` if tracked files differ; None outside a repository."""
    commit = _git("rev-parse", "HEAD")
    return commit and commit + ("+" if _git("status", "--porcelain", "--untracked-files=no") else "")


def _git(*arguments: str) -> str | None:
    """Return the output of a Git command, or None if it fails."""
    with contextlib.suppress(OSError, subprocess.SubprocessError, UnicodeDecodeError):
        done = subprocess.run(["git", *arguments], capture_output=True, text=True, timeout=10, check=True)
        return done.stdout.strip()
    return None


def _version(package: str) -> str | None:
    """Return the installed version of a package, or None."""
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        return importlib.metadata.version(package)
    return None


def _processor() -> str:
    """Return the model name of the processor, or the name of its architecture."""
    with contextlib.suppress(OSError, UnicodeDecodeError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _memory() -> int | None:
    """Return the physical memory in bytes, or None where the system does not tell."""
    with contextlib.suppress(AttributeError, ValueError, OSError):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return None
