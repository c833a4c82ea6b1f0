"""The command `pjepa-curves`. Nothing heavy is imported before the arguments are known to be good."""

import argparse
import sys
from pathlib import Path

from bisim_theory.console import Parser, plain_warnings, print_error, print_result

from pjepa_agent.cli.terminal import picture_path

DESCRIPTION = """\
Draw how compact the clusters of runs are over training: accuracy, variance between over within counts, smallest gap
over largest radius, and Theorem 3's separation per level on held-out transitions. Runs that differ only in their seed
are one line, their mean, shaded from lowest to highest. A table shows how many evaluations stay compact once one is.
With runs of other worlds: losses, explained share, residual ratio and separation per level, collapsed pairs and RankMe,
and a table of what they end at."""

EXAMPLE = "example: pjepa-curves runs/A runs/B --out curves.png"


def make_parser() -> Parser:
    """Make the parser of `pjepa-curves`."""
    parser = Parser(prog="pjepa-curves", description=DESCRIPTION, epilog=EXAMPLE, allow_abbrev=False)
    parser.add_argument("runs", nargs="+", metavar="RUN", help="run directory of pjepa-train, finished or not")
    parser.add_argument(
        "--out", metavar="FILE", default="curves.png", help="png, pdf or svg file to write (default: curves.png)"
    )
    parser.add_argument(
        "--compact",
        type=float,
        default=0.98,
        metavar="ACCURACY",
        help="accuracy from which a run of the counting world counts as compact (default: 0.98)",
    )
    return parser


@plain_warnings()
def main(argv: list[str] | None = None) -> int:
    """Run `pjepa-curves`. Exit status: 0 done, 2 bad input or usage, 130 interrupted."""
    parser = make_parser()
    options = parser.parse_args(argv)
    out = picture_path(parser, options.out)
    if not 0 < options.compact <= 1:
        parser.error(f"--compact {options.compact:g}: must be above 0 and at most 1")
    try:
        return _draw(options, out)
    except KeyboardInterrupt:
        return 130


def _draw(options: argparse.Namespace, out: Path) -> int:
    """Draw the curves and print the table; return the exit status."""
    from pjepa_agent.runs.directory import RunError

    try:
        from pjepa_agent.evaluation.compactness import read_groups, table
        from pjepa_agent.evaluation.world_table import world_table

        groups = read_groups(options.runs, options.compact)
        from pjepa_agent.figures.world_curves import draw_curves

        draw_curves(groups, out, options.compact)
        shown = table(groups, options.compact) if all(group.counting for group in groups) else world_table(groups)
        print_result(f"{shown}\nwritten to {out}")
    except (RunError, OSError, MemoryError) as error:
        return print_error("pjepa-curves", error)
    return 0


if __name__ == "__main__":
    sys.exit(main())
