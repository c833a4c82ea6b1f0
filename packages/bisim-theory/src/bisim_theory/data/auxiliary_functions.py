"""Auxiliary functions p by name, among which a user can choose before training."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bisim_theory.data.arrays import in_memory, to_numpy
from bisim_theory.data.auxiliary import Statements, Values, exact, settle, stored_statements, two_values
from bisim_theory.data.auxiliary_names import LARGEST_MULTIPLE, NAMES, Term, parse_auxiliary, unused_reward
from bisim_theory.data.bins import Bins
from bisim_theory.data.imported import describe_error, import_function
from bisim_theory.data.transitions import DatasetError, Ids, TransitionDataset, usable

MOST_NUMBERS = 1 << 27
"""Most numbers of p in memory, over all observations."""

BINS = "auxiliary_bins"
"""Entry of the metadata with the bins of a stored p, by the names of its terms."""


def auxiliary_values(
    data: TransitionDataset, name: str, ids: Ids | None = None, bins: Mapping[str, Bins] | None = None
) -> Values:
    """Compute the auxiliary function of a name, or of several names joined by ``+``. A label's exact name comes first.

    Args:
        data: the transitions, before equal observations are joined.
        name: one of `offered`, ``module:function``, either with ``:bins:K`` or ``:round:STEP``, or several.
        ids: (F,) ids in which observations that are one have one id (`TransitionDataset.content_ids`); None tells all
            of them apart. Statements of p then speak of the observation of that id.
        bins: those of other data by the names of terms, as `auxiliary_bins` returns them; None takes this data's own.

    Raises:
        DatasetError: the dataset does not offer it; the message lists those that it offers.
        NoWellTrainedModelError: an observation has two values.
    """
    return together([settle(data, _statements(data, term, ids, bins or {}), ids) for term in terms_of(data, name)])


def together(parts: Sequence[Values]) -> Values:
    """Return several functions of the observation as one, which is known where all of them are."""
    if len(parts) == 1:
        return parts[0]
    columns = [exact(part.value).reshape(len(part.value), -1) for part in parts]
    return Values(np.concatenate(columns, 1), np.logical_and.reduce([part.known for part in parts]))


def auxiliary_bins(data: TransitionDataset, name: str) -> dict[str, Bins]:
    """Return the bins of the auxiliary function of a name, by the names of its terms; empty where it has none.

    They lie over the range of its values at the observations that occur in a transition. Those of `auxiliary_values`
    lie over the range at all observations, which differs only where some occur in none.

    Raises:
        DatasetError: the dataset does not offer the function.
    """
    occurs = np.zeros(data.frames, bool)
    occurs[data.source] = occurs[data.successor] = True
    found = {}
    for term in terms_of(data, name):
        if term.bins is not None:
            statements = _exact_statements(data, term, None)
            found[term.name] = Bins.of(_columns(statements)[occurs[statements.observation]], term.bins)
    return found


def stored_bins(data: TransitionDataset) -> dict[str, Bins]:
    """Return the bins of the stored p by the names of its terms, as the metadata has them; else nothing."""
    entries = data.metadata.get(BINS)
    named = entries.items() if isinstance(entries, dict) else ()
    return {name: bins for name, entry in named if (bins := Bins.from_entry(entry)) is not None}


def _columns(statements: Statements) -> NDArray[Any]:
    return statements.value.reshape(len(statements.value), -1)


def describe_auxiliary(data: TransitionDataset, name: str | None) -> str:
    """Say in words what the auxiliary function of a name is; None is p as stored.

    Raises:
        DatasetError: the dataset does not offer it.
    """
    terms = [Term("auxiliary", "auxiliary")] if name is None else terms_of(data, name)
    return "; ".join(_describe(data, term) for term in terms)


def offered(data: TransitionDataset) -> list[str]:
    """Return the names of the auxiliary functions that a dataset offers."""
    has = {
        "auxiliary": _is_stored(data),
        "reward": data.reward is not None or (_is_stored(data) and data.metadata.get("auxiliary") == "reward"),
        "reward:actions": data.reward is not None,
        "terminated": data.terminated is not None,
        "random": data.observation is not None,
        "constant": True,
    }
    return list(dict.fromkeys([*(name for name in NAMES if has[name]), *data.labels]))


def _is_stored(data: TransitionDataset) -> bool:
    return data.auxiliary is not None or data.observation_auxiliary is not None


def _names_stored(data: TransitionDataset, base: str) -> bool:
    return _is_stored(data) and base in ("auxiliary", data.metadata.get("auxiliary"))


def terms_of(data: TransitionDataset, name: str) -> list[Term]:
    """Read a name; that of the stored p, and those of labels, are taken as they are."""
    stored = data.metadata.get("auxiliary") if _is_stored(data) else None
    return [Term(name, name)] if name == stored else parse_auxiliary(name, data.labels)


def _statements(data: TransitionDataset, term: Term, ids: Ids | None, bins: Mapping[str, Bins]) -> Statements:
    """Return what the data says of the auxiliary function of a single name."""
    statements = _exact_statements(data, term, ids)
    if term.bins is not None:
        columns = _columns(statements)
        of_term = bins.get(term.name) or Bins.of(columns, term.bins)
        if len(of_term.low) != columns.shape[1]:
            raise DatasetError(
                f"auxiliary {term.name}: has {columns.shape[1]} components here, and bins of {len(of_term.low)} are "
                "given; give this data's own"
            )
        value: NDArray[Any] = of_term.index(columns).reshape(statements.value.shape)
        statements = dataclasses.replace(statements, value=value)
    elif term.step is not None:
        statements = dataclasses.replace(statements, value=round_values(term.name, statements.value, term.step))
    of_steps = term.base == "reward:actions" and not _names_stored(data, term.base)
    return _by_action(data, term, statements, ids) if of_steps else statements


def _exact_statements(data: TransitionDataset, term: Term, ids: Ids | None) -> Statements:
    """Return the statements before values are made coarser; of ``reward:actions``, one of each step."""
    everything, rows, base = np.arange(data.frames), np.arange(len(data)), term.base
    if _names_stored(data, base):
        return stored_statements(data)
    if base in data.labels:
        return Statements(everything, data.labels[base])
    if base == "reward" and data.reward is not None:
        return Statements(data.successor, data.reward, rows)
    if base == "reward:actions" and data.reward is not None:
        return Statements(data.source, data.reward, rows)
    if base == "terminated" and data.terminated is not None:
        return _terminated(data, data.terminated, ids)
    if base == "random" and data.observation is not None:
        # A random linear map is injective on finitely many observations with probability one, and R_D* depends only on
        # where p is equal.
        return Statements(everything, data.content_ids())
    if base == "constant":
        return Statements(everything, np.zeros(data.frames))
    if term.imported and base not in NAMES:
        return Statements(everything, apply_function(data, import_function(base), base))
    raise DatasetError(
        f"auxiliary={term.name!r}: {unused_reward(base, data.metadata)}this dataset offers {', '.join(offered(data))}; "
        "or give module:function, add :bins:K or :round:STEP to a name, join several by +"
    )


def _terminated(data: TransitionDataset, terminated: NDArray[np.bool_], ids: Ids | None) -> Statements:
    """State 1 of what a terminated step led to and 0 of what another one led to.

    Nothing led to an episode's first observation, but it was acted from: 0 too, unless a step led to an equal one.
    """
    ids = np.arange(data.frames) if ids is None else ids
    reached = np.zeros(data.frames, bool)
    reached[ids[data.successor]] = True
    begins = np.flatnonzero(~reached[ids[data.source]])
    return Statements(
        np.concatenate([data.successor, data.source[begins]]),
        np.concatenate([terminated.astype(np.float64), np.zeros(len(begins))]),
        np.concatenate([np.arange(len(data)), begins]),
    )


def _by_action(data: TransitionDataset, term: Term, steps: Statements, ids: Ids | None) -> Statements:
    """Gather statements of steps from an observation into one vector, where every action of the data was seen.

    Raises:
        DatasetError: no observation was seen under every action.
        NoWellTrainedModelError: an action from one observation had two rewards.
    """
    source = steps.observation if ids is None else ids[steps.observation]
    actions, column = np.unique(data.action, return_inverse=True)
    pairs, first, pair_of = np.unique(source * len(actions) + column, return_index=True, return_inverse=True)
    differs = np.flatnonzero(steps.value != steps.value[first][pair_of])
    if len(differs):
        raise two_values(steps, int(differs[0]), int(first[pair_of[differs[0]]]))
    observation, begins, seen = np.unique(pairs // len(actions), return_index=True, return_counts=True)
    whole = seen == len(actions)
    if not whole.any():
        raise DatasetError(
            f"auxiliary {term.name}: no observation was seen under all of the {len(actions)} actions; tell observations"
            " apart with --identity content, or choose another p"
        )
    if data.frames * len(actions) > MOST_NUMBERS:
        raise DatasetError(
            f"auxiliary {term.name}: {len(actions):,} actions of {data.frames:,} observations are more than "
            f"{MOST_NUMBERS:,} numbers; choose another p"
        )
    entries = begins[whole, None] + np.arange(len(actions))
    return Statements(observation[whole], steps.value[first[entries]])


def round_values(name: str, value: NDArray[Any], step: float) -> NDArray[np.float64]:
    """Return the nearest multiples of a step.

    Raises:
        DatasetError: the step is finer than the digits of a value; `name` begins the message.
    """
    multiple = value.astype(np.float64) / step
    if not (abs(multiple) <= LARGEST_MULTIPLE).all():
        raise DatasetError(f"auxiliary {name}: STEP is finer than the digits of the values; give a larger one")
    whole = round(1 / step) if step < 1 else 0
    decimal = whole > 0 and abs(whole * step - 1) < 1e-12  # as of 0.01, by whose inverse a division gives 0.29
    rounded: NDArray[np.float64] = (np.round(multiple) / whole if decimal else np.round(multiple) * step) + 0.0
    return rounded


def apply_function(data: TransitionDataset, function: Callable[..., Any], name: str) -> NDArray[Any]:
    """Return the values (F,) or (F, k) of a function of the user's, called with all observations and labels.

    Raises:
        DatasetError: it fails, or its values have a wrong shape or type or are not finite; `name` begins the message.
    """
    if data.observation is None:
        raise DatasetError(f"auxiliary {name}: needs observations, and this dataset has none")
    try:
        labels = {label: value.copy() for label, value in data.labels.items()}  # whatever it does to them
        returned = function(in_memory(data.observation), labels)
    except (Exception, SystemExit) as error:  # a function of the user's can raise anything
        raise DatasetError(f"auxiliary {name}: raised {describe_error(error)}") from error
    values = returned_values(name, returned, data.frames)
    bad = ~usable(values)
    if bad.any():
        raise DatasetError(f"auxiliary {name}: is not finite for observation {np.argwhere(bad)[0][0]}")
    return values


def returned_values(name: str, returned: Any, frames: int) -> NDArray[Any]:
    """Return what a function of the user's returned as an array of numbers (F,) or (F, k), a row an observation.

    Raises:
        DatasetError: it is something else; `name` begins the message.
    """
    try:
        values = to_numpy(returned)
    except ValueError as error:
        raise DatasetError(f"auxiliary {name}: what it returned: {error}") from None
    if values.dtype.kind not in "fiub" or values.ndim not in (1, 2) or 0 in values.shape:
        raise DatasetError(
            f"auxiliary {name}: must return (F,) or (F, k) numbers, returned {values.shape} {values.dtype}"
        )
    if len(values) != frames:
        raise DatasetError(f"auxiliary {name}: returned {len(values)} rows for {frames} observations")
    return values


def _describe(data: TransitionDataset, term: Term) -> str:
    if _is_stored(data) and term.base in ("auxiliary", data.metadata.get("auxiliary")):
        words = f"{NAMES['auxiliary']}{_describe_stored_bins(data)}"
    elif term.base in data.labels:
        words = f"the label {term.base}"
    else:
        words = NAMES.get(term.base, f"what {term.base} returns for the observation")
    if term.step is not None:
        return f"{words}, rounded to multiples of {term.step:g}"
    return words if term.bins is None else f"{words}, {_describe_bins(data, term, term.bins)}"


def _describe_bins(data: TransitionDataset, term: Term, count: int) -> str:
    bins = Bins.of(_columns(_exact_statements(data, term, None)), count)
    return f"as the number of one of {count} equal bins of the range in this data{_intervals(bins)}"


def _describe_stored_bins(data: TransitionDataset) -> str:
    """Say what the bins are whose numbers are stored."""
    return "".join(
        f"; {name} is the number of one of {bins.count} equal bins{_intervals(bins)}"
        for name, bins in stored_bins(data).items()
    )


def _intervals(bins: Bins) -> str:
    return ", of each component" if len(bins.low) > 1 else f": {bins.intervals(0)}"
