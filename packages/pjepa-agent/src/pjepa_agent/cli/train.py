"""The command `pjepa-train`. Nothing heavy is imported before the arguments are known to be good."""

import argparse
import dataclasses
import signal
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from bisim_theory.console import Parser, counted, plain_warnings, print_error, print_result

from pjepa_agent.cli.collect_only import check_collect_only, collect_only
from pjepa_agent.cli.fields import Help, Override, add_field_options
from pjepa_agent.cli.seed_options import check_seed_options, seed_list
from pjepa_agent.cli.terminal import heavy_imports, log_to_terminal
from pjepa_agent.cli.waiting import wait_briefly
from pjepa_agent.config.fields import DEVICES, ConfigError, is_device, parse_value
from pjepa_agent.config.presets import PRESETS, make_config
from pjepa_agent.config.schema import EXPERIMENTS, OBJECTIVES, OWN_FIELDS, Config
from pjepa_agent.runs.interruption import collected_signals, quiet_libraries

if TYPE_CHECKING:
    from pjepa_agent.runs.directory import RunDirectory

DESCRIPTION = """\
Train a P-JEPA on the counting environment, on any other or on a dataset: collect transitions of a random policy, train
encoder, latent dynamics and auxiliary head jointly, and leave a run directory that bisim-check reads."""

EXAMPLE = """\
example: pjepa-train --experiment random --seed 1 --network.width 32; several seeds: pjepa-train --seeds 0-4 --run-dir
runs/five"""


def make_parser() -> Parser:
    """Make the parser of `pjepa-train`: its own options, and one for every field of the configuration."""
    parser = Parser(prog="pjepa-train", description=DESCRIPTION, epilog=EXAMPLE, allow_abbrev=False, add_help=False)
    parser.add_argument("-h", "--help", action=Help, help="show all options, and exit")
    _add_run_options(parser)
    parser.add_argument(
        "--set",
        metavar="SECTION.FIELD=VALUE",
        action=Override,
        help="set a field by its name in config.json, as in --set optimization.batch_size=64; may be repeated",
    )
    add_field_options(parser, "set")
    parser.add_argument("--run-dir", metavar="DIR", help="new directory for the run (default: one under runs/)")
    parser.add_argument(
        "--resume",
        metavar="DIR",
        help="continue an interrupted run with its own configuration, or all of --seeds, as in --resume runs/A",
    )
    parser.add_argument(
        "--collect-only",
        action="store_true",
        help="collect the transitions, say which of their distinctions p protects, and stop before the first update; "
        "--resume DIR then trains",
    )
    parser.add_argument(
        "--device",
        metavar="auto|cpu|cuda|cuda:N",
        type=_device,
        help="where to train; auto (default): on a GPU if there is one",
    )
    parser.add_argument(
        "--wandb",
        choices=("disabled", "offline", "online"),
        default="disabled",
        help="log to Weights & Biases; offline touches no network (default: disabled)",
    )
    return parser


def _device(name: str) -> str:
    if not is_device(name):
        raise argparse.ArgumentTypeError(f"invalid choice: {name!r} (choose from {DEVICES})")
    return name


