"""Several works in one process, a step of each in turn: each on a stream of its own, and as if it were alone."""

import contextlib
import random
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Generic, NamedTuple, TypeVar

import numpy as np
import torch

from pjepa_agent.compute.graph import side_stream

Result = TypeVar("Result")
Key = TypeVar("Key")

Steps = Generator[None, None, Result]
"""Work in steps, which may be interrupted between any two by other work; what it returns is its result."""

SETTLED = 12
"""Steps after which a work has taken the memory that it needs: a graph is captured in the fourth update."""


def finish(steps: Steps[Result]) -> Result:
    """Do all steps of a work one after the other, and return its result."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: Result = end.value
            return result


class GlobalRandom:
    """The states of the generators that all code of a process shares: of Python, NumPy and PyTorch, and of a GPU.

    Args:
        device: whose generator is kept beside those of the host.
    """

    def __init__(self, device: torch.device) -> None:
        self._own = torch.cuda.default_generators[torch.cuda.current_device()] if device.type == "cuda" else None
        self.save()

    def save(self) -> None:
        """Keep the states as they are."""
        self._python, self._numpy = random.getstate(), np.random.get_state()  # noqa: NPY002  # what others draw from
        self._torch = torch.get_rng_state()
        self._device = None if self._own is None else self._own.get_state()

    def restore(self) -> None:
        """Set the states to those that were kept."""
        random.setstate(self._python)
        np.random.set_state(self._numpy)  # noqa: NPY002
        torch.set_rng_state(self._torch)
        if self._own is not None and self._device is not None:
            self._own.set_state(self._device)


class Ended(NamedTuple, Generic[Key, Result]):
    """How a work has ended.

    Attributes:
        key: of the work.
        result: what it returned; None if it raised.
        error: what it raised, None if nothing.
    """

    key: Key
    result: Result | None = None
    error: Exception | None = None


class _Worker(Generic[Result]):
    """Does one work, on a stream and with global random numbers of its own."""

    def __init__(self, begin: Callable[[], Steps[Result]], device: torch.device) -> None:
        self._steps, self.done = begin(), 0
        self.result: Result | None = None
        self._random = GlobalRandom(device)
        self._stream = side_stream(device)

    def step(self) -> bool:
        """Do the next step; return whether it was the last one, after which there is a result."""
        with self._as_if_alone():
            try:
                next(self._steps)
            except StopIteration as end:
                self.result = end.value
                return True
        self.done += 1
        return False

    def close(self) -> None:
        """Give up the work between two steps."""
        with self._as_if_alone():
            self._steps.close()

    @contextlib.contextmanager
    def _as_if_alone(self) -> Iterator[None]:
        self._random.restore()
        try:
            with torch.cuda.stream(self._stream):  # does nothing where there is none
                yield
        finally:
            self._random.save()


def take_turns(
    works: Iterable[tuple[Key, Callable[[], Steps[Result]]]],
    device: torch.device,
    most: int,
    should_stop: Callable[[], bool] = lambda: False,
) -> Iterator[Ended[Key, Result]]:
    """Do works in turn, a step of each, and yield how each ended, in the order of their ends.

    A work is begun as soon as those before it have settled and, on a GPU, there is memory for one more. Whatever is
    raised ends the work that raised it. Where the iterator is closed before its end, the works are too.

    Args:
        works: what begins each, by a key.
        device: on which they work: on CUDA each on a stream of its own.
        most: works at a time.
        should_stop: asked before a work is begun; those that are running are told by what they ask themselves.
    """
    waiting, running = deque(works), dict[Key, _Worker[Result]]()
    outside = GlobalRandom(device)
    try:
        while running or (waiting and not should_stop()):
            settled = all(each.done >= SETTLED for each in running.values())
            if waiting and settled and len(running) < most and has_room(device, len(running)) and not should_stop():
                key, begin = waiting.popleft()
                outside.restore()
                running[key] = _Worker(begin, device)
            for key, worker in list(running.items()):
                ended = _ended(key, worker)
                if ended is not None:
                    del running[key]
                    yield ended
    finally:
        for worker in running.values():
            worker.close()
        outside.restore()


def _ended(key: Key, worker: _Worker[Result]) -> Ended[Key, Result] | None:
    """Do a step of a work; None unless it was the last one."""
    try:
        return Ended(key, worker.result) if worker.step() else None
    except Exception as error:  # the others go on
        return Ended(key, error=error)


def has_room(device: torch.device, running: int) -> bool:
    """Tell whether a GPU has the memory for one more work like those that run, and half as much to spare."""
    if device.type != "cuda" or not running:
        return True
    free, _ = torch.cuda.mem_get_info(device)
    return free > 1.5 * torch.cuda.memory_reserved(device) / running
