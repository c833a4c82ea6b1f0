"""The terminal of the commands: what fits on it, and what no escape sequence reaches."""

import io

import pytest
from bisim_theory.console import Parser, counted, fit, print_error, print_next, print_result
from hypothesis import given
from hypothesis import strategies as st

LINES = st.lists(st.text("abc(),.-: é", max_size=200), min_size=1, max_size=4)


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self):
        return True


@pytest.fixture(autouse=True)
def _forty_columns(monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")


@given(lines=LINES)
def test_a_terminal_gets_the_same_words_in_lines_that_fit(lines):
    text = "\n".join(lines)
    shown = fit(text, Terminal())
    assert shown.split() == text.split()
    for line in shown.split("\n"):
        single = len(line.split()) < 2
        columns = "  " in line.strip(" ")
        assert len(line) <= 40 or single or columns, line


@given(lines=LINES)
def test_a_pipe_gets_every_line_as_it_is(lines):
    text = "\n".join(lines)
    assert fit(text, io.StringIO()) == text
    assert fit(text, None) == text


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (["--wnat", "count"], "; did you mean --want?"),
        (["--lable=count", "--wnat", "count"], "; did you mean --label, --want?"),
        (["--widht", "3"], ""),
        (["--network.widht", "3"], "; did you mean --network.width?"),
        (["--network.lr", "3"], ""),
        (["--other", "-l", "lable"], ""),
    ],
)
def test_an_option_is_proposed_that_is_spelt_nearly_like_an_unknown_one(arguments, meant, capsys):
    parser = Parser(prog="ask")
    for option in ("--want", "--label", "--network.width", "--network.blocks"):
        parser.add_argument(option)
    with pytest.raises(SystemExit, match="2"):
        parser.parse_args(arguments)
    assert (
        capsys.readouterr().err
        == f"ask: error: unrecognized arguments: {' '.join(arguments)}{meant} (see ask --help)\n"
    )


def test_continued_lines_are_indented_and_columns_stay():
    text = (
        "  levels 1, 2 and 3 explain too few of all pairs\n  level       pairs   explained by residuals\n" + "| a " * 20
    )
    assert fit(text, Terminal()).split("\n") == [
        "  levels 1, 2 and 3 explain too few of",
        "    all pairs",
        "  level       pairs   explained by residuals",
        "| a " * 20,
    ]


def test_a_result_is_fitted_to_standard_output_alone(monkeypatch, capsys):
    print_result("word " * 20 + "end")
    assert capsys.readouterr().out == "word " * 20 + "end\n"
    terminal = Terminal()
    monkeypatch.setattr("sys.stdout", terminal)
    print_result("word " * 20 + "end")
    assert max(map(len, terminal.getvalue().splitlines())) <= 40


def test_what_to_do_next_is_for_terminals(monkeypatch, capsys):
    print_next("bisim-check PATH --html report.html")
    assert capsys.readouterr() == ("", "")
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    print_next("bisim-check PATH --html report.html")
    assert terminal.getvalue().split() == ["next:", "bisim-check", "PATH", "--html", "report.html"]


def test_one_thing_is_counted_without_an_s():
    assert [counted(number, "episode") for number in (0, 1, 2, 1000)] == [
        "0 episodes", "1 episode", "2 episodes", "1,000 episodes",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("no \x1b[31mred\x1b[0m\n  and one line"), "no red and one line"),
        (FileNotFoundError(2, "No such file", "x.npz"), "x.npz: No such file"),
        (MemoryError(), "not enough memory"),
        (KeyError(), "KeyError()"),
    ],
)
def test_an_error_is_one_line_without_colours(capsys, error, line):
    assert print_error("it", error) == 2
    assert capsys.readouterr().err == f"it: error: {line}\n"