def _add_run_options(parser: Parser) -> None:
    """Add the options that `make_config` takes."""
    parser.add_argument("--preset", choices=list(PRESETS), help="scale of network, data and budget (default: laptop)")
    parser.add_argument(
        "--experiment",
        choices=EXPERIMENTS,
        help="experiment of the paper: reward auxiliary (default), random auxiliary, or one of the two losses alone",
    )
    parser.add_argument(
        "--auxiliary",
        metavar="NAME",
        help="another auxiliary function: reward, a label such as count, module:function, random, random-network; in "
        "the counting world also q, in others terminated, reward:actions (the rewards of all actions), constant, of "
        "--data also auxiliary (as stored there). NAME:round:STEP and, not in the counting world, NAME:bins:K are "
        "coarser; a+b is both",
    )
    parser.add_argument(
        "--env",
        metavar="ID|module:function",
        help="another environment to train on, as in minigrid:MiniGrid-Empty-5x5-v0 (default: CountingEnv-v0)",
    )
    parser.add_argument(
        "--env-arg",
        metavar="NAME=JSON",
        action="append",
        help="keyword argument of that environment, as in is_slippery=false; may be repeated",
    )
    parser.add_argument(
        "--data",
        metavar="PATH",
        help="train on a dataset in place of an environment, in any format that bisim-check reads",
    )
    parser.add_argument(
        "--encoder",
        metavar="module:function",
        help="function that makes your own encoder, called with the shapes of the world and the width of an embedding",
    )
    parser.add_argument(
        "--objective",
        metavar="NAME|module:Class",
        help=f"what trains the encoder: {', '.join(OBJECTIVES)}, or your own (default: pjepa)",
    )
    parser.add_argument(
        "--objective-arg",
        metavar="NAME=JSON",
        action="append",
        help="setting of that objective, as in reward_weight=2; may be repeated",
    )
    parser.add_argument("--seed", type=int, help="seed of data, initialisation and sampling (default: 0)")
    parser.add_argument(
        "--seeds",
        metavar="A-B",
        type=seed_list,
        help="train several seeds, as 0-4 or 0,3,7, each in a folder of its own in --run-dir DIR, and give mean and "
        "range of what is measured; --resume DIR goes on with all of them",
    )
    parser.add_argument(
        "--updates",
        type=int,
        help=f"optimisation steps (default: the preset's, {PRESETS['laptop'].optimization.updates} for laptop)",
    )


def configure(options: argparse.Namespace) -> Config:
    """Make the configuration of a new run from its options.

    Raises:
        ConfigError: a value is not allowed.
    """
    if options.env is not None and options.data is not None:
        raise ConfigError("--env: excludes --data; a run has one world")
    config = make_config(
        options.preset or "laptop",
        options.experiment or "reward",
        options.seed or 0,
        options.updates,
        options.auxiliary,
        environment=options.env,
        dataset=options.data,
        objective=options.objective,
    )
    collection = dataclasses.replace(
        config.collection, arguments=_named_values("--env-arg", options.env_arg, "is_slippery=false")
    )
    objective = dataclasses.replace(
        config.objective, arguments=_named_values("--objective-arg", options.objective_arg, "reward_weight=2")
    )
    encoder = config.network.encoder if options.encoder is None else options.encoder
    network = dataclasses.replace(config.network, encoder=encoder)
    config = dataclasses.replace(config, collection=collection, network=network, objective=objective)
    config = config.override(options.set or ())
    _check_fields_of_pjepa(config, options.set or ())
    return config


def _check_fields_of_pjepa(config: Config, overrides: Sequence[str]) -> None:
    """Raise `ConfigError` where a field is set that the objective does not read."""
    for override in overrides:
        name = override.partition("=")[0]
        if config.objective.name != "pjepa" and name.removeprefix("objective.") in OWN_FIELDS:
            raise ConfigError(f"{name}: is of pjepa; objective {config.objective.name} takes --objective-arg NAME=JSON")


def _named_values(option: str, settings: Sequence[str] | None, example: str) -> dict[str, Any]:
    """Parse ``NAME=JSON``; what is no JSON is text.

    Raises:
        ConfigError: a setting has another form, or names an argument twice.
    """
    arguments: dict[str, Any] = {}
    for setting in settings or ():
        name, equals, text = setting.partition("=")
        if not equals or not name.isidentifier() or name in arguments:
            raise ConfigError(f"{option} {setting}: must be NAME=JSON, each name once, as in {example}")
        arguments[name] = parse_value(text)
    return arguments


@plain_warnings()
def main(argv: list[str] | None = None, say_results: bool = True) -> int:
    """Run `pjepa-train`. Exit status: 0 done, 2 bad input or usage, 129, 130 or 143 interrupted and saved.

    Args:
        argv: the options; None for those of the process.
        say_results: print the last lines of a run.
    """
    try:
        return _main(argv, say_results)
    except KeyboardInterrupt:  # before signals are collected, while PyTorch is imported
        return 130


