"""Probe embeddings for count, shape, colour and position with linear models and MLPs (scikit-learn)."""

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from counting_env.drawing import RADIUS
from numpy.typing import NDArray

from pjepa_agent.envs.base import Labels
from pjepa_agent.evaluation.clusters import Floats

GRID = 4
"""Cells of the image in each direction, over which the target ``occupancy`` counts objects."""

HIDDEN = 128
"""Units of the one hidden layer of an MLP probe."""

EPOCHS = 60
"""Largest number of epochs of an MLP probe, which may stop early."""


def probe(fit: Floats, fit_labels: Labels, scored: Floats, scored_labels: Labels, size: int) -> dict[str, Any]:
    """Fit probes on some embeddings and score them on others. All dimensions are standardised first.

    ``count`` and ``shape`` are scored by accuracy. ``color`` is the R^2 of red, green and blue, ``position`` that of
    the mean row and column of the objects, ``occupancy`` that of the share of the objects in each of 4 x 4 cells of the
    image, each averaged over its components. The objects of an image are a set, so their positions in some order are
    not a function of the image, whereas mean and shares are, and neither follows from the count. All but ``count`` are
    over images with objects.

    Args:
        fit: (n, d) embeddings to fit the probes on.
        fit_labels: ``count``, ``shape`` (n,), ``color`` (n, 3) and ``positions`` (n, 2 k) row and column of the centres
            of the objects, -1 where there is none.
        scored: (m, d) embeddings to score the probes on.
        scored_labels: their labels, as `fit_labels`.
        size: side of the images in pixels.

    Returns:
        The five scores under ``linear``, ``mlp`` and ``chance``: the accuracy of the most frequent label, and an R^2
        of 0.
    """
    centre, spread = fit.mean(0), fit.std(0)
    spread = np.where(spread > 0, spread, 1)
    fit, scored = ((rows - centre) / spread for rows in (fit, scored))
    found: dict[str, Any] = {"linear": {}, "mlp": {}, "chance": {}}
    with_objects = fit_labels["count"] > 0, scored_labels["count"] > 0
    for name, target in TARGETS.items():
        a, b = (slice(None), slice(None)) if name == "count" else with_objects
        split = fit[a], target(fit_labels, size)[a], scored[b], target(scored_labels, size)[b]
        score = accuracy_of if name in ("count", "shape") else explained_by
        for kind in ("linear", "mlp", "chance"):
            found[kind][name] = score(kind, *split)
    return found


def mean_position(labels: Labels, size: int) -> NDArray[np.float64]:
    """Return the mean row and column of the objects of every image, (n, 2); NaN where there is none."""
    centres, there = _centres(labels)
    with np.errstate(invalid="ignore"):
        mean: NDArray[np.float64] = (centres * there[..., None]).sum(1) / there.sum(1)[:, None]
    return mean


def occupancy(labels: Labels, size: int) -> NDArray[np.float64]:
    """Return the share of every image's objects centred in each of 4 x 4 cells, (n, 16); NaN where there is none.

    The cells are equal parts of the area where centres can be.
    """
    centres, there = _centres(labels)
    cells = np.clip((centres - RADIUS) * GRID // (size - 2 * RADIUS), 0, GRID - 1).astype(np.int64)
    inside = np.zeros((len(there), GRID * GRID))
    image, slot = np.nonzero(there)
    row, column = cells[image, slot].T
    np.add.at(inside, (image, row * GRID + column), 1)
    with np.errstate(invalid="ignore"):
        share: NDArray[np.float64] = inside / there.sum(1)[:, None]
    return share


TARGETS: Mapping[str, Callable[[Labels, int], NDArray[Any]]] = {
    "count": lambda labels, size: labels["count"],
    "shape": lambda labels, size: labels["shape"],
    "color": lambda labels, size: labels["color"].astype(np.float64),
    "position": mean_position,
    "occupancy": occupancy,
}
"""Targets of the probes, as functions of the labels and the side of the images."""


def _centres(labels: Labels) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return the centres (n, k, 2) of the objects of every image, and which of them exist (n, k)."""
    centres = np.asarray(labels["positions"], np.float64).reshape(len(labels["count"]), -1, 2)
    return centres, centres[..., 0] >= 0


def accuracy_of(kind: str, fit: Floats, target: NDArray[Any], scored: Floats, truth: NDArray[Any]) -> float:
    """Return the accuracy of a classifier on held-out embeddings."""
    if kind == "chance" or len(np.unique(target)) == 1:
        return float((truth == np.bincount(target).argmax()).mean())
    from sklearn.linear_model import LogisticRegression
    from sklearn.neural_network import MLPClassifier

    classifier = LogisticRegression(max_iter=200) if kind == "linear" else MLPClassifier(**_MLP)
    return float((_fitted(classifier, fit, target).predict(scored) == truth).mean())


def explained_by(kind: str, fit: Floats, target: NDArray[Any], scored: Floats, truth: NDArray[Any]) -> float:
    """Return the R^2 of a regression on held-out embeddings."""
    if kind == "chance":
        return 0.0
    from sklearn.linear_model import RidgeCV
    from sklearn.metrics import r2_score
    from sklearn.neural_network import MLPRegressor

    centre, spread = target.mean(0), target.std(0)  # units affect how an MLP converges, not R^2
    regressor = RidgeCV(np.logspace(-1, 5, 7)) if kind == "linear" else MLPRegressor(**_MLP)
    predicted = _fitted(regressor, fit, (target - centre) / np.where(spread > 0, spread, 1)).predict(scored)
    return float(r2_score(truth, predicted * spread + centre))


_MLP: dict[str, Any] = {
    "hidden_layer_sizes": (HIDDEN,),
    "alpha": 1e-3,
    "early_stopping": True,
    "n_iter_no_change": 8,
    "learning_rate_init": 3e-3,
    "max_iter": EPOCHS,
    "random_state": 0,
}


def _fitted(model: Any, fit: Floats, target: NDArray[Any]) -> Any:
    """Fit a model of scikit-learn without its warnings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a last digit that has not converged changes no score
        return model.fit(fit, target)
