"""``python -m bisim_theory`` is ``bisim-check``."""

import sys

from bisim_theory.cli import main

sys.exit(main())
