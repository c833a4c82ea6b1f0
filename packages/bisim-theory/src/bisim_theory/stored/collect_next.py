"""Transitions that would certify most, of observations on disk."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bisim_theory.relation.backends.rounds import CLASSES
from bisim_theory.stored.dataset import OBSERVATION, TRANSITION
from bisim_theory.stored.graph import MEMBER
from bisim_theory.stored.identity import ALIKE, NUMBERED_JOINED, PAIR
from bisim_theory.stored.relation import Kinds, StoredRelation


class StoredKinds:
    """Observations on disk grouped by behaviour and label; see `bisim_theory.relation.collect_next.Kinds`.

    Args:
        relation: R_D*.
        kinds: the groups.
        cells: expressions for the components of the label.
        by_content: whether no two suggestions may ask for the same of equal contents.
    """

    def __init__(self, relation: StoredRelation, kinds: Kinds, cells: Sequence[str], by_content: bool) -> None:
        self._relation, self._kinds, self._cells, self._by_content = relation, kinds, cells, by_content
        self._database = relation.quotient.graph.data.database
        self.of_class, self.label, self.size = kinds.of_class, kinds.label, kinds.size
        self._find_ended()
        self.actable = self._actable()

    def _find_ended(self) -> None:
        """Make the table ``ended`` of the observations that ended an episode, from which nothing follows."""
        data = self._relation.quotient.graph.data
        columns = data.columns
        if "terminated" not in columns or data.absorbed:
            self._database.execute("create or replace table ended (id bigint)")
            return
        ends = "terminated and not truncated" if "truncated" in columns else "terminated"
        self._database.keep(
            "ended",
            f"select distinct coalesce(same.name, t.successor) as id from {TRANSITION} as t "
            f"left join same on same.id = t.successor where {ends}",
        )

    def _actable(self) -> NDArray[np.bool_]:
        """Return (K,) whether any observation of a kind did not end its episode."""
        (number,) = self._database.row("select count(*) from ended")
        if not number:
            return np.ones(len(self.size), bool)
        columns = ", ".join(f"{OBSERVATION}.{cell} as l{place}" for place, cell in enumerate(self._cells))
        found = self._database.arrays(
            f"select quotient.number as vertex, {columns}, count(*) as size from {MEMBER} "
            f"join {OBSERVATION} on {OBSERVATION}.id = {MEMBER}.id join {CLASSES} on {CLASSES}.v = {MEMBER}.v "
            f"join quotient on quotient.name = {CLASSES}.name semi join ended on ended.id = {MEMBER}.id group by all"
        )
        kinds = {
            (of_class, *self._kinds.values[label].tolist()): place
            for place, (of_class, label) in enumerate(zip(self.of_class.tolist(), self.label.tolist(), strict=True))
        }
        classes = self._relation.behaviour.class_of[found["vertex"]].tolist()
        labels = zip(*(found[f"l{place}"].tolist() for place in range(len(self._cells))), strict=True)
        all_ended = np.zeros(len(self.size), np.int64)
        for of_class, label, size in zip(classes, labels, found["size"].tolist(), strict=True):
            all_ended[kinds[of_class, *label]] = size
        return all_ended < self.size

    def example(self, kind: int, action: int, asked: set[tuple[int, int | None]]) -> tuple[int, int | None] | None:
        """Find a source of a kind from which the action is untried, else one with its observed successor."""
        graph, database = self._relation.quotient.graph, self._database
        code = int(graph.actions[action])
        label = self._kinds.values[self.label[kind]].tolist()
        vertex = int(np.flatnonzero(self._relation.behaviour.class_of == self.of_class[kind])[0])
        condition = " and ".join(
            f"{OBSERVATION}.{cell} = {value!r}" for cell, value in zip(self._cells, label, strict=True)
        )
        members = (
            f"select {MEMBER}.id as id, {PAIR}.successor as successor from {MEMBER} "
            f"join {OBSERVATION} on {OBSERVATION}.id = {MEMBER}.id join {CLASSES} on {CLASSES}.v = {MEMBER}.v "
            f"left join {PAIR} on {PAIR}.source = {MEMBER}.id and {PAIR}.action = {code} "
            f"where {CLASSES}.name = {int(self._relation.quotient.names[vertex])} and {condition} "
            f"and {MEMBER}.id not in (select id from ended)"
        )
        untried = database.rows(f"select 1 from ({members}) where successor is null limit 1")
        after = action if untried else None
        place, which = ("id", "successor is null") if untried else ("successor", "true")
        content = f"coalesce({ALIKE}.name, m.{place})" if self._by_content else f"m.{place}"
        join = f"left join {ALIKE} on {ALIKE}.id = m.{place}" if self._by_content else ""
        taken = [str(each) for each, of in asked if of == after]
        fresh = f"and {content} not in ({', '.join(taken)})" if taken else ""
        found = database.rows(
            f"select m.id, m.successor, {content} from ({members}) as m {join} "
            f"where {which} {fresh} order by m.id limit 1"
        )
        if not found:
            return None
        x, successor, of_content = found[0]
        asked.add((int(of_content), after))
        return (int(x), None) if untried else (int(x), self._first_successor(int(x), code, int(successor)))

    def _first_successor(self, x: int, code: int, successor: int) -> int:
        """Return the successor in the first row of an observation and action; merged ones may have several."""
        if not self._relation.folded:
            return successor
        (found,) = self._database.row(
            f"select successor from {NUMBERED_JOINED} where source = {x} and action = {code} order by row limit 1"
        )
        return int(found)
