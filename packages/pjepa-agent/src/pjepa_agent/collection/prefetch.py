"""Collect in a child process while the parent imports PyTorch, which takes as long as the laptop preset's collection.

Nothing here may import PyTorch: a process that has imported it cannot be forked safely.
"""

import contextlib
import dataclasses
import mmap
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
from bisim_theory import TransitionDataset
from numpy.typing import NDArray

from pjepa_agent.config.schema import Config
from pjepa_agent.envs.counting import CountingDomain


class PrefetchedCollection:
    """Run `collect` in a child process that writes the frames into shared memory.

    Args:
        domain: the world that is collected from.
        seed: fixes the environment and the policy.
    """

    def __init__(self, domain: CountingDomain, seed: int) -> None:
        self.domain, self.seed = domain, seed
        frames = domain.most_frames
        # An anonymous mapping is freed with the last of both processes, and only pages that are written take memory.
        self._images = np.frombuffer(mmap.mmap(-1, int(np.prod(frames))), np.uint8).reshape(frames)
        context = multiprocessing.get_context("fork")
        self._receiver, sender = context.Pipe(duplex=False)
        self._process = context.Process(target=_collect_into, args=(domain, seed, self._images, sender), daemon=True)
        self._process.start()
        sender.close()

    def result(self) -> TransitionDataset:
        """Wait for the transitions. If the child ended without sending them, collect them in this process."""
        try:
            data: TransitionDataset = self._receiver.recv()
        except EOFError:
            return self.domain.collect(self.seed)
        self._process.join()
        return dataclasses.replace(data, observation=self._images[: data.frames], size=None)


def start(config: Config) -> Callable[[], TransitionDataset] | None:
    """Start to collect the transitions of a run.

    Returns:
        A function that waits for the transitions. None where they cannot be prefetched: another world, online
        collection, a run of several processes, a system other than Linux, a process that has imported PyTorch, or too
        little memory.
    """
    # `torchrun` sets the variable; each of its processes collects with a seed of its own.
    several = "TORCHELASTIC_RUN_ID" in os.environ
    before = config.counting and not config.collection.while_training
    if not before or several or sys.platform != "linux" or "torch" in sys.modules:
        return None
    # Without the memory the run collects as usual, which reports the error.
    with contextlib.suppress(OSError, OverflowError, ValueError):
        return PrefetchedCollection(CountingDomain(config.collection), config.seed).result
    return None


def _collect_into(domain: CountingDomain, seed: int, images: NDArray[Any], sender: Connection) -> None:
    """Collect into shared memory and send all but the images. Errors are left to the parent, which collects again."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal interrupts both processes; the parent ends this one
    with contextlib.suppress(Exception):
        data = domain.collect(seed, images)
        sender.send(dataclasses.replace(data, observation=None, size=data.frames))
