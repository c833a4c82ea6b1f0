"""``pjepa-train --collect-only``: collect, say what Theorem 3 says of the transitions, and stop before training."""

import argparse
import os
import shlex
from collections.abc import Iterable
from typing import TYPE_CHECKING

from bisim_theory.console import print_error, print_result

from pjepa_agent.cli.terminal import heavy_imports
from pjepa_agent.config.fields import ConfigError
from pjepa_agent.config.schema import Config
from pjepa_agent.runs.interruption import quiet_libraries

if TYPE_CHECKING:
    from pjepa_agent.runs.directory import RunDirectory


def check_collect_only(config: Config) -> None:
    """Raise `ConfigError` unless a run collects before it trains, in one process."""
    collection = config.collection
    if collection.while_training:
        field = f"collection.policy={collection.policy}" if collection.acts else "collection.online=True"
        raise ConfigError(f"--collect-only: excludes {field}, with which transitions are collected during the training")
    if "TORCHELASTIC_RUN_ID" in os.environ:
        raise ConfigError("--collect-only: collects in one process; leave out torchrun")


def collect_only(options: argparse.Namespace, config: Config) -> int:
    """Collect the transitions of a new run into its directory and name the next commands; return the exit status."""
    from pjepa_agent.collection import prefetch

    collected = prefetch.start(config)
    with heavy_imports():
        from pjepa_agent.cli.new_run import ONE_LINE, begin_run
        from pjepa_agent.envs.registry import make_domain
        from pjepa_agent.run import collect_run, prepare
        from pjepa_agent.runs.directory import RunError

    quiet_libraries()
    begun: RunDirectory | None = None
    try:
        config = prepare(config)
        begun = begin_run(config, make_domain(config.collection).spec, options.run_dir)
        labels = collect_run(begun, config, collected).labels
    except ONE_LINE as error:
        if begun is not None:
            begun.discard()
        return print_error("pjepa-train", error)
    except KeyboardInterrupt:
        if begun is not None:
            begun.discard()
        print_error("pjepa-train", RunError("interrupted; nothing that was collected is kept"))
        return 130
    print_result(_describe_collected(begun, labels, options))
    return 0


def _describe_collected(run: "RunDirectory", labels: Iterable[str], options: argparse.Namespace) -> str:
    """Say what was written, which labels there are, and the next commands."""
    written = [file.name for file in (run.config, run.spec, run.transitions, run.provenance) if file.exists()]
    path, names = shlex.quote(str(run.path)), ", ".join(labels)
    ask = f"bisim-check {path} --want LABELS, which says what protects them" if names else f"bisim-check {path}"
    more = [f"--device {options.device}"] if options.device else []
    more += [f"--wandb {options.wandb}"] if options.wandb != "disabled" else []
    return "\n".join([
        f"written to {run.path}: {', '.join(written)}",
        f"labels: {names or 'none, so there is nothing for bisim-check --want to ask for'}",
        f"next: {ask}; then {' '.join(['pjepa-train --resume', path, *more])}, which trains",
    ])  # fmt: skip
