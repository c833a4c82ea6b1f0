"""The command `pjepa-figure`. Nothing heavy is imported before the arguments are known to be good."""

import argparse
import sys
from pathlib import Path

from bisim_theory.console import Parser, plain_warnings, print_error, print_note, print_result

from pjepa_agent.cli.terminal import PICTURE_FORMATS, heavy_imports, log_to_terminal, picture_path
from pjepa_agent.cli.waiting import wait_briefly

DESCRIPTION = """\
Draw the paper's Figure 2 for trained runs, one column per run: PCA of 256 held-out embeddings, the distances between
them sorted by count, and observations with their reconstructions. For a run without a decoder, one is fitted on its
frozen encoder and kept in its checkpoints/ (minutes, once). Of other worlds: PCA and distances by a label, by class of
B_D* or by p, and pairs of each level along their witnesses; the held-out episodes are collected, or read, again.
With --out FILE.gif: how the PCA of one run forms over the training, a state for each checkpoint that it keeps, as many
as --evaluation.checkpoints says."""

EXAMPLE = "example: pjepa-figure runs/A runs/B --at best --out figure2.png"

ANIMATION = ".gif"

FEW = 4
"""States, the untrained one among them, of which an animation shows next to nothing."""


def make_parser() -> Parser:
    """Make the parser of `pjepa-figure`."""
    parser = Parser(prog="pjepa-figure", description=DESCRIPTION, epilog=EXAMPLE, allow_abbrev=False)
    parser.add_argument("runs", nargs="+", metavar="RUN", help="run directory of pjepa-train")
    parser.add_argument(
        "--out",
        metavar="FILE",
        default="figure2.png",
        help="png, pdf or svg file to write, or a gif (default: figure2.png)",
    )
    parser.add_argument(
        "--at",
        choices=("last", "best"),
        default="last",
        help="draw each run at its last update (default), or at its most compact evaluation, if that was kept",
    )
    return parser


@plain_warnings()
def main(argv: list[str] | None = None) -> int:
    """Run `pjepa-figure`. Exit status: 0 done, 2 bad input or usage, 130 interrupted."""
    parser = make_parser()
    options = parser.parse_args(argv)
    out = picture_path(parser, options.out, (*PICTURE_FORMATS, ANIMATION))
    if out.suffix == ANIMATION:
        if len(options.runs) > 1:
            parser.error(f"--out {out}: shows one run; give the others files of their own")
        if options.at != "last":
            parser.error(f"--at {options.at}: a gif shows every checkpoint; leave it out")
    try:
        return _draw(options, out)
    except KeyboardInterrupt:
        return 130


def _draw(options: argparse.Namespace, out: Path) -> int:
    """Draw the figure and print a line per run; return the exit status."""
    from bisim_theory.data.transitions import DatasetError

    from pjepa_agent.config.fields import ConfigError
    from pjepa_agent.runs.directory import RunDirectory, RunError

    log_to_terminal()
    wait_briefly()
    try:
        for run in options.runs:  # before fitting a decoder for the first takes minutes
            RunDirectory.open(run)
        lines = _animate(options.runs[0], out) if out.suffix == ANIMATION else _draw_columns(options, out)
        print_result("\n".join([*lines, f"written to {out}"]))
    except (RunError, DatasetError, ConfigError, OSError, MemoryError) as error:
        return print_error("pjepa-figure", error)
    except RuntimeError as error:
        if "allocate memory" not in str(error):  # as PyTorch says it on a CPU
            raise
        return print_error("pjepa-figure", MemoryError())
    return 0


def _draw_columns(options: argparse.Namespace, out: Path) -> list[str]:
    """Draw Figure 2, and return a line per run."""
    with heavy_imports():
        from pjepa_agent.figures.figure_two import describe, draw_figure_two, load_column

    columns = [load_column(run, options.at) for run in options.runs]
    draw_figure_two(columns, out, options.at)
    return [f"{run}: {describe(column)}" for run, column in zip(options.runs, columns, strict=True)]


def _animate(run: str, out: Path) -> list[str]:
    """Draw the animation, and return a line that says what it shows."""
    with heavy_imports():
        from pjepa_agent.figures.formation import describe_formation, read_formation, write_formation

    formation = read_formation(run)
    write_formation(out, formation)
    if len(formation.updates) < FEW:
        print_note(f"{run}: keeps few checkpoints; train with --evaluation.checkpoints 1000 to see more states")
    return [f"{run}: {describe_formation(formation)}"]


if __name__ == "__main__":
    sys.exit(main())
