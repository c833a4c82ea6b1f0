"""Check of Theorems 1 and 3: the hypothesis as residuals, the conclusion as distances over R_D*."""

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from bisim_theory._aliases import former_parameters
from bisim_theory.data.auxiliary import stored_values
from bisim_theory.data.representation import Representation
from bisim_theory.data.transitions import Ids
from bisim_theory.progress import ProgressCallback, silent
from bisim_theory.relation.base import Relation
from bisim_theory.theorem.bounds import Lipschitz, distance_bounds
from bisim_theory.theorem.explained import ExplainedShare, Explanation
from bisim_theory.theorem.nearest import Floats, distances, nearest_distinguished
from bisim_theory.theorem.residuals import Residuals
from bisim_theory.theorem.unprotected import Unprotected, measure_unprotected, separation

Verdict = Literal["holds", "collapsed", "hypothesis-not-met"]

EXPLAINED = 0.9
"""Default of `Tolerance.explained`. The package's README has the models that it separates."""


@dataclass(frozen=True)
class Tolerance:
    """Thresholds for well-trained and for collapsed, since residuals and distances are never exactly zero.

    Attributes:
        transition: what 2 median e_d over the median distance of a level is compared with; decides nothing.
        auxiliary: what the share of level-1 pairs with e_p(x) + e_p(y) < |p(x) - p(y)| is compared with; decides
            nothing.
        collapse: a distance over R_D* up to this share of the median distance of all pairs is a collapse.
        point: a distance up to this share of the embeddings' root mean square is a collapse too. The median alone
            would miss an encoder that maps everything to a point, or (rightly) most bisimilar pairs.
        sample: most pairs of a level that are checked; more are sampled uniformly.
        explained: least explained share of the pairs of every level; see `bisim_theory.theorem.explained`.
    """

    transition: float = 1.0
    auxiliary: float = 0.99
    collapse: float = 1e-3
    point: float = 1e-6
    sample: int = 100_000
    explained: float = EXPLAINED


@dataclass(frozen=True)
class LevelCheck:
    """The distances of one level of R_D*, compared with the residuals.

    Attributes:
        level: 1, 2, ...
        pairs: number of unordered pairs that enter at it.
        median_distance: median distance of the checked pairs.
        explained: share of the pairs that the residuals explain.
        residual_ratio: 2 median e_d of all transitions over `median_distance`.
        witness_residual: median of e_d(x, a) + e_d(y, a) at the first action of the witness, over `WITNESSED` pairs;
            None at level 1, and where witnesses were not asked for.
        separation: probability that a pair of the level is further apart than a pair of observations with equal labels
            (area under the ROC curve; ties count half); None without labels or such pairs.
        bound: smallest and median lower bound on a distance from the residuals, and the share of positive bounds, over
            `WITNESSED` pairs; None without Lipschitz constants, where observations were folded, and without witnesses.
        sampled: whether only a uniform sample of the pairs was checked.
        x, y: (m,) ids of the checked pairs.
        distances: (m,) their distances.
    """

    level: int
    pairs: int
    median_distance: float
    residual_ratio: float
    witness_residual: float | None
    separation: float | None
    bound: tuple[float, float, float] | None
    sampled: bool
    explained: ExplainedShare
    x: Ids = field(repr=False)
    y: Ids = field(repr=False)
    distances: Floats = field(repr=False)

    @property
    def closest_pair(self) -> tuple[int, int]:
        """Ids of the checked pair with the smallest distance."""
        least = int(self.distances.argmin())
        return int(self.x[least]), int(self.y[least])


@dataclass(frozen=True)
class Closest:
    """The smallest ||E(x) - E(y)|| over R_D*, with the pair (x, y), its level and a witness."""

    min_distance: float
    pair: tuple[int, int]
    level: int
    witness: list[int]


