"""How much memory the paper's buffer of 100,000 transitions takes, when it has been written over twice.

Run it with ``uv run python -m benchmarks.speed.memory``.
"""

import resource
import sys

import numpy as np
import torch
from pjepa_agent.collection.replay import OnlineReplay
from pjepa_agent.config.presets import make_config

from benchmarks.speed.baseline import Buffer
from benchmarks.tables import markdown


def resident() -> int:
    """Largest resident memory of the process so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def main() -> None:
    """Fill the buffer and print what it takes."""
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
        "most that the process took beside its imports, with a copy for this table": resident() - before,
    }
    rows = [[name, f"{size / 1e9:.3f}", f"{size / frames:.3f}"] for name, size in sizes.items()]
    print(markdown(["", "GB", "of the frames"], rows))


if __name__ == "__main__":
    main()
