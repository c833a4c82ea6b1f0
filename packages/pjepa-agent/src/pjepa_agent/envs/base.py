"""Interfaces of a world: where its transitions come from, and the shapes that a model is built for."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Protocol

from bisim_theory import TransitionDataset
from bisim_theory.data.action_codes import ENTRY, ActionCodes
from bisim_theory.data.bins import Bins
from bisim_theory.data.transitions import Frames
from numpy.typing import NDArray

from pjepa_agent.config.schema import ObjectiveConfig

Labels = Mapping[str, NDArray[Any]]
"""Labels (F,) or (F, k) of observations by name."""

Function = Callable[[Frames, Labels], NDArray[Any]]
"""p: observations (F, ...) and labels -> (F,) or (F, k) finite numbers."""


LARGEST_SIZE = 2**16
"""Largest side, number of channels, or number of components."""


LARGEST_BOUND = 1e30
"""Largest magnitude of an action's bound."""


class SpecError(ValueError):
    """Shapes of a world cannot be used; the message says which."""


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= LARGEST_BOUND


def _is_size(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= LARGEST_SIZE


@dataclass(frozen=True)
class Spec:
    """Shapes that a model is built for: read off a world, never configured.

    Attributes:
        observation_shape: (H, W, C) of an image, or (k,) of a vector.
        observation_dtype: name of NumPy's type: ``uint8`` for images.
        action_dim: A, numbers of an action.
        action_low, action_high: (A,) bounds that actions are scaled from to [-1, 1]; None leaves them as they are.
        auxiliary_bins: bins of p by the names of its terms, over the training's transitions; empty before these are
            collected, and where p has none.
        action_codes: how codes are made of continuous actions, by sign or by bins whose range is known before anything
            is collected; None where it is not, and where actions are discrete.
    """

    observation_shape: tuple[int, ...]
    observation_dtype: str
    action_dim: int
    action_low: tuple[float, ...] | None = None
    action_high: tuple[float, ...] | None = None
    auxiliary_bins: Mapping[str, Bins] = field(default_factory=dict, hash=False)
    action_codes: ActionCodes | None = None

    def __post_init__(self) -> None:
        """Raise `SpecError` unless a model can be built for the shapes, since files of strangers are read."""
        shape = self.observation_shape
        if len(shape) not in (1, 3) or not all(_is_size(each) for each in shape):
            raise SpecError(f"observation_shape: must be (H, W, C) or (k,), is {shape}")
        if self.observation_dtype not in ("uint8", "float32"):
            raise SpecError(f"observation_dtype: must be uint8 or float32, is {self.observation_dtype!r}")
        if not _is_size(self.action_dim):
            raise SpecError(f"action_dim: must be a whole number from 1 to {LARGEST_SIZE}, is {self.action_dim!r}")
        if (self.action_low is None) != (self.action_high is None):
            raise SpecError("action_low: needs action_high too")
        for name in ("action_low", "action_high"):
            bounds = getattr(self, name)
            if bounds is not None and (len(bounds) != self.action_dim or not all(_is_finite(each) for each in bounds)):
                raise SpecError(f"{name}: must be {self.action_dim} finite numbers")
        codes = self.action_codes
        if codes is not None and self.action_dim != (len(codes.bins.low) if codes.bins else codes.signs):
            raise SpecError(f"action_codes: must be signs or bins of {self.action_dim} numbers")

    def to_dict(self) -> dict[str, Any]:
        """Convert to what ``spec.json`` holds, and `from_dict` reads."""
        codes = None if self.action_codes is None else self.action_codes.entry
        return asdict(self) | {"action_codes": codes}

    @classmethod
    def from_dict(cls, values: Any) -> "Spec":
        """Rebuild a spec from what ``spec.json`` holds.

        Raises:
            SpecError: it holds something else.
        """
        names = {each.name for each in fields(cls)}
        if isinstance(values, dict):
            values = {"auxiliary_bins": {}, "action_codes": None, **values}  # which earlier versions did not write
        if not isinstance(values, dict) or set(values) != names:
            raise SpecError(f"must hold {', '.join(sorted(names))}")
        for name, optional in (("observation_shape", False), ("action_low", True), ("action_high", True)):
            if not isinstance(values[name], list) and not (optional and values[name] is None):
                raise SpecError(f"{name}: must be a list")
        read: dict[str, Any] = {name: tuple(each) if isinstance(each, list) else each for name, each in values.items()}
        bins, codes = _read_bins(values["auxiliary_bins"]), _read_codes(values["action_codes"])
        return cls(**read | {"auxiliary_bins": bins, "action_codes": codes})

    @property
    def images(self) -> bool:
        """True where observations are images."""
        return len(self.observation_shape) == 3


def _read_bins(entries: Any) -> dict[str, Bins]:
    if not isinstance(entries, dict):
        raise SpecError("auxiliary_bins: must be an object")
    found = {}
    for name, entry in entries.items():
        bins = Bins.from_entry(entry)
        if bins is None:
            raise SpecError(f"auxiliary_bins: {name}: must hold count, and as many finite numbers low and high")
        found[name] = bins
    return found


def _read_codes(entry: Any) -> ActionCodes | None:
    codes = ActionCodes.of({ENTRY: entry})
    if codes is None and entry is not None:
        raise SpecError("action_codes: must be null, or hold sign or bins")
    return codes


class Collector(Protocol):
    """Collects transitions, some at a time."""

    @property
    def in_episode(self) -> bool:
        """Tell whether the next transition starts where the last one ended."""

    def collect(self, transitions: int) -> TransitionDataset:
        """Collect the next transitions. Within an episode the current frame is repeated as their first."""


class Domain(Protocol):
    """A world: the counting world, any Gymnasium environment, or a dataset."""

    @property
    def spec(self) -> Spec:
        """Return the shapes of observations and actions."""

    def collector(self, seed: int) -> Collector:
        """Return what collects with a policy of its own; the seed fixes world and policy."""

    def collect(self, seed: int) -> TransitionDataset:
        """Collect the transitions of a training, each frame once, without p."""

    def function(self, name: str, objective: ObjectiveConfig) -> Function | None:
        """Return a function p that only this world knows by that name, or None."""
