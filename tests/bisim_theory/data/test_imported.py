"""One line that says what a function of the user's raised."""

import pytest
from bisim_theory.data.imported import describe_error


def raised(error):
    try:
        raise error
    except type(error) as caught:
        return caught


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ValueError("two\n  lines"), "ValueError: two lines"),
        (KeyError("x"), "KeyError: 'x' is missing"),
        (KeyError("no such thing in it"), "KeyError: 'no such thing in it'"),
        (NotImplementedError(), "NotImplementedError (not implemented, at test_imported.py, line 9)"),
        (AssertionError(), "AssertionError (an assertion does not hold, at test_imported.py, line 9)"),
        (ConnectionError(" \n"), "ConnectionError (without a message, at test_imported.py, line 9)"),
        (SystemExit(3), "SystemExit: 3"),
    ],
    ids=lambda each: type(each).__name__,
)
def test_an_error_is_described_in_one_line_that_ends_with_no_colon(error, said):
    assert describe_error(raised(error)) == said


def test_an_error_that_was_never_raised_has_no_place():
    assert describe_error(NotImplementedError()) == "NotImplementedError (not implemented)"
