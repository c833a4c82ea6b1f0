"""Train several seeds in one process, an update of each in turn, on a GPU each on a stream of its own.

Imports PyTorch only where there may be a GPU: elsewhere each seed has a process of its own.
"""

import contextlib
import contextvars
import functools
import io
import logging
import signal
import sys
import traceback
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import TYPE_CHECKING

from bisim_theory.console import counted, error_line

from pjepa_agent.cli.seed_jobs import PROGRAM, Ended, Job
from pjepa_agent.cli.terminal import heavy_imports
from pjepa_agent.config.schema import ComputeConfig
from pjepa_agent.runs.interruption import quiet_libraries

if TYPE_CHECKING:
    from pjepa_agent.compute.turns import Steps

MOST = 8
"""Seeds at a time, where the GPU has the memory. Each has its own transitions and networks there."""

logger = logging.getLogger("pjepa_agent")


def graph_device(name: str | None, config: ComputeConfig) -> str | None:
    """Return the GPU on which the seeds train in turn; None where each is to have a process of its own.

    They train in turn where an update is the replay of a graph, which takes the host so little time that it can give a
    GPU several at once.

    Args:
        name: of the device, as ``--device`` has it; None takes that of the configuration.
        config: the configuration.
    """
    name = name or config.device
    if name == "cpu":
        return None
    with heavy_imports():
        import torch

        from pjepa_agent.compute.graph import wants_graph
        from pjepa_agent.compute.processes import SINGLE_PROCESS

    in_turn = torch.cuda.is_available() and wants_graph(config, torch.device("cuda"), SINGLE_PROCESS)
    return name if in_turn else None


def train_in_turn(
    jobs: Sequence[Job], device: str, should_stop: Callable[[], bool], say: Callable[[int, str], None], most: int = MOST
) -> Generator[Ended, None, None]:
    """Train the seeds of some jobs, and yield how each ended, in the order of their ends.

    Each leaves the files that it leaves alone. Once `should_stop` says so, each saves and ends, and no other is begun.

    Args:
        jobs: what to train.
        device: where, as ``--device`` has it.
        should_stop: asked after each update.
        say: called with a seed and a line of its log.
        most: seeds at a time.
    """
    with heavy_imports():
        from pjepa_agent.compute.turns import take_turns
        from pjepa_agent.run import choose_device
        from pjepa_agent.runs.directory import RunError

    quiet_libraries()
    try:
        place = choose_device(device)
    except RunError as error:  # which no seed can begin with
        yield _as_process(jobs[0].seed, error, say)
        return
    closing = False

    def ends() -> bool:
        return closing or should_stop()

    works = [(job.seed, functools.partial(_steps, job, device, ends)) for job in jobs]
    with _handed_on(say), contextlib.closing(take_turns(works, place, most, ends)) as turns:
        try:
            for ended in turns:
                yield _as_process(ended.key, ended.error, say)
        except GeneratorExit:  # as processes do, each saves
            closing = True
            for _ in turns:
                pass
            raise


def _steps(job: Job, device: str, should_stop: Callable[[], bool]) -> "Steps[None]":
    """Train one seed, a step an update, in each as the command that trains it alone."""
    steps = _train(job, device, should_stop)
    with contextlib.closing(steps):
        while True:
            with _turn_of(job):
                try:
                    next(steps)
                except StopIteration:
                    return
            yield


@contextlib.contextmanager
def _turn_of(job: Job) -> Iterator[None]:
    """Let what is logged be of a seed, and ``provenance.json`` name the command that does the same alone."""
    token, command = _SEED.set(job.seed), sys.argv
    sys.argv = [PROGRAM, *job.options]
    try:
        with contextlib.redirect_stdout(_Lines()):
            yield
    finally:
        sys.argv = command
        _SEED.reset(token)


class _Lines(io.TextIOBase):
    """Logs what code of the user's prints, line by line."""

    def __init__(self) -> None:
        self._begun = ""

    def write(self, text: str) -> int:
        """Log the lines that a text completes."""
        *lines, self._begun = (self._begun + text).split("\n")
        for line in lines:
            logger.info("%s", line)
        return len(text)


def _train(job: Job, device: str, should_stop: Callable[[], bool]) -> "Steps[None]":
    from pjepa_agent.cli.new_run import open_run
    from pjepa_agent.run import train_in_steps
    from pjepa_agent.runs.directory import RunDirectory

    # One that is begun again, since there was no memory for it beside others, is there already.
    begun = RunDirectory(job.path).config.exists()
    opened = open_run(None if begun else job.config, job.path, device)
    try:
        yield from train_in_steps(opened.run, opened.config, opened.device, should_stop=should_stop)
    except Exception:
        if opened.new:
            opened.run.discard()
        raise


def _as_process(seed: int, error: BaseException | None, say: Callable[[int, str], None]) -> Ended:
    """Say of a training in turn what its process would: its status, and why it ended."""
    from bisim_theory.data.imported import describe_error

    from pjepa_agent.cli.new_run import ONE_LINE
    from pjepa_agent.training import Interrupted

    if error is None:
        return Ended(seed, 0, "")
    for_people = "".join(traceback.format_exception(error)).splitlines()
    traceback.clear_frames(error.__traceback__)  # which hold the networks that have failed
    if isinstance(error, Interrupted):
        return Ended(seed, 128 + signal.SIGTERM, f"interrupted and saved after {counted(error.update, 'update')}")
    if isinstance(error, ONE_LINE):
        return Ended(seed, 2, error_line(error))
    if isinstance(error, SystemExit):
        return Ended(seed, 2, f"ended before it was finished: {describe_error(error)}")
    for line in for_people:
        say(seed, line)
    return Ended(seed, 1, describe_error(error))


_SEED: contextvars.ContextVar[int | None] = contextvars.ContextVar("seed", default=None)
"""The seed whose turn it is, or of which a thread writes; None outside of turns."""


@contextlib.contextmanager
def _handed_on(say: Callable[[int, str], None]) -> Iterator[None]:
    """Hand on what is logged in the turn of a seed, in place of logging it; see `_OfSeed`."""
    tagged = _OfSeed(say)
    logger.addFilter(tagged)
    try:
        yield
    finally:
        logger.removeFilter(tagged)


class _OfSeed(logging.Filter):
    """Hand on what is logged in the turn of a seed.

    Args:
        say: called with the seed and the line.
    """

    def __init__(self, say: Callable[[int, str], None]) -> None:
        super().__init__()
        self._say = say

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether a record is of no seed, and is left as it is."""
        seed = _SEED.get()
        if seed is None:
            return True
        token = _SEED.set(None)  # what `say` logs is left as it is
        try:
            self._say(seed, record.getMessage())
        finally:
            _SEED.reset(token)
        return False
