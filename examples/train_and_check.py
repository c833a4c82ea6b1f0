"""Train a P-JEPA, get its encoder back, and hold it against Theorem 3, all from Python.

    uv run python examples/train_and_check.py runs/example

A second argument sets the number of updates: 50 show how it works in half a minute, the default reaches nine clusters.
"""

import sys

from bisim_theory import analyse, read_representation, read_transitions, to_text
from pjepa_agent import load
from pjepa_agent.config.presets import make_config
from pjepa_agent.run import train_run
from pjepa_agent.runs.directory import RunDirectory


def main(path: str, updates: int | None = None) -> None:
    """Train into a new run directory and print what came of it."""
    config = make_config(experiment="reward", seed=0, updates=updates)
    run = RunDirectory.create(path, config)
    report = train_run(run, config)
    print(f"nearest-centroid accuracy, held out: {report['nearest_centroid_accuracy']:.3f}")

    data = read_transitions(run.path)
    model = load(run.path)
    images = data.observation[0:8]
    print("embeddings of the first images:", tuple(model.encode(images).shape))
    print("their counts:", data.labels["count"][:8])

    print(to_text(analyse(data, read_representation(run.representation))))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else None)
