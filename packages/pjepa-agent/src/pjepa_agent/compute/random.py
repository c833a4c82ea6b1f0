"""Random streams that are fixed by what they are for, so that none depends on what others have drawn."""

import contextlib
from collections.abc import Iterator

import numpy as np
import torch


@contextlib.contextmanager
def random_stream(seed: int, *purpose: int | str, device: torch.device | None = None) -> Iterator[None]:
    """PyTorch's random numbers of a seed and a purpose; afterwards the global stream goes on as if nothing were drawn.

    Nothing of such a stream has to be saved: a resumed run comes to the same purpose, and to the same numbers.

    Args:
        seed: of the run.
        purpose: what the numbers are for, such as an update.
        device: where numbers are drawn besides the CPU.
    """
    words = [int.from_bytes(each.encode(), "little") if isinstance(each, str) else each for each in purpose]
    state = int(np.random.SeedSequence([seed, *words]).generate_state(1, np.uint64)[0])
    with torch.random.fork_rng(devices=[] if device is None or device.type == "cpu" else [device]):
        torch.manual_seed(state)
        yield
