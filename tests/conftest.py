"""Options of the test command."""


def pytest_addoption(parser):
    parser.addoption(
        "--fuzz-files", type=int, default=150, metavar="N", help="how many mutated files to read per format"
    )
