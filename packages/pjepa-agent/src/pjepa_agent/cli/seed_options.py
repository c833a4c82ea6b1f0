"""The option ``--seeds`` of `pjepa-train`. Imports nothing heavy."""

import argparse
import os

from pjepa_agent.config.fields import ConfigError

MOST_SEEDS = 10_000
"""Most seeds of one command."""


def seed_list(text: str) -> tuple[int, ...]:
    """Parse seeds such as ``0-4``, ``0,3,7`` or ``0-2,7`` in ascending order.

    Raises:
        ArgumentTypeError: they have another form, or one is named twice.
    """
    seeds: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not (first.isdecimal() and (last.isdecimal() or not dash)):
            raise argparse.ArgumentTypeError(f"{text!r}: must be seeds such as 0-4 or 0,3,7")
        begin, end = int(first), int(last or first)
        if end < begin:
            raise argparse.ArgumentTypeError(f"{text!r}: {part.strip()} ends before it begins; write {end}-{begin}")
        if len(seeds) + end - begin >= MOST_SEEDS:
            raise argparse.ArgumentTypeError(f"{text!r}: is more than {MOST_SEEDS} seeds")
        seeds += range(begin, end + 1)
    if len(set(seeds)) < len(seeds):
        raise argparse.ArgumentTypeError(f"{text!r}: names a seed twice")
    return tuple(sorted(seeds))


def check_seed_options(options: argparse.Namespace) -> None:
    """Raise `ConfigError` unless the options go together with ``--seeds``."""
    if options.seed is not None:
        raise ConfigError("--seeds: excludes --seed; name all seeds with --seeds")
    if options.collect_only:
        raise ConfigError("--seeds: excludes --collect-only, which collects for one run; give it each --seed by itself")
    if not options.run_dir:
        raise ConfigError("--seeds: needs --run-dir DIR, in which each seed gets a folder of its own")
    if "TORCHELASTIC_RUN_ID" in os.environ:
        raise ConfigError("--seeds: starts processes of its own; leave out torchrun, or train one --seed with it")
