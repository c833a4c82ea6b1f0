"""An entry function that reads damaged files: its status and what it said, with limits that no code can swallow."""

import contextlib
import io
import shutil
import signal
import traceback
from pathlib import Path

SECONDS = 20
"""What a file may take."""


class Overtime(BaseException):
    """A file took too long; no code that catches errors may take this for one."""


def stop(signum, frame):
    raise Overtime(f"still reading after {SECONDS} s")


def guarded(main, arguments):
    """Exit status and standard error of an entry function; None and what happened where it ended otherwise."""
    errors, signal_before = io.StringIO(), signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(errors):
            status = main(arguments)
    except SystemExit as end:
        status = end.code
    except BaseException as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        return None, f"{type(error).__name__}: {error} at {last.filename}:{last.lineno}"
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, signal_before)
    return status, errors.getvalue()


def copy_of(original, place):
    for old in (place, *place.parent.glob(f"{place.name}.*")):
        shutil.rmtree(old) if old.is_dir() else old.unlink(missing_ok=True)
    shutil.copytree(original, place) if original.is_dir() else shutil.copy(original, place)


def peak_memory():
    """Most bytes that this process has had in memory."""
    # Not ru_maxrss, which begins with what the process that started this one has used.
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024
