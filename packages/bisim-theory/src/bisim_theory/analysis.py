"""Analyse a dataset as `bisim-check` does: what it distinguishes, and whether a model kept it."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bisim_theory import _aliases
from bisim_theory.data.auxiliary import Values, stored_values, with_auxiliary
from bisim_theory.data.auxiliary_functions import auxiliary_values, describe_auxiliary, offered
from bisim_theory.data.candidates import candidate_columns
from bisim_theory.data.contradiction import NoWellTrainedModelError
from bisim_theory.data.folding import Conflicts, find_conflicts, fold
from bisim_theory.data.identity import ContentNote, choose_identity, describe_content, join
from bisim_theory.data.labels import default_label, label_names, label_values
from bisim_theory.data.representation import Representation, RepresentationError
from bisim_theory.data.terminals import absorb
from bisim_theory.data.transitions import DatasetError, Ids, TransitionDataset
from bisim_theory.data.wanted import read_wanted
from bisim_theory.outcome import (
    LEFT_OUT_ABSORBED,
    Checked,
    Impossible,
    Outcome,
    PairNote,
    Related,
    RelationOnly,
    Report,
)
from bisim_theory.progress import ProgressCallback, silent
from bisim_theory.relation.base import Relation
from bisim_theory.relation.choice import rank_auxiliaries
from bisim_theory.relation.closure import cannot_collapse
from bisim_theory.relation.collect_next import Suggestion, collect_next
from bisim_theory.relation.comparison import compare, values_of
from bisim_theory.relation.compute import empirical_bisimulation
from bisim_theory.relation.embeddings_needed import embeddings_needed
from bisim_theory.theorem.check import Tolerance, check_theorem

_SAME_EMBEDDING = 1e-3
"""Distance in units of the embeddings' root mean square up to which two are one, as rounding depends on the batch."""

ProgressBar = Callable[[str], AbstractContextManager[ProgressCallback]]
"""Opens a progress bar with the given title."""


@_aliases.former_parameters(
    "data",
    "representation",
    "identity",
    "folding",
    "auxiliary",
    "tolerance",
    "candidates",
    "pairs",
    "bar",
    renamed={"bar": "progress_bar"},
)
def analyse(
    data: TransitionDataset,
    representation: Representation | None = None,
    identity: str = "auto",
    folding: bool = False,
    *,
    auxiliary: str | None = None,
    tolerance: Tolerance | None = None,
    candidates: Sequence[str] = (),
    wanted: str | Sequence[str] | None = None,
    pairs: Sequence[tuple[int, int]] = (),
    label: str | None = None,
    terminal: str = "leaf",
    progress_bar: ProgressBar = lambda title: nullcontext(silent),
) -> Report:
    """Compute everything that `bisim-check` reports.

    Args:
        data: the transitions.
        representation: a model's arrays on `data`; None computes the relation alone.
        identity: ``"occurrence"`` gives every id an observation of its own, ``"content"`` joins equal ones, ``"auto"``
            does so unless one (observation, action) then has several successors that are not folded.
        folding: whether to merge the successors of one (observation, action), as a well-trained model must.
        auxiliary: name of p; None uses the stored values, else the first candidate.
        tolerance: thresholds for well-trained and collapsed; None uses the defaults.
        candidates: names of auxiliary functions to compare; see `bisim_theory.compare`.
        wanted: labels by whose differences auxiliary functions are ranked; see `bisim_theory.choose_auxiliary`. The
            best one is p where none is stored, chosen or compared.
        pairs: ids of pairs of observations to inspect.
        label: name of the ground truth, or several names separated by commas; None takes ``count``, else the only
            label of one integer per observation, else none.
        terminal: ``"leaf"`` takes terminal observations as the data has them, ``"absorb"`` lets every action lead from
            them to themselves.
        progress_bar: opens the progress bars.

    Raises:
        DatasetError: transitions are not deterministic and `folding` is off, or an argument does not fit the data.
    """
    related = relate(
        data,
        representation,
        identity,
        folding,
        auxiliary=auxiliary,
        candidates=candidates,
        wanted=wanted,
        label=label,
        terminal=terminal,
        progress_bar=progress_bar,
    )
    if isinstance(related, Impossible):
        return related
    relation, content, labels = related.relation, related.content, related.labels
    ids = content.ids if content is not None and related.identity == "content" else None
    found = RelationOnly(
        **vars(related),
        embeddings=embeddings_needed(relation, labels),
        suggestions=_suggest(relation, labels, content),
        pairs=_inspect_pairs(pairs, relation, ids),
    )
    if representation is None or related.left_out is not None:
        return found
    with progress_bar("distances") as progress:
        check = check_theorem(relation, representation, tolerance, labels, progress)
    return Checked(**vars(found), representation=representation, check=check)


