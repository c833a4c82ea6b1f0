"""Check of Theorem 3 on data and embeddings on disk.

Residuals are those of all transitions. Pairs are compared among all observations where they are at most
`MOST_OBSERVATIONS`. Beyond, they are compared among as many that are drawn uniformly, and, so that rare behaviours are
seen too, among one observation for each class of behaviour.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from bisim_theory.data.representation import Representation
from bisim_theory.data.transitions import Ids, TransitionDataset
from bisim_theory.formats.representation import OF_OBSERVATIONS, StoredRepresentation
from bisim_theory.progress import ProgressCallback, silent
from bisim_theory.relation.backends.rounds import CLASSES
from bisim_theory.relation.base import Relation
from bisim_theory.relation.graph import Behaviour
from bisim_theory.relation.sampled_levels import SampledRelation
from bisim_theory.stored.graph import NODE
from bisim_theory.stored.relation import StoredRelation, ids_at, labels_of
from bisim_theory.stored.residuals import RESIDUAL, Scan, scan
from bisim_theory.theorem.check import LevelCheck, TheoremCheck, Tolerance, check_theorem

MOST_OBSERVATIONS = 30_000
"""Observations up to which all pairs of them are compared; of more, as many are drawn."""

SEED = 0
"""Seed of all draws."""

PAIRS_OF_RARE_LEVELS = 200
"""Pairs of classes that are drawn for a level of which no pair was drawn."""


@dataclass(frozen=True, eq=False)
class ChosenBehaviour(Behaviour):
    """Classes of behaviour, of which some observations are chosen.

    Attributes:
        frame_classes: (W,) class of the chosen observations and of those around them, -1 where there is none.
    """

    frame_classes: Ids

    @property
    def class_of_frames(self) -> Ids:
        """(W,) class of every observation in the data."""
        return self.frame_classes


@dataclass(frozen=True, eq=False)
class Chosen:
    """Some observations, with their transitions in memory.

    Attributes:
        ids: (W,) ids of the observations in the data, and of those that their transitions lead to; sorted.
        relation: R_D* over the chosen ones, which have the positions of their ids.
        representation: the model's arrays on them.
        labels: (W,) code of the ground truth; None without one.
    """

    ids: Ids
    relation: Relation
    representation: Representation
    labels: Ids | None

    def check(
        self, varying: Ids, tolerance: Tolerance, progress: ProgressCallback = silent, **options: Any
    ) -> TheoremCheck:
        """Check the model on the chosen observations; pairs have the ids of the data."""
        check = check_theorem(
            self.relation, self.representation, tolerance, self.labels, progress, varying_codes=varying, **options
        )
        levels = [replace(level, x=self.ids[level.x], y=self.ids[level.y]) for level in check.levels]
        closest = check.closest
        if closest is not None:
            x, y = self.ids[list(closest.pair)].tolist()
            closest = replace(closest, pair=(x, y))
        return replace(check, levels=levels, closest=closest)


def check_stored(
    relation: StoredRelation,
    model: StoredRepresentation,
    cells: Sequence[str] = (),
    tolerance: Tolerance | None = None,
    progress: ProgressCallback = silent,
) -> tuple[TheoremCheck, Representation]:
    """Check a model against Theorem 3; see `bisim_theory.theorem.check.check_theorem`.

    Args:
        relation: R_D* over the data that the model was trained on.
        model: its embeddings and predictions on it.
        cells: expressions for the components of the ground truth; empty without one.
        tolerance: thresholds for well-trained and for collapsed; None takes the defaults.
        progress: called with the progress of the search for the smallest distance.

    Returns:
        The check; the model's arrays on the observations that were compared.

    Raises:
        DatasetError: the representation does not fit the data.
    """
    tolerance = tolerance or Tolerance()
    found = scan(relation.quotient.graph, model)
    varying, rng = relation.quotient.graph.data.varying_codes, np.random.default_rng(SEED)
    everything = relation.number <= MOST_OBSERVATIONS
    places = np.arange(relation.number) if everything else _draw(rng, relation.number, MOST_OBSERVATIONS)
    chosen = choose(relation, model, ids_at(relation.quotient.graph.data, places), cells)
    check = chosen.check(varying, tolerance, progress)
    if not everything:
        check = _with_rare(relation, model, check, tolerance, varying, rng)
    unknown = 0 if "predicted_embedding_canonical" in model.arrays else len(varying)
    check = replace(check, unknown_codes=unknown)
    return _with_all_rows(relation, check, found, tolerance), chosen.representation


def _draw(rng: np.random.Generator, number: int, most: int) -> Ids:
    """Draw integers below a number, each at most once; sorted."""
    drawn: Ids = np.unique(rng.integers(number, size=2 * most)) if number > 4 * most else rng.permutation(number)
    return np.sort(rng.permutation(drawn)[:most]).astype(np.int64)


def choose(relation: StoredRelation, model: StoredRepresentation, ids: Ids, cells: Sequence[str]) -> Chosen:
    """Read some observations, their transitions and the model's arrays on them into memory.

    Of several rows of one observation, action and successor those with the largest residuals are read.

    Args:
        relation: R_D* over all observations; `bisim_theory.stored.residuals.scan` has been run.
        model: the model.
        ids: (n,) ids of the observations, sorted; the relation speaks of all.
        cells: expressions for the components of the ground truth.
    """
    graph = relation.quotient.graph
    database = graph.data.database
    database.load("chosen", {"id": ids})
    worst = (
        f"select arg_max(row, e_d) as d, arg_max(row, case when isnan(e_p) then -1.0 else e_p end) as p "
        f"from {RESIDUAL} semi join chosen on chosen.id = {RESIDUAL}.source group by source, action, successor"
    )
    database.keep("picked", f"select d as row from ({worst}) union select p from ({worst})")
    found = database.arrays(
        f"select row, source, action, successor from {RESIDUAL} semi join picked on picked.row = {RESIDUAL}.row "
        "order by row"
    )
    row, source, action, successor = (found[name].astype(np.int64) for name in ("row", "source", "action", "successor"))
    around = np.unique(np.concatenate([ids, source, successor]))
    names = _names(relation, around)
    around = np.unique(np.concatenate([around, names]))
    names, classes = _names(relation, around), _classes(relation, around)
    value, known, acted = _p_of(relation, around)

    def place(ids: Ids) -> Ids:
        return np.asarray(np.searchsorted(around, ids))

    data = TransitionDataset(
        place(source),
        action,
        place(successor),
        observation_auxiliary=value,
        observation_auxiliary_known=known,
        size=len(around),
    )
    behaviour, at = relation.behaviour, place(ids)
    of_chosen = ChosenBehaviour(
        data=data,
        representative=place(names) if graph.folded else None,
        observations=at,
        is_source=acted[at],
        class_of=classes[at],
        auxiliary=behaviour.auxiliary,
        actions=behaviour.actions,
        edges=behaviour.edges,
        frame_classes=classes,
    )
    return Chosen(
        around, _over(relation, of_chosen), _part(model, around, row, value), _labels(relation, around, cells)
    )


def _over(relation: StoredRelation, behaviour: Behaviour) -> Relation:
    """Return the relation over other observations of the same classes."""
    if isinstance(relation.over_classes, SampledRelation):
        return SampledRelation.of(behaviour)
    return replace(cast(Any, relation.over_classes), behaviour=behaviour)


def _part(model: StoredRepresentation, ids: Ids, rows: Ids, p: NDArray[Any]) -> Representation:
    """Return the model's arrays on some observations and transitions, predictions of p in the shape of p."""
    arrays = {}
    for name, array in model.arrays.items():
        part = array.read_rows(ids if name in OF_OBSERVATIONS else rows)
        arrays[name] = part.reshape(len(part), *p.shape[1:]) if "auxiliary" in name else part
    return model.part(arrays)


