"""Describe what is to be trained of several seeds, and how each ended. Imports nothing heavy."""

import dataclasses
import signal
from collections.abc import Sequence

from pjepa_agent.config.schema import Config
from pjepa_agent.runs.interruption import STOP_SIGNALS

PROGRAM = "pjepa-train"
"""The command that trains one seed."""

SAID = f"{PROGRAM}: "
"""What a line begins with by which the command says why it ended."""


@dataclasses.dataclass(frozen=True)
class Job:
    """Name a seed and what trains it.

    Attributes:
        seed: the seed.
        options: of `pjepa-train`.
        path: of its run directory.
        config: of a new run; None where the directory is gone on with.
    """

    seed: int
    options: Sequence[str]
    path: str
    config: Config | None = None


@dataclasses.dataclass(frozen=True)
class Ended:
    """Say how the training of a seed ended.

    Attributes:
        seed: the seed.
        status: exit status, or the negative number of the signal that ended its process.
        said: why, in the words of `pjepa-train`, or its last line; empty if it said nothing.
    """

    seed: int
    status: int
    said: str

    @property
    def failed(self) -> bool:
        """Return whether the seed ended by itself before it was finished, not by a signal to stop."""
        stopped = [(128 + number, -number) for number in STOP_SIGNALS]
        return self.status != 0 and not any(self.status in each for each in stopped)

    @property
    def reason(self) -> str:
        """Return why the seed is not finished, in a few words."""
        if self.status < 0:
            return f"ended by {signal.Signals(-self.status).name}"
        said = self.said.removeprefix(SAID).removeprefix("error: ").partition("; go on with:")[0]
        return said or f"ended with status {self.status}"
