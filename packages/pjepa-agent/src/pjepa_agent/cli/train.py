"""The command `pjepa-train`. Nothing heavy is imported before the arguments are known to be good."""

import argparse
import itertools
import logging
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from bisim_theory.console import Parser, print_error, print_result

from pjepa_agent.cli.terminal import collected_signals, log_to_terminal, without_garbage_collection
from pjepa_agent.config.fields import ConfigError
from pjepa_agent.config.presets import PRESETS, make_config
from pjepa_agent.config.schema import EXPERIMENTS, Config

if TYPE_CHECKING:
    from pjepa_agent.compute.processes import Processes
    from pjepa_agent.runs.directory import RunDirectory

DESCRIPTION = """\
Train a P-JEPA on the counting environment: collect transitions of a random policy, train encoder, latent dynamics
and auxiliary head jointly, and leave a run directory that bisim-check reads."""


def make_parser() -> Parser:
    """The options of `pjepa-train`."""
    parser = Parser(prog="pjepa-train", description=DESCRIPTION, allow_abbrev=False)
    default = PRESETS["laptop"]
    parser.add_argument(
        "--preset", choices=list(PRESETS), default=None, help="scale of network, data and budget (default: laptop)"
    )
    parser.add_argument(
        "--experiment",
        choices=EXPERIMENTS,
        default=None,
        help="experiment of the paper: reward auxiliary (default), random auxiliary, one of the two losses alone",
    )
    parser.add_argument(
        "--auxiliary",
        metavar="NAME",
        default=None,
        help="another auxiliary function: reward, q, random, random-network, a label such as count, or module:function",
    )
    parser.add_argument("--seed", type=int, default=None, help="fixes data, initialisation and sampling (default: 0)")
    parser.add_argument(
        "--updates",
        type=int,
        default=None,
        help=f"optimisation steps (default: the preset's, {default.optimization.updates} for laptop)",
    )
    parser.add_argument(
        "--set",
        metavar="SECTION.FIELD=VALUE",
        action="append",
        default=None,
        help="any field of the configuration, as config.json names it: optimization.batch_size=64; may be repeated",
    )
    parser.add_argument("--run-dir", metavar="DIR", help="new directory of the run (default: one under runs/)")
    parser.add_argument("--resume", metavar="DIR", help="go on with an interrupted run; its own configuration is used")
    parser.add_argument(
        "--device", choices=("auto", "cpu", "cuda"), default="auto", help="auto (default) takes a GPU when there is one"
    )
    parser.add_argument(
        "--wandb",
        choices=("disabled", "offline", "online"),
        default="disabled",
        help="log to Weights & Biases; offline touches no network (default: disabled)",
    )
    return parser


def configure(options: argparse.Namespace) -> Config:
    """The configuration that the options of a new run ask for; raises `ConfigError`."""
    config = make_config(
        options.preset or "laptop",
        options.experiment or "reward",
        options.seed or 0,
        options.updates,
        options.auxiliary,
    )
    return config.override(options.set or ())


def main(argv: list[str] | None = None) -> int:
    """Run `pjepa-train`; returns 0 done, 2 bad input or usage, 130 or 143 interrupted and saved."""
    parser = make_parser()
    options = parser.parse_args(argv)
    config = None
    try:
        if options.resume is None:
            config = configure(options)
    except ConfigError as error:
        parser.error(str(error))
    if options.resume is not None:
        for name in ("preset", "experiment", "auxiliary", "seed", "updates", "set", "run_dir"):
            if getattr(options, name) is not None:
                parser.error(f"--{name.replace('_', '-')}: a resumed run keeps its own; leave it out beside --resume")
    return _run(options, config)


def _run(options: argparse.Namespace, config: Config | None) -> int:
    log_to_terminal()
    from pjepa_agent.collection import prefetch

    collected = None if config is None else prefetch.start(config)
    with without_garbage_collection():
        from bisim_theory.data.transitions import DatasetError

        from pjepa_agent.compute.processes import init_processes
        from pjepa_agent.run import choose_device, prepare, train_run
        from pjepa_agent.runs.directory import RunDirectory, RunError
        from pjepa_agent.training import Interrupted, TrainingError

    logging.getLogger("torchrl").setLevel(logging.WARNING)  # TorchRL announces every storage that it allocates
    try:
        with init_processes() as processes:
            device = choose_device(options.device)
            if config is None:
                run, config = RunDirectory.open(options.resume)
            else:
                config = prepare(config)
                processes.local_batch_size(config.optimization.batch_size)
                run = _begin(config, options.run_dir, processes)
            with collected_signals() as received:
                report = train_run(run, config, device, options.wandb, lambda: bool(received), processes, collected)
        if report:
            print_result(_last_words(run.path, report))
    except Interrupted as interrupted:
        number = received[0] if received else signal.SIGTERM  # it may have been another process that was told to stop
        if not processes.is_main:
            return 128 + number
        sys.stderr.write(
            f"pjepa-train: interrupted and saved after {interrupted.update} updates; "
            f"go on with: pjepa-train --resume {run.path}\n"
        )
        return 128 + number
    except (RunError, TrainingError, ConfigError, DatasetError, OSError, MemoryError) as error:
        return print_error("pjepa-train", error)
    return 0


def _begin(config: Config, path: str | None, processes: "Processes") -> "RunDirectory":
    """The new directory of a run, which rank 0 makes."""
    from pjepa_agent.runs.directory import RunDirectory

    made = None
    if processes.is_main:
        made = RunDirectory.create(_new_name(config) if path is None else path, config).path
    return RunDirectory(processes.broadcast_path(made))


def _new_name(config: Config) -> Path:
    stamp = time.strftime("%Y%m%d-%H%M%S")
    kind: str = config.experiment
    if config.objective.auxiliary not in (kind, "reward"):
        kind = f"{kind}-{config.objective.auxiliary.replace(':', '-')}"
    name = Path("runs") / f"{config.preset}-{kind}-seed{config.seed}-{stamp}"
    # The clock can show one second twice.
    numbered = (name.with_name(f"{name.name}-{number}") for number in itertools.count(2))
    return next(path for path in itertools.chain([name], numbered) if not path.exists())


def _last_words(path: object, report: dict[str, object]) -> str:
    return "\n".join(
        [
            f"nearest-centroid accuracy, held out: {report['nearest_centroid_accuracy']:.4f} at the last update"
            f" (best {report['best_nearest_centroid_accuracy']:.4f} at update {report['best_update']},"
            f" untrained {report['untrained_nearest_centroid_accuracy']:.4f})",
            f"within/across distance: {report['within_across_ratio']:.3f}",
            f"{report['updates']} updates in {report['seconds']:.0f} s",
            f"written to {path}: config.json, metrics.csv, checkpoints/, transitions.npz, representation.npz, "
            "figures/, report.json, provenance.json",
            f"next: bisim-check {path}",
        ]
    )
