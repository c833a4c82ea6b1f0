"""R_D* and B_D* over observations on disk: classes are in memory, and what is asked of observations is looked up."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bisim_theory.data.transitions import DatasetError, Ids
from bisim_theory.progress import ProgressCallback, silent
from bisim_theory.relation.backends.rounds import CLASSES
from bisim_theory.relation.base import Pairs, Relation
from bisim_theory.relation.graph import Behaviour
from bisim_theory.relation.sampled_levels import SAMPLED_PAIRS, SampledRelation, walk
from bisim_theory.stored.dataset import OBSERVATION, StoredDataset
from bisim_theory.stored.graph import MEMBER, labels_of_nodes
from bisim_theory.stored.identity import ALIKE
from bisim_theory.stored.quotient import Quotient, StoredBehaviour
from bisim_theory.stored.weighted import equal_label_pairs


@dataclass(frozen=True, eq=False)
class Kinds:
    """Observations grouped by class of behaviour and label.

    Attributes:
        of_class: (K,) class of each group; groups are sorted by class, then by label.
        label: (K,) code 0, 1, ... of its label, in the order of the labels' values.
        size: (K,) number of its observations.
        values: (L, l) components of the label of each code.
    """

    of_class: Ids
    label: Ids
    size: Ids
    values: NDArray[Any]


@dataclass(frozen=True, eq=False)
class StoredRelation(Relation):
    """A relation over the observations of a database.

    `classes` and `behaviour` have one entry, the first observation, for each class of identical behaviour.

    Attributes:
        quotient: the classes of identical behaviour.
        over_classes: the relation over them.
    """

    quotient: Quotient
    over_classes: Relation

    @classmethod
    def of(cls, quotient: Quotient, progress: ProgressCallback = silent) -> "StoredRelation":
        """Compute the relation over the classes of a quotient."""
        over_classes = quotient.relation(functools.partial(sample, quotient), progress)
        # The classes are numbered as the relation has them.
        return cls(quotient, over_classes)

    @property
    def behaviour(self) -> StoredBehaviour:  # type: ignore[override]
        """Classes of behaviour; of each, the first observation stands for all."""
        behaviour = self.over_classes.behaviour
        assert isinstance(behaviour, StoredBehaviour)
        return behaviour

    @property
    def exact(self) -> bool:  # type: ignore[override]
        """False where numbers of pairs are estimates from a sample."""
        return self.over_classes.exact

    @property
    def representative(self) -> Ids:
        """None in memory: what was merged is a table of the database."""
        return np.empty(0, np.int64)

    @functools.cached_property
    def folded(self) -> bool:
        """True where any observation was folded into another."""
        return self.quotient.graph.folded

    def class_levels(self, a: Ids, b: Ids) -> NDArray[Any]:
        """Return the levels of pairs of classes, elementwise."""
        return self.over_classes.class_levels(a, b)

    @functools.cached_property
    def distinguished_pairs_per_level(self) -> list[int]:
        """Number of unordered pairs of observations that enter R_D* at level 1, 2, ..."""
        return self.over_classes.distinguished_pairs_per_level

    def pairs_at(self, level: int) -> Pairs:
        """Not offered: pairs of observations on disk are not enumerated."""
        raise DatasetError("pairs of observations are enumerated with --backend memory alone")

    def equal_label_pairs(self, code: Ids) -> int:
        """Not offered: labels of observations on disk are counted by `equal_pairs`."""
        raise DatasetError("labels of observations on disk are no array; use `equal_pairs`")

    def equal_label_pairs_per_level(self, code: Ids) -> list[int]:
        """Not offered, as `equal_label_pairs`."""
        raise DatasetError("labels of observations on disk are no array; use `equal_pairs`")

    def equal_pairs(self, kinds: Kinds) -> int:
        """Count the unordered pairs in R_D* of observations with equal labels."""
        return equal_label_pairs(self.over_classes, kinds.of_class, kinds.label, kinds.size)

    @functools.cached_property
    def intransitive_triple(self) -> tuple[int, int, int] | None:
        """Ids (x, y, z) with (x, y) and (y, z) in B_D* and (x, z) in R_D*; None where B_D* is an equivalence."""
        return self.over_classes.intransitive_triple

    @functools.cached_property
    def classes(self) -> Ids | None:
        """(C,) class 0, 1, ... of each class of behaviour; None where B_D* is no equivalence."""
        return self.over_classes.classes

    def clique(self) -> Ids:
        """Find a large set of classes of behaviour that are pairwise in R_D*."""
        return self.over_classes.clique()

    def apart(self, a: Ids, b: Ids) -> NDArray[np.bool_]:
        """Return (len(a), len(b)) whether classes are distinguished; `a` and `b` are sorted."""
        return self.over_classes.apart(a, b)

    @property
    def number(self) -> int:
        """Number of observations that the relation is over."""
        return self.quotient.graph.observations

    @property
    def leaves(self) -> int:
        """Number of observations that are reached, never acted from, and of known p."""
        return self.quotient.graph.leaves

    @property
    def bisimilar_pairs(self) -> int:
        """Number of unordered pairs of different observations in B_D*."""
        return self.number * (self.number - 1) // 2 - self.distinguished_pairs

    def class_of(self, ids: ArrayLike) -> Ids:
        """Return the classes of behaviour of observation ids.

        Raises:
            DatasetError: an id is never a source, and its p is unknown.
        """
        return self._class_of_vertex[classes_of(self.quotient, np.asarray(ids, np.int64))]

    @property
    def _class_of_vertex(self) -> Ids:
        """(C,) number in the relation of each class of the quotient."""
        return self.behaviour.class_of

    def speaks_of(self, ids: Sequence[int]) -> bool:
        """Return whether the data says something of all of some observations."""
        try:
            self.class_of(np.array(ids))
        except DatasetError:
            return False
        return True

    def kinds(self, cells: Sequence[str]) -> Kinds:
        """Group the observations by class of behaviour and label.

        Args:
            cells: expressions for the components of the label, on the table of observations.
        """
        columns = ", ".join(f"n.l{place} as l{place}" for place in range(len(cells)))
        database = self.quotient.graph.data.database
        found = database.arrays(
            f"select {CLASSES}.name as name, {columns}, count(*) as size from "
            f"({labels_of_nodes(self.quotient.graph, cells)}) as n join {CLASSES} on {CLASSES}.v = n.v group by all"
        )
        label = np.stack([found[f"l{place}"] for place in range(len(cells))], 1)
        values, code = np.unique(label, axis=0, return_inverse=True)
        of_class, code = self._class_of_vertex[self.quotient.number(found["name"])], code.reshape(-1)
        order = np.lexsort((code, of_class))
        return Kinds(of_class[order], code[order], found["size"][order].astype(np.int64), values)

    def content_kinds(self) -> Kinds:
        """Group the observations whose content another one has too by class of behaviour and content."""
        database = self.quotient.graph.data.database
        found = database.arrays(
            f"select quotient.number as vertex, coalesce({ALIKE}.name, n.id) as content, count(*) as size "
            f"from {MEMBER} as n left join {ALIKE} on {ALIKE}.id = n.id join {CLASSES} on {CLASSES}.v = n.v "
            f"join quotient on quotient.name = {CLASSES}.name "
            f"where {ALIKE}.name is not null or n.id in (select name from {ALIKE}) group by all"
        )
        values, code = np.unique(found["content"], return_inverse=True)
        size = found["size"].astype(np.int64)
        return Kinds(self._class_of_vertex[found["vertex"]], code.reshape(-1), size, values[:, None])


def classes_of(quotient: Quotient, ids: Ids) -> Ids:
    """Return the classes of a quotient of observation ids, of any shape.

    Raises:
        DatasetError: an id is never a source, and its p is unknown.
    """
    data = quotient.graph.data
    wanted, back = np.unique(ids, return_inverse=True)
    if len(wanted) and not 0 <= wanted[0] <= wanted[-1] < data.frames:
        wrong = wanted[0] if wanted[0] < 0 else wanted[-1]
        raise DatasetError(f"observation {wrong}: there are {data.frames} observations, numbered from 0")
    data.database.load("wanted", {"id": wanted})
    found = data.database.arrays(
        f"select wanted.id as id, {CLASSES}.name as name from wanted join {MEMBER} on {MEMBER}.id = wanted.id "
        f"join {CLASSES} on {CLASSES}.v = {MEMBER}.v order by wanted.id"
    )
    missing = np.setdiff1d(wanted, found["id"])
    if len(missing):
        raise DatasetError(f"observation {missing[0]} is never a source and its p is unknown, so it has no level")
    return quotient.number(found["name"])[back].reshape(ids.shape)


def ids_at(data: StoredDataset, places: Ids) -> Ids:
    """Return the ids at some places in the sorted list of the observations that the relation is over.

    Args:
        data: the data, of which the table `MEMBER` is made.
        places: sorted, each once.
    """
    data.database.load("wanted", {"place": places})
    found = data.database.arrays(
        f"select wanted.place as place, m.id as id from wanted join (select id, row_number() over (order by id) - 1 "
        f"as place from {MEMBER}) as m on m.place = wanted.place order by 1"
    )
    return found["id"].astype(np.int64)


def labels_of(data: StoredDataset, ids: Ids, cells: Sequence[str] | None) -> NDArray[Any]:
    """Return the labels (B, l) of observations, or where `cells` is None ids (B, 1) that are equal for equal contents.

    Args:
        data: the data.
        ids: (B,) sorted, each once.
        cells: expressions for the components of the label.
    """
    data.database.load("wanted", {"id": ids})
    if cells is None:
        columns, join = f"coalesce({ALIKE}.name, wanted.id) as l0", f"left join {ALIKE} on {ALIKE}.id = wanted.id"
    else:
        columns = ", ".join(f"{OBSERVATION}.{cell} as l{place}" for place, cell in enumerate(cells))
        join = f"join {OBSERVATION} on {OBSERVATION}.id = wanted.id"
    found = data.database.arrays(f"select {columns} from wanted {join} order by wanted.id")
    return np.stack(list(found.values()), 1)


@dataclass(frozen=True, eq=False)
class StoredSample(SampledRelation):
    """R_D* estimated from pairs of observations on disk.

    `x` and `y` are the classes of the quotient of the sampled pairs.

    Attributes:
        x_ids, y_ids: ids of the sampled observations.
        number: number of observations.
    """

    x_ids: Ids
    y_ids: Ids
    number: int

    def estimate(self, sampled: int) -> int:
        """Estimate the number of pairs of observations that so many of the sampled pairs stand for."""
        return round(self.number * (self.number - 1) / 2 * sampled / len(self.levels))

    def _estimate(self, sampled: int) -> int:
        return self.estimate(sampled)


def sample(quotient: Quotient, behaviour: Behaviour) -> StoredSample:
    """Draw the pairs that `SampledRelation.of` draws from data in memory, and compute their levels."""
    rng, n = np.random.default_rng(0), quotient.graph.observations
    x = rng.integers(n, size=SAMPLED_PAIRS)
    y = (x + rng.integers(1, n, size=SAMPLED_PAIRS)) % n
    places, back = np.unique(np.concatenate([x, y]), return_inverse=True)
    ids = ids_at(quotient.graph.data, places)[back]
    x_ids, y_ids = np.split(ids, 2)
    x, y = np.split(classes_of(quotient, ids), 2)
    classes = (behaviour.class_of[each].tolist() for each in (x, y))
    levels = np.array([walk(behaviour, a, b) for a, b in zip(*classes, strict=True)])
    return StoredSample(behaviour, x, y, levels, x_ids, y_ids, n)
