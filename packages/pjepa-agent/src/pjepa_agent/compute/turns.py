"""Several works in one process, a step of each in turn: each on a stream of its own, and as if it were alone."""

import contextlib
import random
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Generic, NamedTuple, TypeVar

import numpy as np
import torch

from pjepa_agent.compute.graph import side_stream
from pjepa_agent.compute.memory import available_memory

Result = TypeVar("Result")
Key = TypeVar("Key")

Steps = Generator[None, None, Result]
"""Work in steps, which may be interrupted between any two by other work; what it returns is its result."""

SETTLED = 12
"""Steps after which a work has taken the memory that it needs: a graph is captured in the fourth update."""

SPARE = 3
"""Memory that has to be free for one more work, over that which each has taken. With twice as much to spare, what it
keeps on the device is what it keeps there alone; see `collection.frames.frames_device`."""


def finish(steps: Steps[Result]) -> Result:
    """Do all steps of a work one after the other, and return its result."""
    with contextlib.closing(steps):
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
        self._own: torch.Generator | None = None
        if device.type == "cuda":
            number = torch.cuda.current_device()  # before CUDA is initialised, there are no generators
            self._own = torch.cuda.default_generators[number]
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
    error: BaseException | None = None


class _Worker(Generic[Key, Result]):
    """Does one work, with global random numbers of its own.

    Args:
        key: of the work.
        begin: what begins it.
        device: on which it works.
        stream: of it alone; None on a CPU.
    """

    def __init__(
        self, key: Key, begin: Callable[[], Steps[Result]], device: torch.device, stream: torch.cuda.Stream | None
    ) -> None:
        self.key, self.begin, self.stream = key, begin, stream
        self.done = 0
        """Steps."""
        self._steps = begin()
        self._random = GlobalRandom(device)

    def step(self) -> Ended[Key, Result] | None:
        """Do the next step; return how the work has ended, if it was the last one."""
        try:
            with self._as_if_alone():
                try:
                    next(self._steps)
                except StopIteration as end:
                    return Ended(self.key, end.value)
        except (Exception, SystemExit) as error:  # the others go on
            return Ended(self.key, error=error)
        self.done += 1
        return None

    def close(self) -> None:
        """Give up the work between two steps."""
        with self._as_if_alone():
            self._steps.close()

    @contextlib.contextmanager
    def _as_if_alone(self) -> Iterator[None]:
        self._random.restore()
        try:
            with torch.cuda.stream(self.stream):  # does nothing where there is none
                yield
        finally:
            self._random.save()


def take_turns(
    works: Iterable[tuple[Key, Callable[[], Steps[Result]]]],
    device: torch.device,
    most: int,
    should_stop: Callable[[], bool] = lambda: False,
) -> Generator[Ended[Key, Result], None, None]:
    """Do works in turn, a step of each, and yield how each ended, in the order of their ends.

    A work is begun as soon as those before it have settled and, on a GPU, there is memory for one more. Whatever is
    raised ends the work that raised it; but one for which a GPU has no memory beside others waits, and is begun again
    once one of them has ended. Where the iterator is closed before its end, the works are too.

    Args:
        works: what begins each, by a key.
        device: on which they work: on CUDA each on a stream of its own.
        most: works at a time.
        should_stop: asked before a work is begun; those that are running are told by what they ask themselves.
    """
    waiting, running = deque(works), list[_Worker[Key, Result]]()
    streams = [side_stream(device) for _ in range(most)]
    room, outside = Room(device), GlobalRandom(device)
    with contextlib.ExitStack() as last:
        last.callback(outside.restore)
        last.callback(_close, running)
        while running or (waiting and not should_stop()):
            settled = all(worker.done >= SETTLED for worker in running)
            if waiting and settled and len(running) < most and not should_stop() and room.fits(len(running)):
                outside.restore()
                running.append(_Worker(*waiting.popleft(), device, streams.pop()))
            for worker in list(running):
                ended = worker.step()
                if ended is None:
                    continue
                running.remove(worker)
                streams.append(worker.stream)
                if isinstance(ended.error, torch.OutOfMemoryError) and running:
                    waiting.append((worker.key, worker.begin))
                    most = len(running)
                else:
                    yield ended
                del worker, ended  # and with them what they hold on the device
                room.release()


def _close(workers: "list[_Worker[Key, Result]]") -> None:
    """Give up works, each even if another cannot be closed."""
    with contextlib.ExitStack() as all_of_them:
        for worker in workers:
            all_of_them.callback(worker.close)


class Room:
    """Tells whether there is memory for one more work like those that run: on a GPU and on its host.

    Args:
        device: on which they work; on a CPU there always is.
    """

    def __init__(self, device: torch.device) -> None:
        self._device, self._host = device, available_memory()

    def fits(self, running: int) -> bool:
        """Tell whether `SPARE` times as much is free as each of those that are running takes, or none is running."""
        if self._device.type != "cuda" or not running:
            return True
        on_host = available_memory()
        if on_host < SPARE * max(self._host - on_host, 0) / running:
            return False
        try:
            free, _ = torch.cuda.mem_get_info(self._device)
        except RuntimeError:  # the device does no more, as those that are running will find and say
            return False
        return free >= SPARE * torch.cuda.memory_reserved(self._device) / running

    def release(self) -> None:
        """Give back what a work on a GPU leaves unused as it ends."""
        if self._device.type == "cuda":
            with contextlib.suppress(RuntimeError):  # as above
                torch.cuda.empty_cache()