@dataclass(frozen=True)
class TheoremCheck:
    """Theorem 3 checked on a dataset and a model; under full coverage this is Theorem 1.

    Attributes:
        transition_residual: quantiles 0.5, 0.9, 0.99 and 1 of e_d = ||T(E(x), a) - E(f(x, a))||, at the canonical
            action of each code where the representation has that, else at the action that was done.
        raw_transition_residual: the quantiles at the action that was done; None without canonical actions.
        abstraction_residual: quantiles of ||T(E(x), a) - T(E(x), canonical a)||; None without canonical actions.
        auxiliary_residual: quantiles of e_p = |P(E(x)) - p(x)| at the source of each transition; leaves do not count.
        auxiliary_share: share of level-1 pairs with e_p(x) + e_p(y) < |p(x) - p(y)|; None without such pairs.
        margin_ratio: (m,) (e_p(x) + e_p(y)) / |p(x) - p(y)| of the pairs that `auxiliary_share` is computed from; empty
            without such pairs.
        levels: every level of R_D*; those with sampled pairs where R_D* is not known exactly.
        median_distance: median distance of all pairs of observations, or of `Tolerance.sample` of them.
        same_label_distances: (m,) distances of all pairs of observations with equal labels, or of `Tolerance.sample` of
            them; None without labels or such pairs.
        closest: the smallest distance over R_D*; None where R_D* is empty.
        collapsed_pairs: number of unordered pairs in R_D* at most `collapse_distance` apart.
        collapse_distance: distance up to which a distinguished pair counts as collapsed.
        unknown_codes: number of action codes at which T is not known as a function of the code, so that no pair is
            explained by them; see `bisim_theory.theorem.explained.Explanation`.
        hypothesis_met: whether all levels are explained up to `tolerance`; where no pair is distinguished, whether the
            residuals are zero up to `Tolerance.point`.
        exact: True where the conclusion was checked on all of R_D*, False where on sampled pairs.
        tolerance: the thresholds of the check.
        compared: number of observations that were drawn uniformly and compared, from which the number of collapsed
            pairs is an estimate; None where all were.
        unprotected: what the model does with the pairs of B_D*; None where witnesses were not asked for either, and
            where they or the pairs of R_D* are too few.
    """

    transition_residual: tuple[float, ...]
    raw_transition_residual: tuple[float, ...] | None
    abstraction_residual: tuple[float, ...] | None
    auxiliary_residual: tuple[float, ...]
    auxiliary_share: float | None
    margin_ratio: Floats = field(repr=False)
    levels: list[LevelCheck]
    median_distance: float
    same_label_distances: Floats | None
    closest: Closest | None
    collapsed_pairs: int
    collapse_distance: float
    unknown_codes: int
    hypothesis_met: bool
    exact: bool
    tolerance: Tolerance
    compared: int | None = None
    unprotected: Unprotected | None = None

    @property
    def collapsed(self) -> bool:
        """True where any distinguished pair is collapsed."""
        return self.collapsed_pairs > 0

    @property
    def unexplained_levels(self) -> list[LevelCheck]:
        """The levels whose explained share is below the tolerance."""
        return [level for level in self.levels if not level.explained.reaches(self.tolerance.explained)]

    @property
    def verdict(self) -> Verdict:
        """``"collapsed"``, else ``"hypothesis-not-met"``, else ``"holds"``."""
        if self.collapsed:
            return "collapsed"
        return "holds" if self.hypothesis_met else "hypothesis-not-met"


WITNESSED = 2_000
"""Most pairs of a level whose residuals at the witness and bounds are computed; more are sampled uniformly."""

QUANTILES = (0.5, 0.9, 0.99, 1.0)


