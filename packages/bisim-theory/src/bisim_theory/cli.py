"""The command `bisim-check`."""

import argparse
import os
import sys
from pathlib import Path
from typing import NoReturn

DESCRIPTION = """\
Which pairs of observations do saved transitions distinguish (Definition 4), and does a trained encoder keep
them apart (Theorem 3)?"""

EPILOG = """\
exit status, the first that applies: 2 bad input or usage; 4 no well-trained model exists; 1 a distinguished pair is
collapsed; 3 hypothesis not met, so nothing can be concluded; 0 holds, or only the relation was asked for"""

EXIT_STATUS = {"holds": 0, "relation-only": 0, "collapsed": 1, "hypothesis-not-met": 3, "no-well-trained-model": 4}


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        """End with exit status 2."""
        self.exit(2, f"{self.prog}: error: {message} (see {self.prog} --help)\n")


def fail(program: str, error: BaseException) -> int:
    """Say what went wrong in one line, whatever is in the message, and return exit status 2."""
    text = " ".join(str(error).split()) or "not enough memory"
    sys.stderr.write(f"{program}: error: {text}\n")
    return 2


def say(text: str) -> None:
    """Print the last words; raises `OSError` where they cannot be written, as on a full disk."""
    try:
        print(text, flush=True)
    except OSError:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - the flush at the interpreter's end would fail again
        raise


def make_parser() -> Parser:
    """The options of `bisim-check`."""
    parser = Parser(prog="bisim-check", description=DESCRIPTION, epilog=EPILOG, allow_abbrev=False)
    parser.add_argument("path", metavar="PATH", help="a run directory, or a dataset in the schema of transitions.npz")
    parser.add_argument(
        "--representation",
        metavar="FILE",
        help="what a model makes of the data (default: representation.npz beside it)",
    )
    parser.add_argument(
        "--identity",
        choices=("occurrence", "content"),
        default="occurrence",
        help="whether observations are one where their ids are (default) or where their images are",
    )
    parser.add_argument(
        "--fold",
        action="store_true",
        help="merge the several successors of one observation and action, as a model must",
    )
    parser.add_argument("--json", metavar="FILE", help="also write the findings as JSON")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run `bisim-check`; returns the exit status that its help describes."""
    options = make_parser().parse_args(argv)
    from bisim_theory.files import write_json
    from bisim_theory.formats import read_representation, read_transitions, resolve
    from bisim_theory.report import analyse, to_json, to_text
    from bisim_theory.transitions import DatasetError

    try:
        transitions, beside = resolve(options.path)
        given = options.representation or beside
        data = read_transitions(transitions)
        representation = None
        if given is not None:
            representation = read_representation(given)
            _check_fit(given, representation, data)
        try:
            report = analyse(data, representation, options.identity, options.fold)
        except DatasetError as error:
            raise _named(transitions, error) from None
        if options.json is not None:
            write_json(options.json, to_json(report))
        say(to_text(report))
    except (DatasetError, OSError, MemoryError) as error:
        return fail("bisim-check", error)
    return EXIT_STATUS[report.verdict]


def _check_fit(given: str | Path, representation, data) -> None:  # type: ignore[no-untyped-def]
    from bisim_theory.transitions import DatasetError

    try:
        representation.check_against(data)
    except DatasetError as error:
        raise _named(given, error) from None


def _named(path: str | Path, error: Exception) -> Exception:
    """The same error with the file's name in front of the message, once."""
    text = str(error)
    return type(error)(text if text.startswith(str(path)) else f"{path}: {text}")
