"""The command ``bisim-check``."""

import argparse
import contextlib
import dataclasses
import errno
import os
import re
import shlex
import signal
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bisim_theory.console import Parser, interrupted_by_signals, plain_warnings, print_error, print_next, print_result

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from bisim_theory.outcome import Report
    from bisim_theory.theorem.check import Tolerance

DESCRIPTION = """\
Compute which pairs of observations saved transitions distinguish (Definition 4), and check whether a trained encoder
keeps them apart (Theorem 3)."""

EPILOG = """\
example: bisim-check runs/NAME --html report.html; or before a training: bisim-check DATA --compare reward,terminated.
exit status, the first that applies: 2 bad input or usage; 4 no well-trained model exists; 1 a distinguished pair is
collapsed; 3 hypothesis not met, so nothing can be concluded; 0 holds, or only the relation, or --want, was
asked for"""

EXIT_STATUS = {"holds": 0, "relation-only": 0, "collapsed": 1, "hypothesis-not-met": 3, "no-well-trained-model": 4}


def make_parser() -> Parser:
    """Build the parser of ``bisim-check``."""
    parser = Parser(prog="bisim-check", description=DESCRIPTION, epilog=EPILOG, allow_abbrev=False)
    parser.add_argument("path", metavar="PATH", help="a run directory, or a dataset in the schema of transitions.npz")
    parser.add_argument(
        "--representation",
        metavar="FILE",
        help="embeddings and predictions of a model (default: representation.npz in the same folder)",
    )
    parser.add_argument(
        "--identity",
        choices=("auto", "occurrence", "content"),
        default="auto",
        help="tell observations apart by their ids or by their content; auto takes the content where the data is then "
        "deterministic, or folded",
    )
    parser.add_argument(
        "--fold",
        action="store_true",
        help="merge the successors of one observation and action, as a well-trained model must",
    )
    parser.add_argument(
        "--auxiliary",
        metavar="NAME",
        help="auxiliary function p in place of the stored one: reward, reward:actions, terminated, a label such as "
        "count, random, constant or module:function; NAME:bins:K and NAME:round:STEP are coarser, a+b is both",
    )
    parser.add_argument(
        "--terminal",
        choices=("leaf", "absorb"),
        default="leaf",
        help="take observations that end an episode as the data has them (default), or let every action lead from them "
        "to themselves",
    )
    parser.add_argument(
        "--actions",
        metavar="sign|bins:K",
        help="make integer codes of continuous actions, by sign or by K equal bins per dimension",
    )
    parser.add_argument(
        "--observation",
        metavar="KEY",
        help="take this of several observations in a dataset, such as pixels (default: the whole)",
    )
    parser.add_argument(
        "--compare",
        metavar="A,B,...",
        help="compare auxiliary functions before any training; names as for --auxiliary. The first is p where none is "
        "stored or chosen",
    )
    parser.add_argument(
        "--want",
        metavar="A,B,...",
        help="rank auxiliary functions (columns, those of --compare, combinations of two) by the share of the pairs "
        "that differ in these labels which each protects, as in --want count,shape; LABEL:bins:K makes one coarser",
    )
    parser.add_argument(
        "--label",
        metavar="NAME",
        help="label that serves as ground truth, or several: A,B (default: count, else the only whole-number label)",
    )
    parser.add_argument(
        "--pair",
        metavar=("X", "Y"),
        nargs=2,
        type=int,
        action="append",
        default=[],
        help="report level and witness of a pair of observations; may be repeated",
    )
    parser.add_argument(
        "--tolerance",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        help="set a threshold: explained (0.9), collapse (0.001), point (1e-6); transition (1) and auxiliary (0.99) "
        "are shown and decide nothing",
    )
    parser.add_argument(
        "--backend",
        choices=("auto", "memory", "duckdb", "daft"),
        default="auto",
        help="compute classes of behaviour in memory; out of memory, by DuckDB; or by DuckDB and, for the rounds of "
        "refinement, Daft. auto: DuckDB where a dataset that is read in pieces exceeds the memory",
    )
    parser.add_argument(
        "--memory",
        metavar="SIZE",
        help="memory that may be taken, such as 2GB (default: half of what is free); rows beyond it are spilled to "
        "TMPDIR",
    )
    parser.add_argument(
        "--json",
        metavar="FILE",
        help="write the results as JSON too; with - to standard output, and the text to standard error",
    )
    parser.add_argument("--html", metavar="FILE", help="write the results as one self-contained page with pictures too")
    return parser