@former_parameters("data", "relation", "representation", "tolerance", "labels", "stands_for", "progress")
def check_theorem(
    relation: Relation,
    representation: Representation,
    tolerance: Tolerance | None = None,
    labels: NDArray[Any] | None = None,
    progress: ProgressCallback = silent,
    witnesses: bool = True,
    varying_codes: Ids | None = None,
    collapse_distance: float | None = None,
) -> TheoremCheck:
    """Check a model against Theorem 3 on the data that it was trained on.

    Args:
        relation: R_D* over that data.
        representation: the model's embeddings and predictions on it.
        tolerance: thresholds for well-trained and for collapsed; None takes the defaults.
        labels: (F,) the ground truth of `LevelCheck.separation`.
        progress: called with the progress of the search for the smallest distance.
        witnesses: whether to compute the residuals at witnesses, the bounds of levels, and what becomes of pairs that
            nothing distinguishes. They decide nothing and take most of the time.
        varying_codes: action codes that stand for different actions; None finds them in the data.
        collapse_distance: distance up to which a pair is collapsed; None takes that of `tolerance`.

    Raises:
        DatasetError: the representation does not fit the data.
    """
    representation.check_against(relation.data)
    tolerance = tolerance or Tolerance()
    model = Residuals(relation, representation)
    observations = relation.observations
    median = _median_distance(representation.embedding[observations], tolerance)
    rms = float(np.sqrt(np.square(representation.embedding[observations], dtype=np.float64).sum(1).mean()))
    if collapse_distance is None:
        collapse_distance = max(tolerance.collapse * median, tolerance.point * rms)
    same = None if labels is None else _same_label_distances(relation, representation, labels, tolerance)
    numbers = range(1, len(relation.distinguished_pairs_per_level) + 1)
    explanation = Explanation(model, varying_codes)
    checked = [_check_level(relation, level, explanation, same, tolerance, witnesses) for level in numbers]
    levels = [level for level in checked if level is not None]
    share, margin_ratio = _auxiliary_margins(relation, model, tolerance)
    closest, collapsed_pairs = _conclusion(relation, representation, collapse_distance, progress)
    return TheoremCheck(
        transition_residual=_quantiles(model.e_d),
        raw_transition_residual=None if model.raw is None else _quantiles(model.raw),
        abstraction_residual=None if model.abstraction is None else _quantiles(model.abstraction),
        auxiliary_residual=_quantiles(_of_sources(relation, model.e_p)),
        auxiliary_share=share,
        margin_ratio=margin_ratio,
        levels=levels,
        median_distance=median,
        same_label_distances=same,
        closest=closest,
        collapsed_pairs=collapsed_pairs,
        collapse_distance=collapse_distance,
        unknown_codes=explanation.unknown_codes,
        hypothesis_met=_hypothesis_met(relation, levels, model, rms, tolerance),
        exact=relation.exact,
        tolerance=tolerance,
        unprotected=measure_unprotected(relation, representation.embedding, tolerance.sample) if witnesses else None,
    )


def _quantiles(values: Floats) -> tuple[float, ...]:
    return tuple(np.quantile(values, QUANTILES).tolist())


def _of_sources(relation: Relation, e_p: Floats) -> Floats:
    """Return e_p at the source of every transition where p of it is known."""
    of_row = e_p[relation.data.source]
    known = of_row[~np.isnan(of_row)]
    return known if len(known) else np.zeros(1)


def _hypothesis_met(
    relation: Relation, levels: list[LevelCheck], model: Residuals, rms: float, tolerance: Tolerance
) -> bool:
    if not relation.distinguished_pairs:  # then residuals can be compared with no distance or margin
        return bool(model.e_d.max() <= tolerance.point * rms and np.nanmax(model.e_p, initial=0) <= tolerance.point)
    return all(level.explained.reaches(tolerance.explained) for level in levels)


def _check_level(
    relation: Relation,
    level: int,
    explanation: Explanation,
    same: Floats | None,
    tolerance: Tolerance,
    witnesses: bool,
) -> LevelCheck | None:
    model, representation = explanation.model, explanation.representation
    rng = np.random.default_rng([0, level])
    x, y, complete = relation.sample_pairs(level, tolerance.sample, rng)
    if not len(x):  # only where the relation itself is a sample
        return None
    found = distances(representation.embedding, x, y)
    median = float(np.median(found))
    few = slice(None) if len(x) <= WITNESSED else rng.choice(len(x), WITNESSED, replace=False)
    pairs = relation.distinguished_pairs_per_level[level - 1]
    return LevelCheck(
        level=level,
        pairs=pairs,
        median_distance=median,
        residual_ratio=2 * float(np.median(model.e_d)) / median if median > 0 else np.inf,
        witness_residual=None
        if level == 1 or not witnesses
        else float(np.median(model.at_witness(x[few], y[few], level))),
        separation=None if same is None else separation(found, same),
        bound=_bound(model, x[few], y[few]) if witnesses else None,
        sampled=not complete,
        explained=explanation.share(x, y, level, pairs, complete, tolerance.sample),
        x=x,
        y=y,
        distances=found,
    )