def relate(
    data: TransitionDataset,
    representation: Representation | None = None,
    identity: str = "auto",
    folding: bool = False,
    *,
    auxiliary: str | None = None,
    candidates: Sequence[str] = (),
    wanted: str | Sequence[str] | None = None,
    label: str | None = None,
    terminal: str = "leaf",
    progress_bar: ProgressBar = lambda title: nullcontext(silent),
) -> Impossible | Related:
    """Compute the relation, and compare functions p. Takes the arguments of `analyse`.

    Raises:
        DatasetError: as there.
    """
    if terminal not in ("leaf", "absorb"):
        raise DatasetError(f"terminal={terminal!r}: must be leaf or absorb")
    label = default_label(data) if label is None else ",".join(label_names(data, label))
    with progress_bar("reading observations") as progress:
        content = describe_content(data, label, progress)
    identity = choose_identity(data, identity, folding, content)
    ids = content.ids if content is not None and identity == "content" else None
    read = None if wanted is None else read_wanted(data, wanted)
    columns = None if read is None else candidate_columns(data, read, [*filter(None, [auxiliary]), *candidates], ids)
    values = values_of(data, candidates, ids)
    undecided = read is not None and auxiliary is None and not candidates and "auxiliary" not in offered(data)
    name = None if undecided else _name_of_auxiliary(data, auxiliary, candidates)
    p = None if undecided else _values_of_auxiliary(data, name, values, ids)
    if p is not None:
        _check_representation(data, representation, p, ids)

    rows = join(data, ids)
    conflicts = find_conflicts(rows) if content is None or ids is None else content.found
    if len(conflicts) and not folding:
        raise DatasetError(_conflicts_message(conflicts, identity))
    rows, terminals = absorb(rows) if terminal == "absorb" else (rows, None)
    labels = None if label is None else label_values(data, label)
    comparison = None
    if values:
        with progress_bar("comparing") as progress:
            comparison = compare(rows, values, labels, folding, progress)
    choice = None
    if read is not None and columns is not None:
        with progress_bar("ranking") as progress:
            choice = rank_auxiliaries(rows, read, columns, None if content is None else content.ids, folding, progress)
    if p is None and choice is not None:
        name = choice.usable
        p = _values_of_auxiliary(data, name, values, ids)
        _check_representation(data, representation, p, ids)
    left_out = None
    if representation is not None and terminals is not None and terminals.rows:
        representation = None
        left_out = LEFT_OUT_ABSORBED
    outcome = Outcome(
        data=replace(rows, metadata=rows.metadata if name is None else {**rows.metadata, "auxiliary": name}),
        identity=identity,
        folded=folding,
        conflicts=conflicts,
        content=content,
        label=label,
        auxiliary_meaning=describe_auxiliary(data, name),
        comparison=comparison,
        choice=choice,
        terminals=terminals,
        left_out=left_out,
    )
    try:
        if not isinstance(p, Values):
            assert p is not None
            raise p
        outcome = replace(outcome, data=with_auxiliary(rows, p, name))
        with progress_bar("folding") as progress:
            representative = fold(outcome.data, progress=progress) if folding else None
        with progress_bar("pairs") as progress:
            relation = empirical_bisimulation(outcome.data, representative, progress)
    except NoWellTrainedModelError as error:
        return Impossible(**vars(outcome), contradiction=error, recorded=data, representation=representation)
    return Related(**vars(outcome), relation=relation)


