"""Collection that begins before PyTorch is there, whose import takes as long as collecting for the laptop preset.

Nothing here may import PyTorch: a process that has is not safe to fork.
"""

import contextlib
import dataclasses
import mmap
import multiprocessing
import os
import signal
import sys
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
from bisim_theory import TransitionDataset
from numpy.typing import NDArray

from pjepa_agent.collection.policy import collect, most_frames
from pjepa_agent.config.schema import CollectionConfig, Config


class EarlyCollection:
    """The transitions of `collect`, collected from now on by a child process that writes the frames into shared memory.

    Args:
        config: what to collect.
        seed: fixes the environment and the policy.
    """

    def __init__(self, config: CollectionConfig, seed: int) -> None:
        self.config, self.seed = config, seed
        frames = most_frames(config)
        # Anonymous: it is gone with the last of both processes, and of it only what is written takes memory.
        self._images = np.frombuffer(mmap.mmap(-1, int(np.prod(frames))), np.uint8).reshape(frames)
        context = multiprocessing.get_context("fork")
        self._receiver, sender = context.Pipe(duplex=False)
        self._process = context.Process(target=_collect_into, args=(config, seed, self._images, sender), daemon=True)
        self._process.start()
        sender.close()

    def result(self) -> TransitionDataset:
        """Wait for the transitions; should the child have ended without them, collect them here."""
        try:
            data: TransitionDataset = self._receiver.recv()
        except EOFError:
            return collect(self.config, self.seed)
        self._process.join()
        return dataclasses.replace(data, observation=self._images[: data.frames], size=None)


def begin(config: Config) -> EarlyCollection | None:
    """Begin to collect for a run of one process, where that can be done early."""
    several = "TORCHELASTIC_RUN_ID" in os.environ  # each of which has a seed of its own
    if config.collection.online or several or sys.platform != "linux" or "torch" in sys.modules:
        return None
    with contextlib.suppress(OSError, OverflowError, ValueError):  # there is no such memory, and collecting says so
        return EarlyCollection(config.collection, config.seed)
    return None


def _collect_into(config: CollectionConfig, seed: int, images: NDArray[Any], sender: Connection) -> None:
    """Collect, and send all but the images. Whatever goes wrong is left for the parent to find and to say."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to both, and the parent ends this
    with contextlib.suppress(Exception):
        data = collect(config, seed, images)
        sender.send(dataclasses.replace(data, observation=None, size=data.frames))
