"""Train a P-JEPA, load its encoder, and check it against Theorem 3 from Python.

    uv run python examples/train_and_check.py runs/example

A second argument sets the number of updates: 50 take half a minute, the default reaches nine clusters.
"""

import sys

from bisim_theory import analyse, read_representation, read_transitions, to_text
from pjepa_agent import RunDirectory, load, make_config, train


def main(path: str, updates: int | None = None) -> None:
    """Train in a new run directory and print the measures and the check."""
    config = make_config(experiment="reward", seed=0, updates=updates)
    run = RunDirectory.create(path, config)
    report = train(run, config)
    print(f"nearest-centroid accuracy, held out: {report['nearest_centroid_accuracy']:.3f}")

    data = read_transitions(run.path)
    model = load(run.path)
    images = data.observation[0:8]
    print("embeddings of the first images:", tuple(model.encode(images).shape))
    print("their counts:", data.labels["count"][:8])

    print(to_text(analyse(data, read_representation(run.representation))))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else None)
