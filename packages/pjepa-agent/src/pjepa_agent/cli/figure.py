"""The command `pjepa-figure`. Nothing heavy is imported before the arguments are known to be good."""

import argparse
from pathlib import Path

from bisim_theory.console import Parser, print_error, print_result

from pjepa_agent.cli.terminal import log_to_terminal, picture_path

DESCRIPTION = """\
Draw the paper's Figure 2 for trained runs, one column each: PCA of 256 held-out embeddings, the distances between them
sorted by count, and observations beside what a decoder makes of their embeddings. A run without a decoder gets one,
fitted on its frozen encoder and kept in its checkpoints/ (minutes, once)."""


def make_parser() -> Parser:
    """The options of `pjepa-figure`."""
    parser = Parser(prog="pjepa-figure", description=DESCRIPTION, allow_abbrev=False)
    parser.add_argument("runs", nargs="+", metavar="RUN", help="a run directory of pjepa-train")
    parser.add_argument(
        "--out", metavar="FILE", default="figure2.png", help="a png, pdf or svg file (default: figure2.png)"
    )
    parser.add_argument(
        "--at",
        choices=("last", "best"),
        default="last",
        help="draw each run at its last update (default), or at its most compact one where it keeps that",
    )
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run `pjepa-figure`; returns 0 done, 2 bad input or usage, 130 interrupted."""
    parser = make_parser()
    options = parser.parse_args(argv)
    out = picture_path(parser, options.out)
    try:
        return _draw(options, out)
    except KeyboardInterrupt:
        return 130


def _draw(options: argparse.Namespace, out: Path) -> int:
    from bisim_theory.data.transitions import DatasetError

    from pjepa_agent.config.fields import ConfigError
    from pjepa_agent.runs.directory import RunDirectory, RunError

    log_to_terminal()
    try:
        for run in options.runs:  # before minutes go into the first
            RunDirectory.open(run)
        from pjepa_agent.figures.figure_two import draw_figure_two, load_column

        columns = [load_column(run, options.at) for run in options.runs]
        draw_figure_two(columns, out, options.at)
        lines = [
            f"{run}: {column.name}: nearest-centroid accuracy {column.accuracy:.4f}, reconstruction error "
            f"{column.reconstruction.error:.4f} in [-1, 1] "
            f"({column.reconstruction.explained:.1%} of the pixels' variance explained)"
            for run, column in zip(options.runs, columns, strict=True)
        ]
        print_result("\n".join([*lines, f"written to {out}"]))
    except (RunError, DatasetError, ConfigError, OSError, MemoryError) as error:
        return print_error("pjepa-figure", error)
    return 0
