"""Transitions of rows that are read in pieces, with a digest of its content in place of each observation."""

import hashlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bisim_theory.data.transitions import BYTES_AT_ONCE, LARGEST, DatasetError, Ids, is_label, usable
from bisim_theory.formats.actions import ActionEncoding, ActionSurvey
from bisim_theory.formats.columns import ROWS_AT_ONCE, Column, is_label_column
from bisim_theory.formats.convention import MOST_ROWS
from bisim_theory.formats.episodes import assemble, find_successors
from bisim_theory.formats.limits import byte_count, usable_name
from bisim_theory.formats.rows import Rows, first_unusable, unusable_reward

DIGEST_BYTES = 32
"""Bytes of the digest of an observation's content."""

CONTENT = "content"
"""Name of the column of digests."""


class Piece(NamedTuple):
    """Hold the arrays of a range of rows.

    Attributes:
        transitions: name -> (N, ...) of those out of the rows.
        observations: name -> (B, ...) of the rows.
        own: name -> (M, ...) of successors that are no row; labels that are not known of them are absent.
    """

    transitions: dict[str, NDArray[Any]]
    observations: dict[str, NDArray[Any]]
    own: dict[str, NDArray[Any]]


class RowStream:
    """The transitions that `Rows.to_transitions` makes, one piece after the other.

    Args:
        rows: the rows.
        actions: the abstraction of continuous actions, or None.

    Attributes:
        transitions, own: numbers of transitions, and of successors that are no row, in the pieces so far.
        varying: action codes that stood for different continuous actions so far.

    Raises:
        DatasetError: there are no transitions, or the actions cannot become codes.
    """

    def __init__(self, rows: Rows, actions: str | None) -> None:
        self.rows, self.actions = rows, actions
        self._size = self._piece_rows()
        self.encoding = self._survey()
        self._labels = {
            name: column
            for name, column in rows.columns.items()
            if usable_name(name) and is_label(name, np.zeros((1, *column.shape[1:]), column.dtype))
        }
        parts = rows.metadata.get("observation_parts") or []
        self._parts = [
            name
            for name in parts
            if name in self._labels
            and is_label_column(name, rows.columns[name])
            and (name not in rows.columns_after or is_label_column(name, rows.columns_after[name]))
        ]
        self.transitions = self.own = 0
        self._first_codes: list[Ids] = []
        self._unusable: set[str] = set()
        self._wrong_reward: int | None = None
        self.varying: set[int] = set()
        self._action_of: dict[int, NDArray[Any]] = {}

    def _piece_rows(self) -> int:
        rows = self.rows
        columns = [rows.action, *rows.ends.values(), *rows.columns.values(), *rows.columns_after.values()]
        columns += [each for each in (rows.observation, rows.following, rows.reward) if each is not None]
        row_bytes = sum(byte_count(column.shape[1:], column.dtype.itemsize) for column in columns)
        return max(1, min(ROWS_AT_ONCE, BYTES_AT_ONCE // max(row_bytes, 1)))

    def _ranges(self) -> Iterator[tuple[int, int]]:
        for start in range(0, self.rows.count, self._size):
            yield start, min(start + self._size, self.rows.count)

    def _survey(self) -> ActionEncoding:
        rows, survey, found = self.rows, ActionSurvey(self.actions), 0
        try:
            for start, stop in self._ranges():
                source, _ = rows.sources(start, stop)
                if len(source):
                    survey.add(np.asarray(rows.action[start:stop])[source - start])
                found += len(source)
            rows.require(found)
            return survey.encoding()
        except DatasetError as error:
            text = str(error)
            raise DatasetError(text if text.startswith(rows.what) else f"{rows.what}: {text}") from None

    def pieces(self) -> Iterator[Piece]:
        """Read the pieces, in order.

        Raises:
            DatasetError: the file is damaged, or an observation is not finite.
        """
        for start, stop in self._ranges():
            yield self._piece(start, stop)

    def _piece(self, start: int, stop: int) -> Piece:
        rows = self.rows
        source, _ = rows.sources(start, stop)
        beyond = min(stop + 1, rows.count)
        code = self._codes(source, start, stop)
        frames = None if rows.observation is None else np.asarray(rows.observation[start:beyond])
        successor, own = self._successors(source, start, stop, frames)
        table = {"source": source, "action": code, "successor": successor}
        step = rows.steps(source)
        if rows.reward is not None:
            table["reward"] = self._rewards(np.asarray(rows.reward[start:beyond])[step - start], step)
        table |= {name: np.asarray(column[start:beyond])[step - start] for name, column in rows.ends.items()}
        if self.transitions == 0 and len(source):
            self._check_structure(table, frames)
        here = None if frames is None else frames[: stop - start]
        observed = self._observed(rows.columns, np.arange(start, stop), start, here)
        reached = self._reached(own, start, stop) if len(own) else {}
        self.transitions += len(source)
        self.own += len(own)
        return Piece(table, observed, reached)

    def _codes(self, source: Ids, start: int, stop: int) -> Ids:
        if len(source) == 0:
            return np.empty(0, np.int64)
        try:
            action = np.asarray(self.rows.action[start:stop])[source - start]
            code = self.encoding.code(action)
        except DatasetError as error:
            raise DatasetError(f"{self.rows.what}: {error}") from None
        if start < MOST_ROWS:
            self._first_codes.append(code)
        if self.encoding.continuous:
            self._compare(code, action.reshape(len(action), -1))
        return code

    def _compare(self, code: Ids, action: NDArray[Any]) -> None:
        """Note the codes whose actions differ, among each other or from earlier ones."""
        codes, first, of_row = np.unique(code, return_index=True, return_inverse=True)
        self.varying.update(codes[of_row[(action != action[first[of_row]]).any(1)]].tolist())
        for each, row in zip(codes.tolist(), action[first], strict=True):
            if each not in self.varying and (self._action_of.setdefault(each, row) != row).any():
                self.varying.add(each)

    def _successors(self, source: Ids, start: int, stop: int, frames: NDArray[Any] | None) -> tuple[Ids, Ids]:
        """Return the ids of successors, and the rows of the range whose successor has an id of its own."""
        rows = self.rows
        if rows.following is None:
            return source + 1, np.empty(0, np.int64)
        assert frames is not None
        after = rows.next_rows(start, stop)
        found, own = find_successors(
            frames, np.asarray(rows.following[start:stop]), np.where(after < 0, -1, after - start)
        )
        found += start
        own = own[np.isin(own + start, source)]
        found[own] = rows.count + self.own + np.arange(len(own))
        return found[source - start], own + start

    def _rewards(self, reward: NDArray[Any], step: Ids) -> NDArray[Any]:
        wrong = first_unusable(reward) if self._wrong_reward is None else None
        if wrong is not None:
            self._wrong_reward = int(step[wrong])
        return reward

    def _check_structure(self, table: dict[str, NDArray[Any]], frames: NDArray[Any] | None) -> None:
        """Refuse columns of a wrong type or shape, as a `TransitionDataset` does."""
        given = {name: value for name, value in table.items() if name not in ("source", "successor", "action")}
        if self._wrong_reward is not None:
            del given["reward"]
        ids = np.zeros(len(table["source"]), np.int64)
        assemble(self.rows.what, {}, {}, source=ids, action=table["action"], successor=ids, observation=frames, **given)

    def _reached(self, own: Ids, start: int, stop: int) -> dict[str, NDArray[Any]]:
        following = self.rows.following
        assert following is not None
        frames = np.asarray(following[start:stop])[own - start]
        ids = self.rows.count + self.own + np.arange(len(own))
        return self._observed(self.rows.columns_after, ids, start, frames, own - start)

    def _observed(
        self,
        columns: Any,
        ids: Ids,
        start: int,
        frames: NDArray[Any] | None,
        chosen: Ids | slice = slice(None),
    ) -> dict[str, NDArray[Any]]:
        """Return what is known of observations: their ids, labels and digests.

        Args:
            columns: name -> column that may be a label.
            ids: (B,) ids of the observations.
            start: row of the first of the range.
            frames: (B, ...) the observations, or None.
            chosen: rows of the range.
        """
        found: dict[str, NDArray[Any]] = {"id": ids}
        stop = start + (len(ids) if isinstance(chosen, slice) else int(chosen.max()) + 1)
        for name in self._labels:
            if name not in columns:
                continue
            column: Column = columns[name]
            value = np.asarray(column[start:stop])[chosen]
            if not usable(value).all():
                self._unusable.add(name)
            found[name] = value[:, 0] if value.shape[1:] == (1,) else value
        if frames is not None:
            self._check_finite(frames, ids)
            if self.rows.metadata.get("lossy_observations") is not True:
                found[CONTENT] = digests([frames, *(found[name] for name in self._parts if name in found)])
        return found

    def _check_finite(self, frames: NDArray[Any], ids: Ids) -> None:
        good = usable(frames) if frames.dtype.kind == "f" else np.ones(1, bool)
        if not good.all():
            row = ids[int(np.argwhere(~good)[0][0])]
            raise DatasetError(f"{self.rows.what}: observation: row {row} is not finite, or beyond {LARGEST:g}")

    def labels(self) -> list[str]:
        """Return the labels, after the last piece: those that are known of every observation and finite."""
        return [
            name for name in self.rows.known_labels(self.own) if name in self._labels and name not in self._unusable
        ]

    @property
    def has_reward(self) -> bool:
        """Return whether the rewards can be used, after the last piece."""
        return self.rows.reward is not None and self._wrong_reward is None

    def metadata(self) -> dict[str, Any]:
        """Return the metadata, after the last piece."""
        rows, labels = self.rows, self.labels()
        unusable_rewards = [] if self._wrong_reward is None else [unusable_reward(self._wrong_reward)]
        code = np.concatenate([*self._first_codes, np.empty(0, np.int64)])
        said = rows.describe(code, self.transitions, self.own, self.actions, self.encoding.meaning, unusable_rewards)
        unfit = sorted(name for name in rows.known_labels(self.own) if name not in labels and usable_name(name))
        return {**said, "labels_left_out": unfit} if unfit else said


def digests(arrays: list[NDArray[Any]]) -> NDArray[np.uint8]:
    """Compute (B, 32) digests of the rows of arrays (B, ...): nobody can find two rows with one.

    Rows of one type have one digest iff their numbers are equal.
    """
    rows = []
    for array in arrays:
        same = array + array.dtype.type(0) if array.dtype.kind == "f" else array  # -0.0 equals 0.0
        rows.append(np.ascontiguousarray(same).reshape(len(same), -1).view(np.uint8))
    joined = rows[0] if len(rows) == 1 else np.concatenate(rows, 1)
    found = b"".join(hashlib.blake2b(row.data, digest_size=DIGEST_BYTES).digest() for row in joined)
    return np.frombuffer(found, np.uint8).reshape(-1, DIGEST_BYTES)