@plain_warnings()
def main(argv: list[str] | None = None) -> int:
    """Run ``bisim-check`` and return its exit status; see its help."""
    options = make_parser().parse_args(argv)
    with interrupted_by_signals() as received:
        try:
            return _run(options)
        except KeyboardInterrupt:
            return 128 + (received[0] if received else signal.SIGINT)
        except Exception:
            # A bug must not end with status 1, which is a verdict.
            traceback.print_exc()
            return 70


def _run(options: argparse.Namespace) -> int:
    from bisim_theory.data.transitions import DatasetError
    from bisim_theory.files import STANDARD_STREAMS, write_json
    from bisim_theory.report.json import to_json
    from bisim_theory.report.text import to_text

    try:
        if options.html is not None:
            from bisim_theory.report.html import require_libraries, write_page

            require_libraries()  # before anything is computed
        report = _check(options)
        if options.html is not None:
            write_page(options.html, report, title=str(options.path))
        if options.json is not None:
            write_json(options.json, to_json(report))
        if STANDARD_STREAMS.get(options.json) == 1:  # where a program reads it
            sys.stderr.write(f"{to_text(report)}\n")
        else:
            print_result(to_text(report))
        print_next(_next(options))
    except (DatasetError, OSError, MemoryError) as error:
        return print_error("bisim-check", error)
    return _status(options, report)


def _status(options: argparse.Namespace, report: "Report") -> int:
    """Return the exit status: of the verdict, unless labels were asked about and no p was named."""
    if options.want is not None and options.auxiliary is None and report.verdict == "no-well-trained-model":
        return EXIT_STATUS["relation-only"]
    return EXIT_STATUS[report.verdict]


def _next(options: argparse.Namespace) -> str:
    if options.html is not None:
        return f"open {options.html} in a browser"
    return f"bisim-check {shlex.quote(str(options.path))} --html report.html, which draws pairs along their witnesses"


def _check(options: argparse.Namespace) -> "Report":
    """Read the files that the options name and analyse them. Errors name the file."""
    from bisim_theory.analysis import analyse
    from bisim_theory.data.auxiliary_names import split_names
    from bisim_theory.formats import read_representation, read_transitions, resolve
    from bisim_theory.progress import progress_bar

    tolerance = _tolerance(options.tolerance)
    path, representation_path = resolve(options.path)
    _check_outputs(options, path, representation_path)
    backend, memory = _backend(options, path)
    if backend != "memory":
        return _check_stored(options, path, representation_path, backend, memory)
    data = read_transitions(path, actions=options.actions, observation=options.observation)
    candidates = [] if options.compare is None else split_names(options.compare, data.labels)
    stored = data.auxiliary is not None or data.observation_auxiliary is not None
    given = _model_of(options, representation_path, stored, data.metadata)
    representation = None if given is None else read_representation(given)
    with _naming(path, given):
        report = analyse(
            data,
            representation,
            options.identity,
            options.fold,
            auxiliary=options.auxiliary,
            tolerance=tolerance,
            candidates=candidates,
            wanted=options.want,
            pairs=[(x, y) for x, y in options.pair],
            label=options.label,
            terminal=options.terminal,
            progress_bar=progress_bar,
        )
    return _with_left_out(options, report, representation_path, given)


def _backend(options: argparse.Namespace, path: Path) -> tuple[str, int]:
    """Return the backend, and the bytes that it may take.

    An ``.npz`` file is read whole, so nothing is imported or measured for it unless another backend is asked for.
    """
    if options.backend in ("auto", "memory") and options.memory is None and path.suffix == ".npz":
        return "memory", 0
    from bisim_theory.relation.backends.memory import parse_memory
    from bisim_theory.stored.backends import choose_backend, memory_to_use

    memory = memory_to_use(None if options.memory is None else parse_memory(options.memory))
    return choose_backend(path, options.backend, memory, _only_in_memory(options)), memory


def _model_of(
    options: argparse.Namespace, default: Path | None, stored: bool, metadata: "Mapping[str, Any]"
) -> Path | None:
    """Return the representation to check: that of the options, or of the folder where it belongs to p.

    The model in the folder was trained with the stored p, so it cannot be checked with another one.

    Args:
        options: those of the command.
        default: the representation in the folder, or None.
        stored: whether p is stored in the data.
        metadata: of the data.
    """
    if options.representation is not None:
        return Path(options.representation)
    of_model = (None, "auxiliary", metadata.get("auxiliary"))
    asked = options.compare is not None or options.want is not None
    other_p = asked or (stored and options.auxiliary not in of_model)
    return None if other_p else default


