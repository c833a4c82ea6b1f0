"""Several seeds of one configuration: ``pjepa-train --seeds 0-4 --run-dir DIR``."""

import argparse
import contextlib
import dataclasses
import logging
import sys
from collections.abc import Callable, Generator, Mapping, Sequence
from pathlib import Path

from bisim_theory.console import counted, print_error, print_next, print_result
from bisim_theory.theorem.check import EXPLAINED

from pjepa_agent.cli.seed_jobs import Ended, Job
from pjepa_agent.cli.seed_processes import COMMAND, side_by_side, train_in_processes
from pjepa_agent.cli.seeds_in_turn import graph_device, train_in_turn
from pjepa_agent.config.fields import ConfigError
from pjepa_agent.config.schema import Config
from pjepa_agent.runs.directory import RunDirectory, RunError
from pjepa_agent.runs.interruption import collected_signals
from pjepa_agent.runs.seeds import FAILED, FINISHED, Outcome, SeedFolder, SeedPlan, summary

logger = logging.getLogger("pjepa_agent")

OF_THE_COMMAND = ("--seeds", "--run-dir", "--device", "--wandb")
"""Options that are not of the configuration."""

SHOWN = {
    "nearest_centroid_accuracy": ("accuracy", ".4f"),
    "within_across_ratio": ("within/across", ".3f"),
    "theorem_least_explained_share": ("explained share", ".4f"),
    "theorem_unexplained_levels": ("levels not explained", ".4g"),
    "theorem_collapsed_pairs": ("collapsed pairs", ".4g"),
}
"""Name and format of the measures that the last lines show."""

ASKED = {
    "theorem_least_explained_share": f", asked: {EXPLAINED}",
    "theorem_unexplained_levels": ", asked: 0",
    "theorem_collapsed_pairs": ", asked: 0",
}
"""What is asked of a measure, to follow its values."""


def begin(options: argparse.Namespace, config: Config, arguments: Sequence[str]) -> int:
    """Train the seeds of a command, and go on with those that are there; return the exit status.

    Args:
        options: of the command.
        config: that they make.
        arguments: the options as text.
    """
    folder = SeedFolder(options.run_dir)
    try:
        plan = SeedPlan(options.seeds, _of_configuration(arguments), config)
        dataclasses.replace(config, seed=plan.seeds[-1])  # too large a seed is refused here
        folder.check(plan)
        known = folder.read().seeds if folder.file.exists() else ()
        whole = SeedPlan(tuple(sorted({*known, *plan.seeds})), plan.options, config)
        return _train(folder, whole, plan.seeds, options)
    except (RunError, ConfigError, OSError) as error:
        return print_error("pjepa-train", error)


def is_folder_of_seeds(path: str) -> bool:
    """Return whether ``--resume`` names a folder of several seeds."""
    return SeedFolder(path).file.exists() and not RunDirectory(path).config.exists()


def resume(options: argparse.Namespace, configure: Callable[[Sequence[str]], Config]) -> int:
    """Go on with all seeds of a folder, and begin those that were not begun; return the exit status.

    Args:
        options: of the command.
        configure: makes a configuration from options.
    """
    folder = SeedFolder(options.resume)
    try:
        plan = folder.read()
        folder.check(SeedPlan(plan.seeds, plan.options, configure(plan.options)), "go on with each seed by itself")
        return _train(folder, plan, plan.seeds, options)
    except (RunError, ConfigError, OSError) as error:
        return print_error("pjepa-train", error)


def _of_configuration(arguments: Sequence[str]) -> tuple[str, ...]:
    """Return the options that make the configuration."""
    kept: list[str] = []
    rest = iter(arguments)
    for argument in rest:
        name, equals, _ = argument.partition("=")
        if name not in OF_THE_COMMAND:
            kept.append(argument)
        elif not equals:
            next(rest)
    return tuple(kept)


def _train(folder: SeedFolder, plan: SeedPlan, asked: Sequence[int], options: argparse.Namespace) -> int:
    """Train those of the asked seeds that are not finished, write ``seeds.json``, and say what became of all."""
    folder.path.mkdir(parents=True, exist_ok=True)
    with RunDirectory(folder.path).exclusive():
        with collected_signals() as received:
            over: dict[int, Ended] = {}
            with contextlib.closing(_run(folder, plan, asked, options, lambda: bool(received))) as running:
                for ended in running:
                    over[ended.seed] = ended
                    if ended.status == 2 and not any(map(folder.begun, plan.seeds)):
                        break  # what one cannot begin with, no other can
                    folder.write(plan, _outcomes(folder, plan, over))
        if over and not received and not any(map(folder.begun, plan.seeds)):
            folder.discard()
            return print_error("pjepa-train", RunError(next(iter(over.values())).reason))
        outcomes = _outcomes(folder, plan, over)
        folder.write(plan, outcomes)
    print_result(describe(outcomes, folder.path))
    return _status(folder.path, [each for each in outcomes if each.seed in asked], received)


