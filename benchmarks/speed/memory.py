"""Measure the memory of the paper's replay buffer of 100,000 transitions after 300,000 environment steps.

Command: ``uv run python -m benchmarks.speed.memory``.
"""

import argparse
import resource
import sys

import numpy as np
import torch
from pjepa_agent.collection.replay import OnlineReplay
from pjepa_agent.config.presets import make_config

from benchmarks.speed.baseline import Buffer
from benchmarks.tables import markdown


def resident() -> int:
    """Return the peak of the resident memory of this process, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def make_parser() -> argparse.ArgumentParser:
    """Return the options of the command: none but ``--help``."""
    return argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)


def main() -> None:
    """Fill the buffer and print the table."""
    make_parser().parse_args()
    config = make_config("paper")
    before = resident()
    recent = OnlineReplay(config, torch.device("cpu"))
    recent.collect_until(3 * config.collection.transitions)
    data = recent.dataset()
    assert data.observation is not None
    frames = data.frames * int(np.prod(data.observation.shape[1:]))
    columns = sum(value.nbytes for value in recent.buffer[:].values())
    labels = sum(label.nbytes for label in recent.frames.labels.values())
    del data
    sizes = {
        f"frames of {config.collection.transitions:,} transitions": frames,
        "ring of frames": recent.frames.images.nbytes,
        "actions, rewards, indices": columns,
        "labels": labels,
        "all of it": recent.frames.nbytes + columns,
        "both frames of every transition, as the baseline keeps them": Buffer(config.collection.transitions).nbytes,
        "peak of the process above its imports, with a copy for this table": resident() - before,
    }
    rows = [[name, f"{size / 1e9:.3f}", f"{size / frames:.3f}"] for name, size in sizes.items()]
    print(markdown(["", "GB", "of the frames"], rows))


if __name__ == "__main__":
    main()