def _with_left_out(options: argparse.Namespace, report: "Report", default: Path | None, given: Path | None) -> "Report":
    """Say of the representation in the folder that it was left out, where it was.

    Raises:
        DatasetError: it was left out although the options name it.
    """
    from bisim_theory.data.transitions import DatasetError

    if options.representation is not None and report.left_out is not None:
        raise DatasetError(
            f"--representation {options.representation}: cannot be checked; left out is {report.left_out}"
        )
    if default is None or given is not None:
        return report
    why = "as a comparison, or another p, says nothing of its model"
    return dataclasses.replace(report, left_out=f"{default}, {why}")


def _only_in_memory(options: argparse.Namespace) -> str | None:
    """Return the option that only the backend in memory answers, or None."""
    if options.want is not None:
        return "which auxiliary function protects wanted labels (--want)"
    for name in (options.auxiliary or "").split("+") + re.split("[,+]", options.compare or ""):
        base, _, rest = name.partition(":")
        module = re.fullmatch(r"[A-Za-z_]\w*", rest.partition(":")[0]) and rest.split(":")[0] not in (
            "bins",
            "round",
            "actions",
        )
        if base == "random" or module:
            return f"p that is computed from observations ({name})"
    return None


def _check_stored(
    options: argparse.Namespace, path: Path, representation_path: Path | None, backend: str, memory: int
) -> "Report":
    """Analyse a dataset by another backend than memory."""
    from bisim_theory.progress import progress_bar
    from bisim_theory.stored.backends import analyse_by, read_for_database

    data = read_for_database(path, options.actions, options.observation)

    def model_of(stored: bool, metadata: "Mapping[str, Any]") -> Path | None:
        return _model_of(options, representation_path, stored, metadata)

    with _naming(path, options.representation or representation_path):
        report, given = analyse_by(
            backend,
            path,
            data,
            memory,
            options.compare,
            model_of,
            options.actions,
            tolerance=_tolerance(options.tolerance),
            identity=options.identity,
            folding=options.fold,
            auxiliary=options.auxiliary,
            pairs=[(x, y) for x, y in options.pair],
            label=options.label,
            terminal=options.terminal,
            progress_bar=progress_bar,
        )
    return _with_left_out(options, report, representation_path, given)


def _check_outputs(options: argparse.Namespace, *inputs: Path | None) -> None:
    """Raise, before anything is computed, if an output cannot be written or would replace an input."""
    from bisim_theory.data.transitions import DatasetError
    from bisim_theory.files import STANDARD_STREAMS

    taken = {Path(each).resolve() for each in (*inputs, options.representation) if each is not None}
    for name in ("json", "html"):
        given = getattr(options, name)
        if given is None or given in STANDARD_STREAMS:
            continue
        path = Path(given)
        if not path.name or path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), given)
        if not path.parent.is_dir():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), given)
        if path.exists() and not path.is_file():
            continue  # a device or a pipe, which nothing is lost of
        if path.resolve() in taken:
            raise DatasetError(f"--{name} {given}: is read or written already; name another file")
        taken.add(path.resolve())


def _tolerance(settings: list[str]) -> "Tolerance":
    from bisim_theory.data.transitions import DatasetError
    from bisim_theory.theorem.check import Tolerance

    values: dict[str, Any] = {}
    for setting in settings:
        name, _, value = setting.partition("=")
        try:
            values[name] = float(value)
        except ValueError:
            values[name] = -1.0
        most = 1.0 if name in ("explained", "auxiliary") else sys.float_info.max
        names = ("explained", "transition", "auxiliary", "collapse", "point")
        if name not in names or not 0 <= values[name] <= most:
            raise DatasetError(
                f"--tolerance {setting}: must be explained (at most 1), transition, auxiliary (at most 1), collapse or "
                "point = a number >= 0"
            )
    return Tolerance(**values)


@contextlib.contextmanager
def _naming(transitions: Path, representation: str | Path | None) -> "Iterator[None]":
    """Begin errors with the name of the file."""
    from bisim_theory.data.representation import RepresentationError
    from bisim_theory.data.transitions import DatasetError

    try:
        yield
    except DatasetError as error:
        path = representation if isinstance(error, RepresentationError) else transitions
        text = str(error)
        raise DatasetError(text if text.startswith(str(path)) else f"{path}: {text}") from None


if __name__ == "__main__":
    sys.exit(main())
