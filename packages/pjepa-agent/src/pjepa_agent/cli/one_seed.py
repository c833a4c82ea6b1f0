"""Train one seed for ``pjepa-train --seeds``, in a process of its own that ends with the one that started it."""

import contextlib
import os
import signal
import sys
import threading
import traceback

from pjepa_agent.cli.seed_jobs import PROGRAM, SAID
from pjepa_agent.cli.train import main


def stop_with_parent() -> None:
    """Stop as by SIGTERM once the parent has closed standard input, which it does by ending in any way."""

    def watch() -> None:
        while os.read(0, 1):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()


def train() -> int:
    """Train the seed that the options name. What code of the user's prints goes where the log goes.

    Whatever is raised is written with its traceback, and last in one line, which is why the seed has failed.
    """
    try:
        with contextlib.redirect_stdout(sys.stderr):
            return main(say_results=False)
    except Exception as error:
        from bisim_theory.data.imported import describe_error

        traceback.print_exc()
        sys.stderr.write(f"{SAID}error: {describe_error(error)}\n")
        return 1


if __name__ == "__main__":
    stop_with_parent()
    sys.argv[0] = PROGRAM  # provenance.json names the command that does the same alone
    sys.exit(train())
