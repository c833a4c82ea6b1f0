"""Analyse a dataset on disk as `bisim-check` does: the questions of `bisim_theory.analysis`, asked of a database."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from bisim_theory.data.alternatives import alternatives
from bisim_theory.data.contradiction import NoWellTrainedModelError
from bisim_theory.data.identity import choose_identity
from bisim_theory.data.labels import BOOKKEEPING, label_names
from bisim_theory.data.transitions import DatasetError, Ids
from bisim_theory.formats.representation import StoredRepresentation
from bisim_theory.outcome import LEFT_OUT_ABSORBED, Checked, Facts, Impossible, Outcome, PairNote, RelationOnly, Report
from bisim_theory.progress import ProgressCallback, silent
from bisim_theory.relation.backends.rounds import CLASSES, refine
from bisim_theory.relation.collect_next import Suggestion, suggest
from bisim_theory.relation.comparison import Candidate, Comparison
from bisim_theory.relation.embeddings_needed import ClassTransitions, EmbeddingsNeeded, bound_embeddings
from bisim_theory.stored import auxiliary as p_by_name
from bisim_theory.stored import identity as observed
from bisim_theory.stored.closure import cannot_collapse
from bisim_theory.stored.collect_next import StoredKinds
from bisim_theory.stored.dataset import StoredDataset
from bisim_theory.stored.folding import fold_stored
from bisim_theory.stored.graph import LOOSE, StoredGraph, build_graph, state_p
from bisim_theory.stored.identity import PAIR
from bisim_theory.stored.quotient import Quotient
from bisim_theory.stored.relation import Kinds, StoredRelation, StoredSample, labels_of
from bisim_theory.stored.theorem import check_stored
from bisim_theory.theorem.check import Tolerance

ProgressBar = Callable[[str], AbstractContextManager[ProgressCallback]]

RunRounds = Callable[[StoredGraph, ProgressCallback], None]
"""Computes the classes of identical behaviour of a graph, as a table of its database."""


def refine_here(graph: StoredGraph, progress: ProgressCallback = silent) -> None:
    """Compute the classes in the database itself."""
    refine(graph.data.database, len(graph.actions), graph.single, progress)


def analyse_stored(
    data: StoredDataset,
    *,
    identity: str = "auto",
    folding: bool = False,
    auxiliary: str | None = None,
    candidates: Sequence[str] = (),
    pairs: Sequence[tuple[int, int]] = (),
    label: str | None = None,
    terminal: str = "leaf",
    backend: str = "duckdb",
    rounds: RunRounds = refine_here,
    representation: StoredRepresentation | None = None,
    tolerance: Tolerance | None = None,
    progress_bar: ProgressBar = lambda title: nullcontext(silent),
) -> Report:
    """Compute what `bisim_theory.analyse` reports; nothing is held in memory a row.

    Args:
        data: the transitions.
        identity: ``"auto"``, ``"occurrence"`` or ``"content"``.
        folding: whether to merge the successors of one (observation, action).
        auxiliary: name of p; None uses the stored values, else the first candidate.
        candidates: names of auxiliary functions to compare.
        pairs: ids of pairs of observations to inspect.
        label: name of the ground truth, or several separated by commas; None takes the default.
        terminal: ``"leaf"``, or ``"absorb"``, which lets every action lead from terminals to themselves.
        backend: name of what computes the classes.
        rounds: computes them.
        representation: a model's arrays on `data`; None computes the relation alone.
        tolerance: thresholds for well-trained and collapsed; None uses the defaults.
        progress_bar: opens the progress bars.

    Raises:
        DatasetError: transitions are not deterministic and `folding` is off, or an argument does not fit the data.
    """
    label = _default_label(data) if label is None else ",".join(label_names(cast(Any, data), label))
    cells = _label_cells(data, label)
    with progress_bar("reading observations"):
        content = observed.describe_content(data, cells)
    chosen = choose_identity(cast(Any, data), identity, folding, content)
    joined = chosen == "content"
    name = _name_of_auxiliary(data, auxiliary, candidates)
    for each in [name, *candidates]:
        p_by_name.check_offered(data, each)  # a name that is not offered ends it before anything is computed
    if content is None or not joined:
        observed.join(data, by_content=False)
        conflicts = observed.find_pairs(data)
    else:
        assert isinstance(content.found, observed.StoredConflicts)
        conflicts = content.found
    if len(conflicts) and not folding:
        raise DatasetError(_conflicts_message(conflicts, chosen))
    terminals = None
    if terminal == "absorb":
        data, terminals = observed.absorb(data, joined)
    left_out = None
    if representation is not None and terminals is not None and terminals.rows:
        representation, left_out = None, LEFT_OUT_ABSORBED
    relations = _Relations(data, cells, joined, folding, rounds)
    comparison = None
    if candidates:
        with progress_bar("comparing") as progress:
            comparison = relations.compare(candidates, progress)
    outcome = Outcome(
        data=cast(Any, data if name is None else replace(data, metadata={**data.metadata, "auxiliary": name})),
        identity=chosen,
        folded=folding,
        conflicts=conflicts,
        content=content,
        label=label,
        auxiliary_meaning=p_by_name.describe(data, name),
        comparison=comparison,
        terminals=terminals,
        left_out=left_out,
        backend=backend,
    )
    try:
        with progress_bar("pairs") as progress:
            relation = relations.relation(name, progress)
    except NoWellTrainedModelError as error:
        return _impossible(outcome, relations, error)
    kinds = relation.kinds(cells) if cells else None
    facts = _facts(relation, kinds, cells, look_alikes=content is not None and not joined)
    found = RelationOnly(
        **vars(replace(outcome, facts=facts)),
        relation=relation,
        embeddings=_embeddings(relation, cells),
        suggestions=_suggest(relation, kinds, cells, content is not None),
        pairs=_inspect_pairs(pairs, relation, joined),
    )
    if representation is None:
        return found
    with progress_bar("distances") as progress:
        check, compared = check_stored(relation, representation, cells, tolerance, progress)
    return Checked(**vars(found), representation=compared, check=check)


class _Relations:
    """Computes the relation of one p after another, over the same transitions."""

    def __init__(
        self, data: StoredDataset, cells: Sequence[str], joined: bool, folding: bool, rounds: RunRounds
    ) -> None:
        self.data, self.cells, self.joined, self.folding, self.rounds = data, cells, joined, folding, rounds

    def state(self, name: str | None) -> int:
        """Make the table of observations and their p."""
        return state_p(self.data, p_by_name.statements(self.data, name), self.joined)

    def relation(self, name: str | None, progress: ProgressCallback = silent) -> StoredRelation:
        """Compute R_D* of the auxiliary function of a name.

        Raises:
            NoWellTrainedModelError: it is no function of the observation, or folding joins two of its values.
        """
        components = self.state(name)
        if self.folding:
            fold_stored(self.data, components, progress)
        graph = build_graph(self.data, components, self.joined, self.folding)
        self.rounds(graph, progress)
        return StoredRelation.of(Quotient.of(graph), progress)

    def serves(self, name: str) -> bool:
        """Return whether a function has one value at every observation, and not the same at all."""
        try:
            components = self.state(name)
        except (DatasetError, NoWellTrainedModelError):
            return False
        differ = " or ".join(f"min(c{place}) != max(c{place})" for place in range(components))
        known = " and ".join(f"c{place} is not null" for place in range(components))
        (found,) = self.data.database.row(f"select coalesce({differ}, false) from node where {known}")
        return bool(found)

    def compare(self, candidates: Sequence[str], progress: ProgressCallback) -> Comparison:
        """Compute what each of several auxiliary functions would protect."""
        found = []
        for done, name in enumerate(candidates):
            progress(done, len(candidates))
            found.append(self._candidate(name))
        return Comparison(found, len(self.data), self.data.database.different("source", PAIR, self.data.frames))

    def _candidate(self, name: str) -> Candidate:
        try:
            relation = self.relation(name)
        except NoWellTrainedModelError as error:
            return Candidate(name, contradiction=str(error))
        kinds = relation.kinds(self.cells) if self.cells else None
        facts = _facts(relation, kinds, self.cells, look_alikes=False)
        return Candidate(
            name,
            behaviours=relation.behaviour.classes,
            classes=relation.bisimulation_classes,
            embeddings=_embeddings(relation, self.cells),
            pairs_per_level=relation.distinguished_pairs_per_level,
            pairs=relation.number * (relation.number - 1) // 2,
            leaves=relation.leaves,
            certified_share=facts.certified_share,
            within_label=facts.within_label,
            floor=facts.floor,
            exact=relation.exact,
        )


def _default_label(data: StoredDataset) -> str | None:
    """Return the label that `bisim_theory.data.labels.default_label` takes."""
    if "count" in data.labels and not data.labels["count"].length:
        return "count"
    scalars = [name for name in data.whole_labels() if name not in BOOKKEEPING]
    return scalars[0] if len(scalars) == 1 else None


def _label_cells(data: StoredDataset, label: str | None) -> list[str]:
    names = [] if label is None else label_names(cast(Any, data), label)
    return [cell for name in names for cell in data.labels[name].bare]


def _name_of_auxiliary(data: StoredDataset, name: str | None, candidates: Sequence[str]) -> str | None:
    if name is not None or data.has_auxiliary:
        return name
    if not candidates:
        raise DatasetError(f"auxiliary: is not in this dataset; choose --auxiliary {'|'.join(p_by_name.offered(data))}")
    return candidates[0]


def _conflicts_message(conflicts: observed.StoredConflicts, chosen: str) -> str:
    return (
        f"successor: Definition 4 asks for deterministic transitions and there are conflicts ({conflicts}); "
        "merge what they force with --fold"
        + (", or tell every frame apart with --identity occurrence" if chosen == "content" else "")
    )


def _facts(relation: StoredRelation, kinds: Kinds | None, cells: Sequence[str], look_alikes: bool) -> Facts:
    graph = relation.quotient.graph
    share = within = floor = None
    if kinds is not None:
        within = _equal_pairs(relation, kinds, cells)
        sizes = np.bincount(kinds.label, kinds.size).astype(np.int64)
        alike = sum(size * (size - 1) // 2 for size in sizes.tolist())
        apart = relation.number * (relation.number - 1) // 2 - alike
        share = (relation.distinguished_pairs - within) / apart if apart else None
        floor = within / alike if alike else None
    look_alike_pairs = None
    if look_alikes:
        look_alike_pairs = _equal_pairs(relation, relation.content_kinds(), None)
    return Facts(
        sources=graph.sources,
        action_codes=graph.actions,
        p_values=(graph.values, graph.known, graph.occurring),
        unknown_sources=graph.unknown_sources,
        look_alike_pairs=look_alike_pairs,
        certified_share=share,
        within_label=within,
        floor=floor,
    )


def _equal_pairs(relation: StoredRelation, kinds: Kinds, cells: Sequence[str] | None) -> int:
    """Count the distinguished pairs of equal labels, or where `cells` is None of equal contents."""
    over_classes = relation.over_classes
    if not isinstance(over_classes, StoredSample):
        return relation.equal_pairs(kinds)
    of = _labels_of(relation.quotient.graph.data, over_classes.x_ids, over_classes.y_ids, cells)
    equal = (of[0] == of[1]).all(1)
    return over_classes.estimate(int((equal & (over_classes.levels > 0)).sum()))


def _labels_of(data: StoredDataset, x: Ids, y: Ids, cells: Sequence[str] | None) -> list[NDArray[Any]]:
    """Return the labels of the first and of the second observations of pairs, or the ids of their contents."""
    ids, back = np.unique(np.concatenate([x, y]), return_inverse=True)
    return np.split(labels_of(data, ids, cells)[back.reshape(-1)], 2)


def _embeddings(relation: StoredRelation, cells: Sequence[str]) -> EmbeddingsNeeded:
    behaviour, database = relation.behaviour, relation.quotient.graph.data.database
    labels = None
    if cells:
        first = behaviour.first
        values = _labels_of(relation.quotient.graph.data, first, first, cells)[0]
        labels = np.unique(values, axis=0, return_inverse=True)[1].reshape(-1)
    return bound_embeddings(relation, lambda: _class_transitions(relation, database), labels)


def _class_transitions(relation: StoredRelation, database: Any) -> ClassTransitions:
    """Collect the transitions between classes, and to observations that are never sources and of unknown p."""
    behaviour, graph = relation.behaviour, relation.quotient.graph
    edges = behaviour.edges
    kept = np.stack([edges.source, behaviour.actions[edges.action], edges.successor], 1)
    x, y = f"{PAIR}.source", f"{PAIR}.successor"
    joins, loose = "", f"semi join {LOOSE} on {LOOSE}.id = {y}"
    if graph.folded:
        joins = f"left join representative as r on r.id = {x} left join representative as q on q.id = {y} "
        x, y = f"coalesce(r.name, {x})", f"coalesce(q.name, {y})"
        loose = f"anti join vertex on vertex.v = {y}"
    found = database.arrays(
        f"select distinct {y} as y, quotient.number as x, {PAIR}.action as a from {PAIR} {joins}"
        f"join {CLASSES} on {CLASSES}.v = {x} join quotient on quotient.name = {CLASSES}.name {loose}"
    )
    reached = np.stack([found["y"].astype(np.int64), behaviour.class_of[found["x"]], found["a"].astype(np.int64)], 1)
    return ClassTransitions.of(behaviour, kept, np.unique(reached, axis=0))


def _suggest(
    relation: StoredRelation, kinds: Kinds | None, cells: Sequence[str], has_content: bool
) -> Sequence[Suggestion]:
    if kinds is None or not relation.exact:
        return ()
    return suggest(relation, StoredKinds(relation, kinds, cells, has_content))


def _impossible(outcome: Outcome, relations: _Relations, error: NoWellTrainedModelError) -> Impossible:
    data = relations.data
    actions = data.database.arrays(f"select distinct action from {PAIR} order by 1")["action"].astype(np.int64)
    sources = data.database.different("source", PAIR, data.frames)
    p_values = None if error.equal else _p_values(data)
    instead: Sequence[str] = ()
    if error.equal:
        instead = alternatives(outcome.auxiliary, data.labels, error.values, relations.serves)
    facts = Facts(sources=sources, action_codes=actions, p_values=p_values, alternatives=instead)
    return Impossible(**vars(replace(outcome, facts=facts)), contradiction=error, recorded=outcome.data)


def _p_values(data: StoredDataset) -> tuple[int, int, int]:
    cells = [name for name, *_ in data.database.rows("describe node") if name.startswith("c")]
    known = " and ".join(f"{cell} is not null" for cell in cells)
    (values,) = data.database.row(
        f"select count(*) from (select distinct {', '.join(cells)} from node where acted >= 0 and {known})"
    )
    counts = data.database.row(f"select count(*) filter (where {known}), count(*) from node where acted >= 0")
    return int(values), int(counts[0]), int(counts[1])


def _inspect_pairs(pairs: Sequence[tuple[int, int]], relation: StoredRelation, joined: bool) -> list[PairNote]:
    """Look up level, witness and closure of each pair."""
    graph = relation.quotient.graph
    notes = []
    for given in pairs:
        if not 0 <= min(given) <= max(given) < graph.data.frames:
            raise DatasetError(
                f"--pair: must be ids of observations, 0..{graph.data.frames - 1}; {min(given)}..{max(given)} are "
                "asked for"
            )
        x, y = (_joined_id(graph.data, each) if joined else each for each in given)
        known = relation.speaks_of([x, y])
        level = int(relation.level(x, y)) if known else None
        never = cannot_collapse(graph, x, y)
        notes.append(PairNote(given, level, relation.witness(x, y) if known else None, never))
    return notes


def _joined_id(data: StoredDataset, x: int) -> int:
    found = data.database.rows("select name from same where id = ?", [x])
    return int(found[0][0]) if found else x
