"""Plan with trained runs, over seeds, and print the tables of docs/planning.md.

Command: ``uv run --group worlds python -m benchmarks.studies.planning``. A run without a record in
``benchmarks/records`` is trained first, and then plans what its world allows; an interrupted one is resumed.
``--only NAME`` takes some of the variants, and ``--list`` prints the options that each is trained with. Times of
decisions are not recorded: the runs share cores.
"""

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pjepa_agent.planning.control import plan_run

from benchmarks.studies import recipes
from benchmarks.studies.records import Key, Records
from benchmarks.studies.study import (
    A_THOUSAND_UPDATES,
    T_GIVEN_VALUES,
    Measures,
    Study,
    add_lanes,
    add_only,
    list_variants,
    study_parser,
)
from benchmarks.tables import markdown, spread

CURVES = ("eval/spread", "eval/rankme")
"""Columns of ``metrics.csv`` that all variants have."""

WORLD = "minigrid-empty-5x5"
"""The world of another project."""

VARIANTS: Mapping[str, list[str]] = {
    "default": A_THOUSAND_UPDATES,
    "values": T_GIVEN_VALUES,
    "pldm": ["--objective", "pldm"],
    WORLD: recipes.VARIANTS[WORLD],
}
"""Options of `pjepa-train` by the name of the variant. That of PLDM sees no reward; P then learns beside it."""

Questions = Mapping[str, Mapping[str, Any]]
"""Keywords of `plan_run` by the name of the question."""

REWARD = "reward"
EXHAUSTIVE = "reward, all sequences"
GOAL = "goal"

COUNTING: Questions = {
    REWARD: {"refit": True},
    EXHAUSTIVE: {"planner": "exhaustive", "horizon": 4, "refit": True},
    GOAL: {"task": "goal", "refit": True},
}

QUESTIONS: Mapping[str, Questions] = {
    "default": COUNTING,
    "values": COUNTING,
    "pldm": {GOAL: COUNTING[GOAL]},
    WORLD: {
        REWARD: {},
        "reward, more samples": {"horizon": 8, "settings": ["samples=500", "elites=30"]},
    },
}
"""What is asked of the runs of a variant."""

POLICIES = {"": "as trained", "unrounded": "P as it is", "refitted": "T refitted", "random_policy": "random policy"}
"""Policies by their key in ``plan.json``, of which the first is the planner's own."""

KEPT = ("success", "optimal", "excess_steps", "model_calls", "return", "steps")
"""Measures of a policy that are recorded."""


def make_parser() -> argparse.ArgumentParser:
    """Return the options of the command."""
    parser = study_parser(__doc__, "planning", seeds="0-2")
    add_lanes(parser)
    add_only(parser, VARIANTS)
    parser.add_argument("--recorded", action="store_true", help="train nothing, and print what is recorded")
    parser.add_argument("--list", action="store_true", help="print each variant with its options, and exit")
    return parser


def main() -> None:
    """Train and plan what is missing, and print the tables."""
    options = make_parser().parse_args()
    variants = {name: VARIANTS[name] for name in options.only}
    if options.list:
        print(list_variants(variants))
        return
    records = Records(options.records, "planning", CURVES)
    if not options.recorded:
        for name, trained in variants.items():
            study = Study(options.runs, {name: trained}, options.seeds, records, measurer(QUESTIONS[name]))
            study.complete(options.lanes)
    print("\n\n".join(tables(records.runs(), options.only, options.seeds)))


def measurer(questions: Questions) -> Callable[[Path], Measures]:
    """Return what asks the questions of a finished run."""
    return lambda path: {name: ask(path, asked) for name, asked in questions.items()}


def ask(path: Path, question: Mapping[str, Any]) -> Measures:
    """Ask a run, and return the numbers of all policies, and those of the planner's own by distance and by goal."""
    found = plan_run(path, **question).numbers
    policies = {key: found if not key else found.get(key) for key in POLICIES}
    return {
        "planner": found["planner"],
        "horizon": found["horizon"],
        "samples": found.get("samples"),
        "episodes": found["episodes"],
        "trivial_left_out": found["trivial_left_out"],
        "policies": {
            key: {name: numbers[name] for name in KEPT} for key, numbers in policies.items() if numbers is not None
        },
        "by_optimum": found["by_optimum"],
        "by_goal": found["by_goal"] if len(found["by_goal"]) <= 9 else [],
    }


