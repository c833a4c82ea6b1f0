"""Train several seeds in one process, an update of each in turn, on a GPU each on a stream of its own.

Imports PyTorch only where there may be a GPU: elsewhere each seed has a process of its own.
"""

import contextvars
import functools
import logging
import signal
import traceback
from collections.abc import Callable, Generator, Sequence
from typing import TYPE_CHECKING

from bisim_theory.console import counted, error_line

from pjepa_agent.cli.seed_jobs import Ended, Job
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
    tagged = _OfSeed(say)
    logger.addFilter(tagged)
    try:
        works = [(job.seed, functools.partial(_steps, job, device, should_stop)) for job in jobs]
        for ended in take_turns(works, place, most, should_stop):
            yield _as_process(ended.key, ended.error, say)
    finally:
        logger.removeFilter(tagged)


def _steps(job: Job, device: str, should_stop: Callable[[], bool]) -> "Steps[None]":
    """Train one seed, a step an update; what it logs is known to be of the seed."""
    steps = _train(job, device, should_stop)
    try:
        while True:
            token = _SEED.set(job.seed)
            try:
                next(steps)
            except StopIteration:
                return
            finally:
                _SEED.reset(token)
            yield
    finally:
        steps.close()


def _train(job: Job, device: str, should_stop: Callable[[], bool]) -> "Steps[None]":
    from pjepa_agent.cli.new_run import open_run
    from pjepa_agent.run import train_in_steps

    opened = open_run(job.config, job.path, device)
    try:
        yield from train_in_steps(opened.run, opened.config, opened.device, should_stop=should_stop)
    except Exception:
        if opened.new:
            opened.run.discard()
        raise


def _as_process(seed: int, error: Exception | None, say: Callable[[int, str], None]) -> Ended:
    """Say of a training in turn what its process would: its status, and why it ended."""
    from pjepa_agent.cli.new_run import ONE_LINE
    from pjepa_agent.training import Interrupted

    if error is None:
        return Ended(seed, 0, "")
    if isinstance(error, Interrupted):
        return Ended(seed, 128 + signal.SIGTERM, f"interrupted and saved after {counted(error.update, 'update')}")
    if isinstance(error, ONE_LINE):
        return Ended(seed, 2, error_line(error))
    for text in traceback.format_exception(error):
        for line in text.rstrip().splitlines():
            say(seed, line)
    return Ended(seed, 1, error_line(error))


_SEED: contextvars.ContextVar[int | None] = contextvars.ContextVar("seed", default=None)
"""The seed whose turn it is, or of which a thread writes; None outside of turns."""


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