def _bound(model: Residuals, x: Ids, y: Ids) -> tuple[float, float, float] | None:
    dynamics, auxiliary = model.representation.lipschitz_dynamics, model.representation.lipschitz_auxiliary
    if dynamics is None or auxiliary is None or model.relation.folded:
        return None
    data, e_p = model.relation.data, np.nan_to_num(model.e_p, nan=np.inf)
    lipschitz = Lipschitz(dynamics, auxiliary)
    bounds = distance_bounds(data, x, y, model.e_d, e_p[data.source], lipschitz, leaf_residual=e_p)
    return float(bounds.min()), float(np.median(bounds)), float((bounds > 0).mean())


def _same_label_distances(
    relation: Relation, representation: Representation, labels: NDArray[Any], tolerance: Tolerance
) -> Floats | None:
    """Measure pairs of observations with equal labels: all, or a uniform sample; None where there is no such pair."""
    code = relation.label_codes(labels)
    sizes = np.bincount(code)
    order, ends = np.argsort(code, kind="stable"), np.cumsum(sizes)
    pairs = sizes * (sizes - 1) // 2
    if not pairs.sum():
        return None
    if pairs.sum() <= tolerance.sample:
        both = [np.triu_indices(size, 1) for size in sizes.tolist()]
        i, j = (np.concatenate([ends[k] - sizes[k] + pair[side] for k, pair in enumerate(both)]) for side in (0, 1))
    else:
        rng = np.random.default_rng(0)
        chosen = rng.choice(len(sizes), size=tolerance.sample, p=pairs / pairs.sum())
        first = rng.integers(sizes[chosen])
        second = (first + 1 + rng.integers(sizes[chosen] - 1)) % sizes[chosen]
        i, j = (ends[chosen] - sizes[chosen] + each for each in (first, second))
    return distances(representation.embedding, relation.observations[order[i]], relation.observations[order[j]])


def _auxiliary_margins(relation: Relation, model: Residuals, tolerance: Tolerance) -> tuple[float | None, Floats]:
    """Compute `TheoremCheck.auxiliary_share` and `TheoremCheck.margin_ratio`."""
    if not relation.distinguished_pairs:
        return None, np.empty(0)
    x, y, _ = relation.sample_pairs(1, tolerance.sample, np.random.default_rng(0))
    value = stored_values(relation.data).value.astype(np.float64).reshape(relation.data.frames, -1)
    margin = distances(value, x, y)
    error = np.nan_to_num(model.e_p[x] + model.e_p[y], nan=np.inf)  # what is not predicted meets no margin
    ratio = np.divide(error, margin, out=np.full(len(x), np.inf), where=margin > 0)
    return (float((error < margin).mean()) if len(x) else None), ratio


def _median_distance(embedding: NDArray[Any], tolerance: Tolerance) -> float:
    n = len(embedding)
    if n < 2:
        return 0.0
    if n * (n - 1) // 2 <= tolerance.sample:
        x, y = np.triu_indices(n, 1)
    else:
        rng = np.random.default_rng(0)
        x = rng.integers(n, size=tolerance.sample)
        y = (x + rng.integers(1, n, size=tolerance.sample)) % n
    return float(np.median(distances(embedding, x, y)))


def _conclusion(
    relation: Relation, representation: Representation, threshold: float, progress: ProgressCallback
) -> tuple[Closest | None, int]:
    """Find the closest distinguished pair and count the collapsed ones, among sampled pairs if R_D* is not exact."""
    if relation.exact:
        nearest = nearest_distinguished(relation, representation.embedding, threshold, progress)
        distance, pair, close = nearest.distance, nearest.pair, nearest.close
    else:
        distance, pair, close = _nearest_sampled(relation, representation, threshold)
    if pair is None:
        return None, 0
    witness = relation.witness(*pair)
    assert witness is not None
    return Closest(distance, pair, len(witness) + 1, witness), close


def _nearest_sampled(
    relation: Relation, representation: Representation, threshold: float
) -> tuple[float, tuple[int, int] | None, int]:
    found = [np.concatenate(ends) for ends in zip(*relation.pairs(), strict=True)]
    if not found:
        return np.inf, None, 0
    x, y = found
    distance = distances(representation.embedding, x, y)
    least = int(distance.argmin())
    a, b = sorted((int(x[least]), int(y[least])))
    return float(distance[least]), (a, b), int((distance <= threshold).sum())