def _run(
    folder: SeedFolder,
    plan: SeedPlan,
    asked: Sequence[int],
    options: argparse.Namespace,
    should_stop: Callable[[], bool],
) -> Generator[Ended, None, None]:
    """Train those of the asked seeds that are not finished, and yield how each ended."""
    outcomes = _outcomes(folder, plan, {})
    folder.write(plan, outcomes)
    waiting = [each.seed for each in outcomes if each.seed in asked and each.status != FINISHED and not each.damaged]
    common = ["--device", options.device] if options.device else []
    common += ["--wandb", options.wandb] if options.wandb != "disabled" else []
    jobs = []
    for seed in waiting:
        folder.clear_beginning(seed)
        path = str(folder.run(seed).path)
        new = [*plan.options, *common, "--seed", str(seed), "--run-dir", path]
        if folder.begun(seed):
            jobs.append(Job(seed, ["--resume", path, *common], path))
        else:
            jobs.append(Job(seed, new, path, dataclasses.replace(plan.config, seed=seed)))
    if not jobs:
        return
    several = len(jobs) > 1 and options.wandb == "disabled"  # which has one run a process
    device = graph_device(options.device, plan.config.compute) if several else None
    at_a_time = min(side_by_side(options.device or plan.config.compute.device), len(jobs))
    together = "in turn" if device else f"{at_a_time} at a time" if at_a_time > 1 else "one after another"
    # With the first line of the first seed: bad input, which no seed begins with, has one line in all.
    heading = iter([f"to train, {together}: seed {', '.join(str(job.seed) for job in jobs)}"])

    def say(seed: int, line: str) -> None:
        for text in heading:
            logger.info("%s", text)
        logger.info("seed %d: %s", seed, line)

    if device is not None:
        yield from train_in_turn(jobs, device, should_stop, say)
    else:
        yield from train_in_processes(jobs, at_a_time, should_stop, say, COMMAND)


def _outcomes(folder: SeedFolder, plan: SeedPlan, over: Mapping[int, Ended]) -> list[Outcome]:
    return [_with_reason(folder.outcome(seed), over.get(seed)) for seed in plan.seeds]


def _with_reason(outcome: Outcome, ended: Ended | None) -> Outcome:
    """Add why the seed's training ended, if it has and the seed is not finished."""
    if ended is None or outcome.status == FINISHED or outcome.damaged:
        return outcome
    if ended.status == 0:
        return dataclasses.replace(outcome, status=FAILED, detail="ended with status 0 before it was finished")
    return dataclasses.replace(outcome, status=FAILED if ended.failed else outcome.status, detail=ended.reason)


def describe(outcomes: Sequence[Outcome], path: Path) -> str:
    """Format a line a seed, where all of it is, and mean and range of the main measures over the finished seeds."""
    finished = [each for each in outcomes if each.status == FINISHED]
    over = ", ".join(
        f"{SHOWN[name][0]} {each['mean']:{SHOWN[name][1]}} "
        f"({each['lowest']:{SHOWN[name][1]}} to {each['highest']:{SHOWN[name][1]}}{ASKED.get(name, '')})"
        for name, each in summary(outcomes).items()
        if name in SHOWN
    )
    of = f"{len(finished)} of {counted(len(outcomes), 'seed')} finished"
    return "\n".join([
        *(f"seed {each.seed}: {_describe(each)}" for each in outcomes),
        f"written to {path}: seeds.json, and a run directory seed-N for each seed",
        f"{of}: {over}" if over else of,
    ])  # fmt: skip


def _asked(name: str) -> str:
    return f" ({ASKED[name].removeprefix(', ')})" if name in ASKED else ""


def _describe(outcome: Outcome) -> str:
    if outcome.report is None:
        return f"{outcome.status}: {outcome.detail}" if outcome.detail else outcome.status
    measures = [
        f"{SHOWN[name][0]} {'not measured' if value is None else format(value, SHOWN[name][1]) + _asked(name)}"
        for name, value in outcome.measures.items()
        if name in SHOWN
    ]
    return (
        f"{', '.join(measures)} ({counted(outcome.report['updates'], 'update')} in {outcome.report['seconds']:.0f} s)"
    )


def _status(path: Path, asked: Sequence[Outcome], received: Sequence[int]) -> int:
    """Say what to do next, and return the exit status."""
    left = [str(each.seed) for each in asked if each.status != FINISHED]
    if not left:
        print_next(f"pjepa-curves {path}/seed-*")
        return 0
    go_on = f"go on with: pjepa-train --resume {path}"
    if received:
        sys.stderr.write(f"pjepa-train: interrupted and saved; {go_on}\n")
        return 128 + received[0]
    return print_error("pjepa-train", RunError(f"not finished: seed {', '.join(left)}; {go_on}"))