def _main(argv: list[str] | None, say_results: bool) -> int:
    parser = make_parser()
    options = parser.parse_args(argv)
    log_to_terminal()
    wait_briefly()
    if options.resume is not None:
        _check_resumed(parser, options)
        return _resume(parser, options, say_results)
    try:
        config = configure(options)
        if options.seeds is not None:
            check_seed_options(options)
        if options.collect_only:
            check_collect_only(config)
    except ConfigError as error:
        parser.error(_with_alternative(str(error)))
    if options.seeds is not None:
        from pjepa_agent.cli import seeds

        return seeds.begin(options, config, sys.argv[1:] if argv is None else argv)
    return collect_only(options, config) if options.collect_only else _run(options, config, say_results)


def _with_alternative(message: str) -> str:
    """Name the option that does what no update was to do."""
    no_updates = message.startswith("optimization.updates=0:")
    return f"{message}; --collect-only collects the transitions and trains nothing" if no_updates else message


def _resume(parser: Parser, options: argparse.Namespace, say_results: bool) -> int:
    """Go on with a run, or with several seeds."""
    from pjepa_agent.cli import seeds

    if seeds.is_folder_of_seeds(options.resume):
        return seeds.resume(options, lambda arguments: configure(parser.parse_args(arguments)))
    return _run(options, None, say_results)


def _check_resumed(parser: Parser, options: argparse.Namespace) -> None:
    """Refuse options that would change the configuration of a run that is resumed."""
    if options.collect_only:
        parser.error("--collect-only: begins a new run; leave it out with --resume")
    kept = (
        "preset",
        "experiment",
        "auxiliary",
        "env",
        "env_arg",
        "data",
        "encoder",
        "objective",
        "objective_arg",
        "seed",
        "seeds",
        "updates",
        "set",
        "run_dir",
    )
    for name in kept:
        if getattr(options, name) is not None:
            option = options.overridden_by if name == "set" else f"--{name.replace('_', '-')}"
            parser.error(f"{option}: a resumed run keeps its own; leave it out with --resume")


def _run(options: argparse.Namespace, config: Config | None, say_results: bool) -> int:
    """Train the run of a configuration, or resume one if there is none, and print its summary if wanted."""
    from pjepa_agent.collection import prefetch

    collected = None if config is None else prefetch.start(config)
    with heavy_imports():
        from bisim_theory.data.imported import describe_error

        from pjepa_agent.cli.last_lines import describe_trained
        from pjepa_agent.cli.new_run import ONE_LINE, open_run
        from pjepa_agent.compute.processes import init_processes
        from pjepa_agent.run import train_run
        from pjepa_agent.runs.directory import RunError
        from pjepa_agent.training import Interrupted

    quiet_libraries()
    begun: RunDirectory | None = None
    try:
        with init_processes() as processes:
            path = options.resume if config is None else options.run_dir
            run, config, device, new = open_run(config, path, options.device, processes)
            begun = run if new and processes.is_main else None
            with collected_signals() as received:
                report = train_run(run, config, device, options.wandb, lambda: bool(received), processes, collected)
        if report and say_results:
            print_result(describe_trained(run.path, report))
    except Interrupted as interrupted:
        number = received[0] if received else signal.SIGTERM  # the signal may have reached another process
        if not processes.is_main:
            return 128 + number
        sys.stderr.write(
            f"pjepa-train: interrupted and saved after {counted(interrupted.update, 'update')}; "
            f"go on with: pjepa-train --resume {run.path}\n"
        )
        return 128 + number
    except ONE_LINE as error:
        if begun is not None:
            begun.discard()
        return print_error("pjepa-train", error)
    except SystemExit as error:  # of an encoder or an objective of the user's, while it trains
        path = options.resume if begun is None else begun.path
        go_on = "" if path is None else f"; go on with: pjepa-train --resume {path}"
        return print_error("pjepa-train", RunError(f"ended before it was finished: {describe_error(error)}{go_on}"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