def _names(relation: StoredRelation, ids: Ids) -> Ids:
    """Return the ids that observations were folded into; their own where nothing was folded."""
    graph = relation.quotient.graph
    if not graph.folded:
        return ids
    graph.data.database.load("wanted", {"id": ids})
    found = graph.data.database.arrays(
        "select coalesce(representative.name, wanted.id) as name from wanted "
        "left join representative on representative.id = wanted.id order by wanted.id"
    )
    return found["name"].astype(np.int64)


def _classes(relation: StoredRelation, ids: Ids) -> Ids:
    """Return the classes of observations as the relation has them, -1 where it does not speak of one."""
    quotient = relation.quotient
    database = quotient.graph.data.database
    database.load("wanted", {"id": ids, "vertex": _names(relation, ids)})
    found = database.arrays(
        f"select coalesce({CLASSES}.name, -1) as name from wanted left join {CLASSES} on {CLASSES}.v = wanted.vertex "
        "order by wanted.id"
    )["name"].astype(np.int64)
    classes = np.full(len(ids), -1)
    spoken = found >= 0
    classes[spoken] = relation.behaviour.class_of[quotient.number(found[spoken])]
    return classes


def _p_of(relation: StoredRelation, ids: Ids) -> tuple[NDArray[Any], NDArray[np.bool_], NDArray[np.bool_]]:
    """Return p of observations, (W,) or (W, k), whether it is known, and whether they are sources."""
    graph = relation.quotient.graph
    cells = ", ".join(f"coalesce({NODE}.c{place}::double, 0.0) as c{place}" for place in range(graph.components))
    graph.data.database.load("wanted", {"id": ids})
    found = graph.data.database.arrays(
        f"select {cells}, coalesce({graph.is_known}, false) as known, coalesce({NODE}.acted = 1, false) as acted "
        f"from wanted left join {NODE} on {NODE}.id = wanted.id order by wanted.id"
    )
    value = np.stack([found[f"c{place}"] for place in range(graph.components)], 1).astype(np.float64)
    return value[:, 0] if graph.components == 1 else value, found["known"].astype(bool), found["acted"].astype(bool)


