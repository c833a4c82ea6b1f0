"""``python -m pjepa_agent.cli`` is ``pjepa-train``."""

import sys

from pjepa_agent.cli.train import main

sys.exit(main())
