"""Train several seeds, each by a `pjepa-train` in a process of its own, one after another or side by side."""

import os
import selectors
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Generator, Sequence

from pjepa_agent.cli.seed_jobs import SAID, Ended, Job

COMMAND = (sys.executable, "-P", "-m", "pjepa_agent.cli.one_seed")
"""What trains one seed, before the options; -P, since the working directory comes in as with `pjepa-train` alone."""

PAUSE = 0.1
"""Seconds between two looks at whether to stop."""


def side_by_side(device: str) -> int:
    """Return how many runs can train at a time, each with as many threads as it has alone.

    By default PyTorch takes all cores, so that is one. With fewer threads, as OMP_NUM_THREADS has it, it is as many as
    there are cores for. On a GPU it is one.

    Args:
        device: where to train, as in ``compute.device``.
    """
    threads = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    if not threads.isdecimal() or not int(threads):
        return 1
    number = max(_cores() // int(threads), 1)
    if number > 1 and device != "cpu":
        import torch

        if torch.cuda.is_available():
            return 1
    return number


def _cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def train_in_processes(
    jobs: Sequence[Job],
    at_a_time: int,
    should_stop: Callable[[], bool],
    say: Callable[[int, str], None],
    command: Sequence[str] = COMMAND,
) -> Generator[Ended, None, None]:
    """Run the jobs, and yield how each ended, in the order of their ends.

    Once `should_stop` says so, the processes are told to save and end, and no other is started. They are told too, and
    waited for, where the iterator is closed before its end.

    Args:
        jobs: what to run.
        at_a_time: processes at a time.
        should_stop: asked all the time.
        say: called with a seed and a line of its log.
        command: what runs a job, before its options.
    """
    waiting, running = deque(jobs), list[_Process]()
    told = False
    with selectors.DefaultSelector() as selector:
        try:
            while running or (waiting and not should_stop()):
                while waiting and len(running) < at_a_time and not should_stop():
                    running.append(_Process(waiting.popleft(), command, selector))
                if should_stop() and not told:
                    told = True
                    _stop(running)
                selector.select(PAUSE)
                for process in list(running):
                    over = process.poll()  # before its last lines are read
                    for line in process.read():
                        say(process.job.seed, line)
                    if over is not None:
                        running.remove(process)
                        yield process.close(over)
        finally:
            _stop(running)
            for process in running:
                process.close(process.wait())


def _stop(processes: "Sequence[_Process]") -> None:
    for process in processes:
        process.terminate()


class _Process:
    """Run one job. Its standard error is read without waiting; its standard input is open as long as this process is.

    It has a process group of its own: Ctrl-C reaches it by `train_in_processes` alone, and so once.
    """

    def __init__(self, job: Job, command: Sequence[str], selector: selectors.BaseSelector) -> None:
        self.job, self._selector = job, selector
        self._process = subprocess.Popen(
            [*command, *job.options], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            process_group=0,
        )  # fmt: skip
        assert self._process.stderr is not None
        self._stream = self._process.stderr
        os.set_blocking(self._stream.fileno(), False)
        selector.register(self._stream, selectors.EVENT_READ)
        self._open, self._rest, self._said, self._last = True, b"", "", ""
        self.poll, self.wait, self.terminate = self._process.poll, self._process.wait, self._process.terminate

    def read(self) -> list[str]:
        """Return the lines that have come, without those by which the command says why it ended."""
        while self._open:
            try:
                piece = os.read(self._stream.fileno(), 65536)
            except BlockingIOError:
                break
            self._rest += piece
            if not piece:
                self._open = False
                self._selector.unregister(self._stream)
                self._rest += b"\n" * bool(self._rest)
        *whole, self._rest = self._rest.split(b"\n")
        lines = [line.decode(errors="replace").rstrip() for line in whole]
        for line in lines:
            self._last = line or self._last
            self._said = line if line.startswith(SAID) else self._said
        return [line for line in lines if line and not line.startswith(SAID)]

    def close(self, status: int) -> Ended:
        """Close the streams, and return how the process ended."""
        if self._open:  # a process that it started may have it open still
            self._open = False
            self._selector.unregister(self._stream)
        self._stream.close()
        if self._process.stdin is not None:
            self._process.stdin.close()
        return Ended(self.job.seed, status, self._said or self._last)