def _labels(relation: StoredRelation, ids: Ids, cells: Sequence[str]) -> Ids | None:
    if not cells:
        return None
    values = labels_of(relation.quotient.graph.data, ids, cells)
    return np.unique(values, axis=0, return_inverse=True)[1].reshape(-1).astype(np.int64)


def _with_rare(
    relation: StoredRelation,
    model: StoredRepresentation,
    check: TheoremCheck,
    tolerance: Tolerance,
    varying: Ids,
    rng: np.random.Generator,
) -> TheoremCheck:
    """Compare one observation for each class too, and two for each level of which no pair was drawn.

    Args:
        relation: R_D* over all observations.
        model: the model.
        check: the check of observations that were drawn uniformly.
        tolerance: thresholds.
        varying: action codes that stand for different actions.
        rng: draws.
    """
    first = relation.behaviour.first
    options: dict[str, Any] = {"witnesses": False, "collapse_distance": check.collapse_distance}
    drawn = np.arange(len(first)) if len(first) <= MOST_OBSERVATIONS else _draw(rng, len(first), MOST_OBSERVATIONS)
    of_classes = choose(relation, model, np.sort(first[drawn]), ()).check(varying, tolerance, **options)
    seen = {level.level for each in (check, of_classes) for level in each.levels}
    rest = [level for level in range(1, len(relation.distinguished_pairs_per_level) + 1) if level not in seen]
    checks = [check, of_classes]
    classes = _classes_at(relation, rest, rng)
    if len(classes):
        checks.append(choose(relation, model, np.sort(first[classes]), ()).check(varying, tolerance, **options))
    by_level = [{level.level: level for level in each.levels} for each in checks]
    levels = []
    for number in sorted({*seen, *rest}):
        given = [each[number] for each in by_level if number in each]
        if given:
            levels.append(_joined(given[0], of_class=by_level[1].get(number, given[-1])))
    closest = [each.closest for each in checks if each.closest is not None]
    pairs, compared = (n * (n - 1) / 2 for n in (relation.number, MOST_OBSERVATIONS))
    estimate = round(check.collapsed_pairs * pairs / compared)
    return replace(
        check,
        levels=levels,
        closest=min(closest, key=lambda each: each.min_distance) if closest else None,
        collapsed_pairs=max([estimate, *(each.collapsed_pairs for each in checks)]),
        exact=False,
        compared=MOST_OBSERVATIONS,
    )


def _joined(level: LevelCheck, of_class: LevelCheck) -> LevelCheck:
    """Take the share of pairs of classes from a check of one observation for each class."""
    share = replace(level.explained, of_classes=of_class.explained.of_occurrences, sampled=True)
    return replace(level, explained=share, sampled=True)


def _classes_at(relation: StoredRelation, levels: Sequence[int], rng: np.random.Generator) -> Ids:
    """Return classes with pairs of some levels, each once."""
    behaviour = relation.behaviour
    classes = np.arange(behaviour.classes)
    one_each = Behaviour(
        data=behaviour.data,
        representative=None,
        observations=classes,
        is_source=np.ones(len(classes), bool),
        class_of=classes,
        auxiliary=behaviour.auxiliary,
        actions=behaviour.actions,
        edges=behaviour.edges,
    )
    if not levels or isinstance(relation.over_classes, SampledRelation):
        return classes[:0]
    over = _over(relation, one_each)
    found = [over.pairs_at(level).sample(PAIRS_OF_RARE_LEVELS, rng) for level in levels]
    return np.unique(np.concatenate([each for pair in found for each in pair])).astype(np.int64)


def _with_all_rows(relation: StoredRelation, check: TheoremCheck, found: Scan, tolerance: Tolerance) -> TheoremCheck:
    """Put the residuals of all transitions, and the numbers of all pairs, in place of those of some."""
    pairs = relation.distinguished_pairs_per_level
    levels = []
    for level in check.levels:
        of_level, ratio = pairs[level.level - 1], np.inf
        if level.median_distance > 0:
            ratio = 2 * found.transition[0] / level.median_distance
        explained = level.explained
        if level.pairs:
            of_all = round(explained.unpredicted_pairs * of_level / level.pairs)
            explained = replace(explained, unpredicted_pairs=of_all)
        levels.append(replace(level, pairs=of_level, residual_ratio=ratio, explained=explained))
    met = all(level.explained.reaches(tolerance.explained) for level in levels)
    if not relation.distinguished_pairs:
        met = found.transition[-1] <= tolerance.point * found.rms and found.largest_auxiliary <= tolerance.point
    unprotected = check.unprotected
    if unprotected is not None:
        drawn = unprotected.sampled or check.compared is not None
        unprotected = replace(unprotected, pairs=relation.bisimilar_pairs, sampled=drawn)
    return replace(
        check,
        unprotected=unprotected,
        transition_residual=found.transition,
        raw_transition_residual=found.raw,
        abstraction_residual=found.abstraction,
        auxiliary_residual=found.auxiliary,
        levels=levels,
        hypothesis_met=met,
    )
