"""Folding of observations on disk: the merges that several successors of one (observation, action) force."""

from dataclasses import replace

import numpy as np

from bisim_theory.data.contradiction import NoWellTrainedModelError
from bisim_theory.data.folding import fold
from bisim_theory.data.transitions import DatasetError, TransitionDataset
from bisim_theory.progress import ProgressCallback, silent
from bisim_theory.stored.dataset import StoredDataset, as_array
from bisim_theory.stored.graph import NODE, known_condition
from bisim_theory.stored.identity import JOINED, NUMBERED_JOINED

MOST_ROWS = 20_000_000
"""Most rows that take part in merges of which a proof is looked for in memory."""


def fold_stored(data: StoredDataset, components: int, progress: ProgressCallback = silent) -> None:
    """Make the table ``representative`` (id, name) of the observations that go under another's id.

    Args:
        data: the dataset, with the tables `JOINED` and `NODE`.
        components: number of components of p.
        progress: called in each round with the number of merged observations.

    Raises:
        NoWellTrainedModelError: observations with different p are merged.
    """
    database = data.database
    database.execute("create or replace table representative (id bigint, name bigint)")
    database.keep("arrow", f"select distinct source as x, action as a, successor as y from {JOINED}")
    while True:
        count = database.keep(
            "link",
            "select arrow.y as big, least_of.y as small from arrow join "
            "(select x, a, min(y) as y from arrow group by x, a having count(*) > 1) as least_of "
            "on arrow.x = least_of.x and arrow.a = least_of.a where arrow.y != least_of.y",
        )
        if not count:
            break
        _components(data)
        (merged,) = database.row("select count(*) from root")
        progress(merged, merged + 1)
        database.keep(
            "representative",
            "select id, coalesce(root.small, r.name) as name from representative as r "
            "left join root on root.big = r.name union all select big as id, small as name from root",
        )
        database.keep(
            "arrow",
            "select distinct coalesce(of_x.small, x) as x, a, coalesce(of_y.small, y) as y from arrow "
            "left join root as of_x on of_x.big = x left join root as of_y on of_y.big = y",
        )
    database.drop("arrow", "link", "root")
    _check(data, components)


def _components(data: StoredDataset) -> None:
    """Make the table ``root`` (big, small): the smallest observation of the component of each that ``link`` names.

    Only those that are not the smallest themselves have a row.
    """
    database = data.database
    database.keep("pairs", "select distinct big, small from link")
    both = "select big, small from pairs union all select small, small from pairs"
    database.keep("root", f"select big, min(small) as small from ({both}) group by big")
    while True:
        # Both ends of a link take the smaller root, and roots that are linked are joined.
        count = database.keep(
            "move",
            "select greatest(a.small, b.small) as big, min(least(a.small, b.small)) as small from pairs "
            "join root as a on a.big = pairs.big join root as b on b.big = pairs.small "
            "where a.small != b.small group by 1",
        )
        if not count:
            break
        database.keep(
            "root",
            "select root.big as big, coalesce(move.small, root.small) as small from root "
            "left join move on move.big = root.small",
        )
        while database.rows(
            "select 1 from root join root as up on up.big = root.small where up.small != root.small limit 1"
        ):
            database.keep(
                "root",
                "select root.big as big, up.small as small from root join root as up on up.big = root.small",
            )
    database.keep("root", "select big, small from root where big != small")
    database.drop("pairs", "move")


def _check(data: StoredDataset, components: int) -> None:
    """Raise `NoWellTrainedModelError` where different p are merged, with the proof that folding in memory finds."""
    database = data.database
    ends = " or ".join(f"min(c{place}) != max(c{place})" for place in range(components))
    wrong = database.rows(
        f"select coalesce(r.name, {NODE}.id) as name from {NODE} left join representative as r on r.id = {NODE}.id "
        f"where {NODE}.acted >= 0 and {known_condition(components)} group by 1 having {ends} limit 1"
    )
    if wrong:
        raise _proof(data, components)


def _proof(data: StoredDataset, components: int) -> NoWellTrainedModelError:
    """Fold the rows that take part in merges in memory, which ends with the contradiction."""
    database = data.database
    named = (
        "select t.row, t.source, t.action, t.successor, coalesce(r.name, t.source) as name "
        f"from {NUMBERED_JOINED} as t left join representative as r on r.id = t.source"
    )
    several = f"select name, action from ({named}) group by name, action having min(successor) != max(successor)"
    rows = database.arrays(
        f"select n.source as source, n.action as action, n.successor as successor from ({named}) as n "
        f"semi join ({several}) as s on s.name = n.name and s.action = n.action order by n.row limit {MOST_ROWS + 1}"
    )
    if len(rows["source"]) > MOST_ROWS:
        raise DatasetError(
            "no well-trained model exists; its proof has too many merges, ask for it with --backend memory"
        )
    ids, place = np.unique(np.concatenate([rows["source"], rows["successor"]]), return_inverse=True)
    source, successor = np.split(place, 2)
    database.load("wanted", {"id": ids})
    cells = ", ".join(f"{NODE}.c{place} as c{place}" for place in range(components))
    p = database.arrays(
        f"select wanted.id as id, {cells} from wanted join {NODE} on {NODE}.id = wanted.id "
        f"where {known_condition(components)}"
    )
    value = as_array([p[f"c{place}"] for place in range(components)])
    where = np.searchsorted(ids, p["id"])
    everywhere, known = np.zeros((len(ids), *value.shape[1:]), value.dtype), np.zeros(len(ids), bool)
    everywhere[where], known[where] = value, True
    small = TransitionDataset(
        source, rows["action"], successor, observation_auxiliary=everywhere, observation_auxiliary_known=known
    )
    try:
        fold(small)
    except NoWellTrainedModelError as error:
        return _renamed(error, ids)
    raise AssertionError("the merges that were found in the database are not forced")


def _renamed(error: NoWellTrainedModelError, ids: np.ndarray) -> NoWellTrainedModelError:
    """Return the contradiction with the ids of the dataset."""
    of = ids.tolist()
    chain = [
        replace(
            merge,
            first=of[merge.first],
            second=of[merge.second],
            first_source=of[merge.first_source],
            second_source=of[merge.second_source],
        )
        for merge in error.chain
    ]
    pair = (of[error.pair[0]], of[error.pair[1]])
    return NoWellTrainedModelError(pair, error.values, chain, error.rows, error.equal)
