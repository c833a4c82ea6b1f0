"""Random streams by purpose, so that none depends on what others have drawn."""

import contextlib
from collections.abc import Iterator

import numpy as np
import torch


@contextlib.contextmanager
def random_stream(seed: int, *purpose: int | str, device: torch.device | None = None) -> Iterator[None]:
    """Seed PyTorch within a context by the run's seed and a purpose; restore the global random state afterwards.

    The state of a stream is never saved: a resumed run derives the same stream from the same purpose.

    Args:
        seed: of the run.
        purpose: names and numbers that identify the stream, such as an update.
        device: seeded besides the CPU.
    """
    words = [int.from_bytes(each.encode(), "little") if isinstance(each, str) else each for each in purpose]
    state = int(np.random.SeedSequence([seed, *words]).generate_state(1, np.uint64)[0])
    with torch.random.fork_rng(devices=[] if device is None or device.type == "cpu" else [device]):
        torch.manual_seed(state)
        yield
