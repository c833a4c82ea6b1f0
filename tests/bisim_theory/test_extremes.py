"""Data at the edges of what is accepted: nothing overflows, and no warning is given."""

import warnings

import numpy as np
import pytest
from bisim_theory import Representation, TransitionDataset, analyse
from bisim_theory.report.html import to_html
from bisim_theory.report.json import to_json
from bisim_theory.report.text import to_text

LARGEST = 1e100

P = {
    "nothing": np.zeros,
    "largest": lambda n: np.where(np.arange(n) % 2, LARGEST, -LARGEST),
    "smallest": lambda n: np.arange(n) * 5e-324,
    "int64": lambda n: np.where(np.arange(n) % 2, 2**63 - 1, -(2**63)),
    "uint64": lambda n: np.full(n, 2**64 - 1, np.uint64) - np.arange(n).astype(np.uint64),
    "half": lambda n: (np.arange(n) * 60_000 % 65_000).astype(np.float16),
    "vector": lambda n: np.stack([np.arange(n) * LARGEST / n, np.zeros(n)], 1),
}

EMBEDDINGS = {
    "constant": lambda rng, n: np.zeros((n, 3)),
    "largest": lambda rng, n: rng.choice([-LARGEST, LARGEST], size=(n, 3)),
    "single": lambda rng, n: rng.choice([-3e38, 3e38], size=(n, 3)).astype(np.float32),
    "half": lambda rng, n: rng.choice([-6e4, 6e4], size=(n, 3)).astype(np.float16),
    "subnormal": lambda rng, n: (rng.normal(size=(n, 3)) * 1e-44).astype(np.float32),
    "offset": lambda rng, n: 1e15 + rng.normal(size=(n, 2)),
}


def world(rng, frames, rows, p):
    """Transitions between some observations, at most `rows`, with a p for each observation."""
    done = np.unique(rng.integers([frames, 2], size=(rows, 2)), axis=0)
    successor = rng.integers(frames, size=len(done))
    largest = np.where(done[:, 1] > 0, LARGEST, -LARGEST)
    return TransitionDataset(
        done[:, 0], done[:, 1], successor, p[done[:, 0]], observation=rng.normal(size=(frames, 3)) * 1e98,
        reward=largest, action_value=largest[:, None], labels={"count": np.arange(frames) % 3, "p": p},
    )  # fmt: skip


@pytest.mark.parametrize("constants", [(1e100, 1e-100), (1e-100, 1e100)])
@pytest.mark.parametrize(("frames", "rows"), [(1, 1), (2, 1), (30, 60)])
def test_no_number_that_is_accepted_overflows(frames, rows, constants):
    rng = np.random.default_rng(0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name, p in P.items():
            data = world(rng, frames, rows, p(frames))
            outcomes = [analyse(data, folding=True, candidates=["p", "count", "constant"])]
            for embed in EMBEDDINGS.values():
                embedding = embed(rng, frames)
                predicted = embedding[data.successor]
                model = Representation(embedding, predicted, data.p.astype(np.float64), predicted, *constants)
                outcomes.append(analyse(data, model, "content", True))
            for outcome in outcomes:
                assert "nan" not in to_text(outcome), name
                assert to_json(outcome)["verdict"] == outcome.verdict
            to_html(outcomes[-1], "title")
