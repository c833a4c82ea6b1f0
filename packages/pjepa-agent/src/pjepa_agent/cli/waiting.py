"""How PyTorch's threads wait for work. Nothing here may import PyTorch, which reads it as it is imported."""

import os

SPINS = "2000"
"""Looks for work before a thread sleeps: microseconds. The default, 300,000, takes milliseconds."""


def wait_briefly() -> None:
    """Let threads on a CPU sleep soon where they have nothing to do, unless the environment says how they wait.

    Threads that go on looking keep a core from the threads that they wait for, as soon as another program has threads
    there too: two runs side by side then take twice as long as they need to, and at times far longer.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPINS)