def tables(known: Mapping[Key, Mapping[str, Any]], names: Sequence[str], seeds: Sequence[int]) -> list[str]:
    """Format all tables: cells are mean (lowest to highest) over the seeds that are recorded."""
    runs = {name: [known[name, seed] for seed in seeds if (name, seed) in known] for name in names}
    runs = {name: found for name, found in runs.items() if found}
    return [table for table in (control(runs), goals(runs), distances(runs), imagined(runs)) if table]


def control(runs: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """Format what each policy reaches: a row a variant, question and policy."""
    header = ["run", "task", "planner", "T, P", "seeds", "success", "optimal", "excess steps", "T calls"]
    rows = []
    for name, found in runs.items():
        for question in QUESTIONS[name]:
            asked = [run["measures"][question] for run in found]
            for policy, title in POLICIES.items():
                numbers = [each["policies"][policy] for each in asked if policy in each["policies"]]
                if numbers:
                    planner = f"`{asked[0]['planner']}`, horizon {asked[0]['horizon']}"
                    rows.append([
                        name, question, "" if policy == "random_policy" else planner, title, str(len(numbers)),
                        *(spread((each[key] for each in numbers), ".3f") for key in ("success", "optimal")),
                        spread((each["excess_steps"] for each in numbers), ".2f"),
                        spread((each["model_calls"] for each in numbers), ".0f"),
                    ])  # fmt: skip
    return markdown(header, rows) if rows else ""


def goals(runs: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """Format the success by goal image, T as trained: a row a variant."""
    return _by(runs, "goal", "by_goal", "success")


def distances(runs: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """Format the success by the fewest steps to the goal image, T as trained: a row a variant."""
    return _by(runs, "optimum", "by_optimum", "success")


def _by(runs: Mapping[str, Sequence[Mapping[str, Any]]], key: str, measure: str, number: str) -> str:
    """Format a number of the goal task for each value of a key."""
    asked = {name: [run["measures"][GOAL] for run in found] for name, found in runs.items() if GOAL in QUESTIONS[name]}
    asked = {name: found for name, found in asked.items() if found[0][measure]}
    if not asked:
        return ""
    columns = [row[key] for row in next(iter(asked.values()))[0][measure]]
    title = {"goal": "goal", "optimum": "fewest steps"}[key]
    rows = []
    for name, found in asked.items():
        cells = [[row[number] for each in found for row in each[measure] if row[key] == value] for value in columns]
        pairs = sum(each["episodes"] for each in found)
        trivial = found[0]["trivial_left_out"]
        rows.append([name, f"{pairs}, and {trivial} pairs left out", *(spread(cell, ".2f") for cell in cells)])
    return markdown(["run", "episodes", *(f"{title} {value}" for value in columns)], rows)


def imagined(runs: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """Format how the error of T compounds: a row a variant and kind of actions."""
    steps = (1, 2, 4, 8)
    header = ["run", "actions", "measure", *(f"k = {step}" for step in steps)]
    kinds = {"uniform_actions": "uniform in [-1, 1]", "largest_actions": "of magnitude 1"}
    rows = []
    for name, found in runs.items():
        measured = [run["report"]["held_out"]["trained"]["imagined"] for run in found]
        for kind, title in kinds.items():
            if kind not in measured[0]:
                continue
            for measure, form in (("accuracy", ".2f"), ("error", ".2g")):
                rows.append([
                    name, title, "right count" if measure == "accuracy" else "squared error over the variance",
                    *(spread((each[kind][measure][step - 1] for each in measured), form) for step in steps),
                ])  # fmt: skip
    return markdown(header, rows) if rows else ""


if __name__ == "__main__":
    main()
