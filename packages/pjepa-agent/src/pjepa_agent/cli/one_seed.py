"""Train one seed for ``pjepa-train --seeds``, in a process of its own that ends with the one that started it."""

import os
import signal
import sys
import threading

from pjepa_agent.cli.seed_jobs import PROGRAM
from pjepa_agent.cli.train import main


def stop_with_parent() -> None:
    """Stop as by SIGTERM once the parent has closed standard input, which it does by ending in any way."""

    def watch() -> None:
        while os.read(0, 1):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    stop_with_parent()
    sys.argv[0] = PROGRAM  # provenance.json names the command that does the same alone
    sys.exit(main())