def _name_of_auxiliary(data: TransitionDataset, name: str | None, candidates: Sequence[str]) -> str | None:
    """Return the name of p: the one asked for, else None for the stored values, else the first candidate.

    Raises:
        DatasetError: there is none.
    """
    if name is not None:
        return name
    if data.auxiliary is not None or data.observation_auxiliary is not None:
        return None
    if not candidates:
        raise DatasetError(f"auxiliary: is not in this dataset; choose --auxiliary {'|'.join(offered(data))}")
    return candidates[0]


def _values_of_auxiliary(
    data: TransitionDataset,
    name: str | None,
    values: Mapping[str, Values | NoWellTrainedModelError],
    ids: Ids | None,
) -> Values | NoWellTrainedModelError:
    """Return p of every observation, or the reason why it is no function of the observation.

    Args:
        data: transitions, before equal observations are joined.
        name: the name of p; None takes the stored values.
        values: candidates that are known already.
        ids: (F,) ids in which observations that are one have one id, or None.
    """
    try:
        if name is None:
            return stored_values(data, ids)
        return values[name] if name in values else auxiliary_values(data, name, ids)
    except NoWellTrainedModelError as error:
        return error


def _check_representation(
    data: TransitionDataset, representation: Representation | None, p: Values | NoWellTrainedModelError, ids: Ids | None
) -> None:
    """Raise `RepresentationError` where a model's arrays do not fit the data, p or the identity of observations."""
    if representation is None:
        return
    if isinstance(p, NoWellTrainedModelError):
        representation.check_rows(data)
    else:
        representation.check_against(with_auxiliary(data, p))
    _require_function(representation, ids)


def _require_function(representation: Representation, ids: Ids | None) -> None:
    """Raise `RepresentationError` where observations of equal content have different embeddings."""
    if ids is None:
        return
    embedding = representation.embedding
    squared = np.zeros(len(ids))
    others = np.flatnonzero(ids != np.arange(len(ids)))
    squared[others] = np.square(embedding[others].astype(np.float64) - embedding[ids[others]]).sum(1)
    worst = int(squared.argmax())
    scale = float(np.square(embedding, dtype=np.float64).sum(1).mean())
    if squared[worst] > _SAME_EMBEDDING**2 * scale:
        raise RepresentationError(
            f"embedding: observations {ids[worst]} and {worst} are equal and have embeddings "
            f"{np.sqrt(squared[worst]):.4g} apart; E is a function of the observation, evaluated with nothing random"
        )


def _conflicts_message(conflicts: Conflicts, identity: str) -> str:
    return (
        f"successor: Definition 4 asks for deterministic transitions and there are conflicts ({conflicts}); "
        "merge what they force with --fold"
        + (", or tell every frame apart with --identity occurrence" if identity == "content" else "")
    )


def _suggest(relation: Relation, labels: NDArray[Any] | None, content: ContentNote | None) -> Sequence[Suggestion]:
    """Return what to collect next. Without a table of levels every pair costs a search, and this needs too many."""
    if labels is None or not relation.exact:
        return ()
    return collect_next(relation, labels, content=None if content is None else content.ids)


def _inspect_pairs(pairs: Sequence[tuple[int, int]], relation: Relation, ids: Ids | None) -> list[PairNote]:
    """Look up level, witness and closure of each pair; `ids` translates where equal observations were joined."""
    if not pairs:
        return []
    given, data = np.array(pairs), relation.data
    if given.min() < 0 or given.max() >= data.frames:
        raise DatasetError(
            f"--pair: must be ids of observations, 0..{data.frames - 1}; {given.min()}..{given.max()} are asked for"
        )
    joined = given if ids is None else ids[given]
    forbidden = cannot_collapse(data, joined[:, 0], joined[:, 1], relation.representative)
    notes = []
    for pair, (x, y), never in zip(pairs, joined.tolist(), forbidden.tolist(), strict=True):
        known = bool(np.isin([x, y], relation.observations).all())
        level = int(relation.level(x, y)) if known else None
        notes.append(PairNote(pair, level, relation.witness(x, y) if known else None, never))
    return notes
