"""Options of the test command, and what a GPU is needed for."""

import os

import pytest

os.environ.setdefault("LANCE_LOG", "error")  # read as the library is imported, which tests may do before the command
os.environ.setdefault("GOMP_SPINCOUNT", "2000")  # as the commands do, since several processes share the cores


def pytest_addoption(parser):
    parser.addoption(
        "--fuzz-files", type=int, default=150, metavar="N", help="how many mutated files to read per format"
    )
    parser.addoption("--kills", type=int, default=6, metavar="N", help="how often to kill runs at random instants")
    parser.addoption(
        "--stride", type=int, default=25, metavar="N", help="kill runs at every so many of the calls that change a file"
    )
    parser.addoption("--fuzz-runs", type=int, default=14, metavar="N", help="how many mutated runs to read per file")
    parser.addoption(
        "--bfloat16",
        choices=("auto", "on", "off"),
        default="auto",
        help="compute as on a processor that has it, or not",
    )


@pytest.fixture(scope="session", autouse=True)
def _bfloat16_of_the_processor(request):
    wanted = request.config.getoption("--bfloat16")
    if wanted != "auto":
        from pjepa_agent.compute import precision

        precision.has_bfloat16 = lambda device_type: wanted == "on"


def pytest_collection_modifyitems(items):
    """Begin with the slow tests, so that no process is left with one when the others have ended."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


def pytest_runtest_setup(item):
    if item.get_closest_marker("gpu") is not None:
        import torch

        if not torch.cuda.is_available():
            pytest.skip("runs where PyTorch finds a CUDA device")
