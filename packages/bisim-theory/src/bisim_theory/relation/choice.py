"""Choice of an auxiliary function p by the differences in labels that it would protect, before any training."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from bisim_theory.console import counted
from bisim_theory.data.auxiliary import Values, with_auxiliary
from bisim_theory.data.auxiliary_names import split_names
from bisim_theory.data.candidates import Column, Columns, candidate_columns
from bisim_theory.data.contradiction import NoWellTrainedModelError
from bisim_theory.data.folding import fold
from bisim_theory.data.transitions import DatasetError, Ids, TransitionDataset
from bisim_theory.data.wanted import Wanted, read_wanted
from bisim_theory.progress import ProgressCallback, silent
from bisim_theory.relation.base import Relation
from bisim_theory.relation.compute import empirical_bisimulation
from bisim_theory.relation.embeddings_needed import EmbeddingsNeeded, embeddings_needed
from bisim_theory.relation.look_alikes import LookAlikes, ambiguous_observations, find_look_alikes
from bisim_theory.relation.undistinguished import Remaining, Undistinguished

MOST_COMBINED = 8
"""Most columns of which combinations of two are ranked."""


@dataclass(frozen=True)
class Ranked:
    """Rank one auxiliary function by the wanted pairs that it protects.

    Attributes:
        name: its name, as ``--auxiliary`` takes it.
        holds: the wanted labels that it is made of, perhaps made coarser; such a label protects itself at level 1.
        refused: why it cannot be p, else None; what follows is then empty.
        pairs_per_level: number of wanted pairs that it protects at level 1, 2, ...
        share: of the wanted pairs that it protects.
        floor: share of the pairs that agree in the wanted labels which it tells apart too; None where there is none.
        known: share of the observations at which it is known.
        embeddings: number of distinct embeddings that a well-trained model needs.
        exact: False where numbers of pairs are estimates from a sample.
    """

    name: str
    holds: Sequence[str]
    refused: str | None = None
    pairs_per_level: Sequence[int] = ()
    share: float = 0.0
    floor: float | None = None
    known: float = 0.0
    embeddings: EmbeddingsNeeded | None = None
    exact: bool = True

    @property
    def pairs(self) -> int:
        """Number of wanted pairs that it protects."""
        return sum(self.pairs_per_level)

    @property
    def levels(self) -> list[int]:
        """Levels at which it protects any."""
        return [level for level, pairs in enumerate(self.pairs_per_level, start=1) if pairs]

    @property
    def above_floor(self) -> float:
        """Return how much more often it tells apart a pair that differs than one that agrees; at most 1."""
        return self.share - (self.floor or 0.0)


@dataclass(frozen=True)
class Unprotected:
    """Wanted pairs that no candidate protects, nor all of them together.

    Attributes:
        pairs: how many there are.
        share: of the wanted pairs.
        exact: False where both are estimates from a sample.
        example: ids of the observations of one of them; None where none was found.
        equal: whether those are equal, so that no encoder tells them apart.
        in_common: number of actions that were observed from both.
    """

    pairs: int
    share: float
    exact: bool
    example: tuple[int, int] | None = None
    equal: bool = False
    in_common: int = 0


@dataclass(frozen=True, eq=False)
class Choice:
    """Candidates for p, ranked by the share of the wanted pairs that each protects.

    Attributes:
        wanted: the labels.
        observations: number of observations that are acted from, or are only reached and of which every candidate (but
            ``reward:actions``) knows p; all that occur in a transition where no two of those differ in a wanted label.
        occurring: number of observations that occur in a transition.
        ambiguous: number of those that are left out of `observations`, since they stand for equal ones that differ in a
            wanted label.
        pairs: number of wanted pairs: unordered pairs of `observations` that differ in one of the labels.
        candidates: those without a wanted label first, then those with one, then those that cannot be p. Each part is
            sorted by the share, then by fewer embeddings, then by name.
        best: name of the candidate without a wanted label that tells apart pairs that differ most often above those
            that agree; None where none does.
        unprotected: what no candidate without a wanted label protects.
        unprotected_by_all: what is left with the wanted labels themselves.
        look_alikes: pairs of equal observations; None where contents are not compared.
        left_out: sentences about candidates that were left out, and why.
    """

    wanted: Wanted
    observations: int
    occurring: int
    ambiguous: int
    pairs: int
    candidates: Sequence[Ranked]
    best: str | None
    unprotected: Unprotected
    unprotected_by_all: Unprotected
    look_alikes: LookAlikes | None
    left_out: Sequence[str]

    @property
    def usable(self) -> str:
        """Name of the best candidate, else of the first that can be p, else of a wanted label."""
        first = next((each.name for each in self.candidates if each.refused is None), self.wanted.names[0])
        return first if self.best is None else self.best


def choose_auxiliary(
    data: TransitionDataset,
    wanted: str | Sequence[str],
    candidates: str | Sequence[str] = (),
    folding: bool = False,
    progress: ProgressCallback = silent,
) -> Choice:
    """Rank auxiliary functions by the share of the pairs that differ in wanted labels which each protects.

    A pair is protected where R_D* of that p (Definition 4) distinguishes it, so that by Theorem 3 no well-trained model
    gives its observations one embedding. Candidates are ``reward``, ``reward:actions``, ``terminated``, the stored p,
    labels of at most 1,000 different values, what is named, and combinations of two of them. A combination protects no
    pair that neither of its parts does, as every pair of its R_D* is of one of theirs.

    Args:
        data: transitions with labels; `auxiliary` is not needed.
        wanted: labels of the data, as a list or separated by commas. ``:bins:K`` and ``:round:STEP`` make one coarser.
        candidates: names of further auxiliary functions, as of `bisim_theory.auxiliary_values`.
        folding: whether to merge the successors of one (observation, action) first.
        progress: called with the number of candidates done.

    Returns:
        The candidates in order. Their numbers are exact up to 30,000 classes of identical behaviour, else estimates.

    Raises:
        DatasetError: a wanted label is unknown, continuous or of one value, the dataset offers no candidate of a name,
            or transitions are not deterministic and `folding` is off.
    """
    if isinstance(candidates, str):
        candidates = split_names(candidates, data.labels)
    read = read_wanted(data, wanted)
    content = None if data.observation is None or data.lossy else data.content_ids()
    return rank_auxiliaries(data, read, candidate_columns(data, read, candidates), content, folding, progress)


def rank_auxiliaries(
    data: TransitionDataset,
    wanted: Wanted,
    columns: Columns,
    content: Ids | None = None,
    folding: bool = False,
    progress: ProgressCallback = silent,
) -> Choice:
    """Rank columns and combinations of two of them; see `choose_auxiliary`.

    Args:
        data: transitions, after observations that are one were joined.
        wanted: the labels.
        columns: the candidates.
        content: (F,) ids in which observations of equal content have one id; None where contents are not compared.
        folding: whether to merge the successors of one (observation, action) first.
        progress: called with the number of candidates done.

    Raises:
        DatasetError: transitions are not deterministic and `folding` is off.
    """
    occurring = np.union1d(data.source, data.successor)
    ambiguous = ambiguous_observations(wanted.code, occurring, content)
    observations = np.setdiff1d(_observations(data, columns), ambiguous)
    if not _differ(wanted.code[observations]):
        observations = np.setdiff1d(occurring, ambiguous)
    if not _differ(wanted.code[observations]):
        raise DatasetError(f"--want {','.join(wanted.names)}: {_why_none_differ(len(ambiguous))}")
    return _Ranking(data, wanted, observations, ambiguous, content, folding, progress).run(columns)


def _differ(code: Ids) -> bool:
    return len(code) > 0 and bool((code != code[0]).any())


def _why_none_differ(ambiguous: int) -> str:
    if not ambiguous:
        return (
            "no two observations differ in it once equal ones are joined; tell every one apart with --identity "
            "occurrence"
        )
    return (
        f"{counted(ambiguous, 'observation')} of this data occurred with several values of it, and no two others "
        "differ in it, so no encoder of single observations can keep it; give observations that show it, as stacks of "
        "frames do, or tell every one apart with --identity occurrence"
    )


def _observations(data: TransitionDataset, columns: Columns) -> Ids:
    """Return the ids of sources, and of leaves that all candidates know: shares of them are of the same pairs.

    ``reward:actions`` knows no leaf, which is no reason to leave one out.
    """
    known, acted = np.ones(data.frames, bool), np.zeros(data.frames, bool)
    for column in columns.columns:
        if isinstance(column.values, Values) and column.bases != {"reward:actions"}:
            known &= column.values.known
    acted[data.source] = True
    occurring = np.union1d(data.source, data.successor)
    return occurring[(known | acted)[occurring]]


class _Ranking:
    """Computes what candidates protect, one after another, and what none of them does."""

    def __init__(
        self,
        data: TransitionDataset,
        wanted: Wanted,
        observations: Ids,
        ambiguous: Ids,
        content: Ids | None,
        folding: bool,
        progress: ProgressCallback,
    ) -> None:
        self.ambiguous = len(ambiguous)
        self.data, self.wanted, self.content, self.folding, self.progress = data, wanted, content, folding, progress
        self.observations = observations
        self.left = Undistinguished(self.observations, wanted.code[self.observations])
        n = len(self.observations)
        self.agreeing = n * (n - 1) // 2 - self.left.wanted
        self.done = 0
        self.counted = np.zeros(data.frames, bool)
        self.counted[observations] = True

    def run(self, columns: Columns) -> Choice:
        """Rank all columns, those without a wanted label first, and then combinations of two of them."""
        given = columns.columns
        found = {each.name: self._rank(each, len(given), add=True) for each in given if not each.holds}
        unprotected = self._unprotected(self.left.remaining())
        found |= {each.name: self._rank(each, len(given), add=True) for each in given if each.holds}
        by_all = self._unprotected(self.left.remaining())
        combined, left_out = _combinations(given, found)
        for column in combined:
            found[column.name] = self._rank(column, len(given) + len(combined), add=False)
        ranked = sorted(found.values(), key=_place)
        return Choice(
            wanted=self.wanted,
            observations=len(self.observations),
            occurring=len(np.union1d(self.data.source, self.data.successor)),
            ambiguous=self.ambiguous,
            pairs=self.left.wanted,
            candidates=ranked,
            best=_best(ranked),
            unprotected=unprotected,
            unprotected_by_all=by_all,
            look_alikes=None if self.content is None else find_look_alikes(self.wanted.code, self.content),
            left_out=[*columns.left_out, *left_out],
        )

    def _rank(self, column: Column, candidates: int, add: bool) -> Ranked:
        self.progress(self.done, candidates)
        self.done += 1
        empty = Ranked(column.name, sorted(column.holds))
        if not isinstance(column.values, Values):
            return replace(empty, refused=str(column.values).removeprefix(f"auxiliary {column.name}: "))
        known = float(column.values.known[self.observations].mean())
        if not known:
            return replace(empty, refused="is known at no observation")
        try:
            relation = self._relation(column.name, column.values)
        except NoWellTrainedModelError as error:
            return replace(empty, refused=str(error))
        counted = relation.among(np.flatnonzero(self.counted[relation.observations]))
        if add:
            self.left.add(counted)
        per_level, agreeing = self._split(counted)
        return replace(
            empty,
            pairs_per_level=per_level,
            share=min(sum(per_level) / self.left.wanted, 1.0),
            floor=min(agreeing / self.agreeing, 1.0) if self.agreeing else None,
            known=known,
            embeddings=embeddings_needed(relation, self.wanted.code),
            exact=relation.exact,
        )

    def _relation(self, name: str, values: Values) -> Relation:
        with_p = with_auxiliary(self.data, values, name)
        return empirical_bisimulation(with_p, fold(with_p) if self.folding else None)

    def _split(self, relation: Relation) -> tuple[list[int], int]:
        """Count the distinguished pairs that differ in a wanted label, by level, and those that agree."""
        agreeing = relation.equal_label_pairs_per_level(relation.label_codes(self.wanted.code))
        both = itertools.zip_longest(relation.distinguished_pairs_per_level, agreeing, fillvalue=0)
        return [max(every - agree, 0) for every, agree in both], sum(agreeing)

    def _unprotected(self, left: Remaining) -> Unprotected:
        """Describe pairs that are left by one of different content, if there is one, that shares most actions."""
        found = Unprotected(left.pairs, left.share, left.exact)
        described = [self._describe(found, int(x), int(y)) for x, y in left.examples]
        return max(described, key=lambda each: (not each.equal, each.in_common), default=found)

    def _describe(self, found: Unprotected, x: int, y: int) -> Unprotected:
        equal = self.content is not None and bool(self.content[x] == self.content[y])
        taken = [self.data.action[self.data.source == each] for each in (x, y)]
        return replace(found, example=(x, y), equal=equal, in_common=len(np.intersect1d(*taken)))


def _place(each: Ranked) -> tuple[bool, bool, float, int, str]:
    """Return the key by which candidates are sorted."""
    needed = 0 if each.embeddings is None else each.embeddings.at_least
    return each.refused is not None, bool(each.holds), -each.share, needed, each.name


def _best(ranked: Sequence[Ranked]) -> str | None:
    useful = [each for each in ranked if each.refused is None and not each.holds and each.above_floor > 0]
    return max(useful, key=lambda each: each.above_floor).name if useful else None


def _combinations(columns: Sequence[Column], found: dict[str, Ranked]) -> tuple[list[Column], list[str]]:
    """Combine columns in twos, except where one of them protects everything or nothing, which adds nothing.

    Returns:
        The combinations, and sentences about those that were left out.
    """
    adding = [column for column in columns if column.single and _can_add(found[column.name])]
    adding.sort(key=lambda column: (-found[column.name].share, column.name))
    left_out = []
    if len(adding) > MOST_COMBINED:
        others = ", ".join(column.name for column in adding[MOST_COMBINED:])
        left_out.append(
            f"combinations with {others}, as those of the {MOST_COMBINED} columns that protect most are ranked; "
            "--compare A+B"
        )
    kept = {column.name for column in adding[:MOST_COMBINED]}
    ordered = [column for column in columns if column.name in kept]
    return [each for each in _in_twos(ordered) if each.name not in found], left_out


def _in_twos(columns: Sequence[Column]) -> Iterator[Column]:
    for one, other in itertools.combinations(columns, 2):
        both = one.with_column(other)
        if both is not None:
            yield both


def _can_add(each: Ranked) -> bool:
    return each.refused is None and (not each.exact or 0 < each.share < 1)
