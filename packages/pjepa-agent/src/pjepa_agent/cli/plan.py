"""The command `pjepa-plan`. Nothing heavy is imported before the arguments are known to be good."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from bisim_theory.console import Parser, plain_warnings, print_error, print_result

from pjepa_agent.cli.terminal import heavy_imports, log_to_terminal
from pjepa_agent.cli.waiting import wait_briefly

DESCRIPTION = """\
Plan with a trained run, in its world: act by the predictions of its dynamics T, towards the reward that P predicts or
towards a goal observation, and measure how well that goes beside a random policy and the optimum. Writes plan.json and
pictures of episodes into the run directory."""

EXAMPLE = "example: pjepa-plan runs/NAME --task goal --planner icem --horizon 8"

PLANNERS = ("icem", "cem", "mppi", "exhaustive")


def make_parser() -> Parser:
    """Make the parser of `pjepa-plan`."""
    parser = Parser(prog="pjepa-plan", description=DESCRIPTION, epilog=EXAMPLE, allow_abbrev=False)
    parser.add_argument("run", metavar="RUN", help="run directory of pjepa-train")
    parser.add_argument(
        "--task", choices=("reward", "goal"), default="reward",
        help="reach the reward that P predicts, or a goal observation (default: reward)",
    )  # fmt: skip
    parser.add_argument(
        "--goal", metavar="N|FILE|all",
        help="goal: number of a held-out observation, in the counting world a count; or a file (.npy or an image). "
        "all, which is the default: every pair of a start and another goal, elsewhere held-out observations in turn",
    )  # fmt: skip
    parser.add_argument("--planner", choices=PLANNERS, default="icem", help="how to plan (default: icem)")
    parser.add_argument(
        "--horizon", metavar="N", type=int, help="steps that are predicted (default: 6, and 8 for a goal)"
    )
    parser.add_argument(
        "--episodes", metavar="N", type=int,
        help="number of episodes (default: 200; 216 for goals of the counting world, three rounds of all 72 pairs)",
    )  # fmt: skip
    parser.add_argument(
        "--cost", metavar="MODULE:FUNCTION",
        help="cost of your own instead of the task's: predicted embeddings (B, N, H, d), actions (B, N, H, A) and the "
        "model -> costs (B, N), tensors of PyTorch",
    )  # fmt: skip
    parser.add_argument(
        "--set", metavar="NAME=VALUE", action="append", default=[], dest="settings",
        help="setting of the planner, such as samples=100 or iterations=5",
    )  # fmt: skip
    parser.add_argument(
        "--refit", action="store_true",
        help="plan also with T refitted on the frozen encoder, and given the signs of actions where these are their "
        "codes; kept in the run's checkpoints/",
    )  # fmt: skip
    parser.add_argument(
        "--at", choices=("last", "best"), default="last",
        help="model of the last update (default), or of the best evaluation",
    )  # fmt: skip
    parser.add_argument(
        "--env", metavar="ID|MODULE:FUNCTION", help="environment to act in, for a run that learnt from a dataset"
    )
    parser.add_argument(
        "--env-arg", metavar="NAME=JSON", action="append", default=[], help="argument of that environment"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, or cuda:N (default: auto)")
    parser.add_argument("--seed", metavar="N", type=int, default=0, help="seed of episodes and samples (default: 0)")
    parser.add_argument("--json", metavar="FILE", help="also write what plan.json holds to a file, or - for the screen")
    return parser


@plain_warnings()
def main(argv: list[str] | None = None) -> int:
    """Run `pjepa-plan`. Exit status: 0 done, 2 bad input or usage, 130 interrupted."""
    parser = make_parser()
    options = parser.parse_args(argv)
    _check(parser, options)
    try:
        return _plan(options)
    except KeyboardInterrupt:
        return 130


def _check(parser: Parser, options: argparse.Namespace) -> None:
    """Exit with status 2 where the arguments alone cannot be used."""
    for name in ("horizon", "episodes"):
        value = getattr(options, name)
        if value is not None and value < 1:
            parser.error(f"--{name} {value}: must be at least 1")
    if not 0 <= options.seed < 2**31:
        parser.error(f"--seed {options.seed}: must be from 0 to {2**31 - 1}")
    if options.goal is not None and options.task != "goal":
        parser.error(f"--goal {options.goal}: needs --task goal")
    if options.env_arg and options.env is None:
        parser.error("--env-arg: needs --env")


def _plan(options: argparse.Namespace) -> int:
    """Plan, write and print; return the exit status."""
    from bisim_theory.data.transitions import DatasetError

    from pjepa_agent.config.fields import ConfigError
    from pjepa_agent.runs.directory import RunDirectory, RunError

    log_to_terminal()
    wait_briefly()
    errors: tuple[type[BaseException], ...] = (RunError, DatasetError, ConfigError, OSError, MemoryError)
    try:
        RunDirectory.open(options.run)  # before PyTorch is imported
        arguments = _environment_arguments(options.env_arg)
        with heavy_imports():
            from pjepa_agent.planning.base import PlanningError
            from pjepa_agent.planning.control import plan_run
            from pjepa_agent.run import choose_device
            from pjepa_agent.runs.interruption import quiet_libraries
        quiet_libraries()
        errors += (PlanningError,)
        answer = plan_run(
            options.run,
            options.at,
            choose_device(options.device),
            task=options.task,
            goal=options.goal,
            planner=options.planner,
            horizon=options.horizon,
            episodes=options.episodes,
            cost=options.cost,
            seed=options.seed,
            settings=options.settings,
            environment=options.env,
            arguments=arguments,
            refit=options.refit,
        )
        print_result("\n".join(_write(options, answer)))
    except errors as error:
        return print_error("pjepa-plan", error)
    return 0


def _write(options: argparse.Namespace, answer: Any) -> list[str]:
    """Write all files and return the lines to print."""
    from bisim_theory.files import write_json

    from pjepa_agent.figures.episodes import write_animation, write_strips
    from pjepa_agent.planning.report import describe
    from pjepa_agent.runs.directory import RunDirectory

    run = RunDirectory(options.run)
    run.figures.mkdir(exist_ok=True)
    pictures = [run.figures / f"plan_{options.task}.{kind}" for kind in ("png", "gif")]
    write_strips(pictures[0], answer.episodes, answer.goals, answer.classify)
    write_animation(pictures[1], answer.episodes, answer.goals, answer.classify)
    written = [run.path / "plan.json"]
    write_json(written[0], answer.numbers)
    if options.json == "-":
        return [json.dumps(answer.numbers, indent=2)]
    if options.json is not None:
        written.append(Path(options.json))
        write_json(written[1], answer.numbers)
    return [*describe(answer.numbers), f"written: {', '.join(map(str, [*written, *pictures]))}"]


def _environment_arguments(given: list[str]) -> dict[str, Any]:
    from pjepa_agent.config.fields import ConfigError

    found = {}
    for each in given:
        name, equals, text = each.partition("=")
        try:
            found[name] = json.loads(text)
        except ValueError:
            equals = ""
        if not (name and equals):
            raise ConfigError(f"--env-arg {each}: must be NAME=JSON")
    return found


if __name__ == "__main__":
    sys.exit(main())
