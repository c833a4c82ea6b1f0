"""The interface of objectives: losses by name, a weight for each, and the forward pass of one optimiser step."""

import abc
import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

import torch
from jaxtyping import Float, Int, Real
from torch import Tensor, nn

from pjepa_agent.config.schema import Config
from pjepa_agent.envs.base import Spec
from pjepa_agent.model import WorldModel

Batch = Mapping[str, Tensor]
"""Tensors of a batch of sequences by name: a plain mapping, which a compiler sees through.

`collection.replay.Replay.sample` has the names and shapes.
"""

Trained = TypeVar("Trained", bound=nn.Module)
"""The trained module: a `WorldModel`, or its `Readouts`."""


class Terms(NamedTuple):
    """The terms of an objective on one batch.

    Attributes:
        losses: unweighted scalars by name.
        embedding: (h + 1, B, d) embeddings of the observations of the sequences, sources first.
    """

    losses: dict[str, Float[Tensor, ""]]
    embedding: Float[Tensor, "steps batch latent"]


class Objective(nn.Module, abc.ABC, Generic[Trained]):
    """Losses by name, with a weight for each. Owns the heads and target networks that only it needs."""

    stochastic = True
    """True if `terms` draws random numbers."""

    after_step_on_device = False
    """True if `after_step` changes tensors in place and does nothing else, so that a graph can repeat it."""

    @abc.abstractmethod
    def terms(self, model: Trained, batch: Batch) -> Terms:
        """Compute the unweighted losses, with the names of `weights_at`, and the embeddings that they are of."""

    @abc.abstractmethod
    def weights_at(self, progress: float) -> Mapping[str, float]:
        """Return the weight of each loss when this share of the updates, in (0, 1], is being done."""

    def after_step(self, model: Trained) -> None:
        """Update what follows the trained parameters, such as a target network. Does nothing by default."""

    @classmethod
    def follows_on_device(cls) -> bool:
        """Tell whether `after_step` does nothing, or its class or a subclass says that it is `after_step_on_device`."""
        for each in cls.__mro__:
            if each is Objective or vars(each).get("after_step_on_device"):
                return True
            if "after_step" in vars(each):
                return False
        return True


@dataclasses.dataclass(frozen=True)
class Setup:
    """What an objective is made for.

    Attributes:
        config: of the run.
        spec: shapes of the world's observations and actions.
        model: E, T and P as they start, in the units of the data.
        codes: codes of the actions of the data, sorted; empty unless the objective needs ``action``.
    """

    config: Config
    spec: Spec
    model: WorldModel
    codes: tuple[int, ...] = ()


@dataclasses.dataclass(frozen=True)
class NoSettings:
    """Settings of an objective that has none."""


class EncoderObjective(Objective[WorldModel]):
    """What trains the encoder of a run: the base class of a user's own objectives too.

    A subclass sets `weights`, makes the networks that only it needs in its constructor, and computes its `terms`. Its
    parameters are trained with those of the model, its buffers are saved with them, and random numbers that it draws
    in `terms` are the same in a resumed run.

    Args:
        setup: what it is made for.
        settings: an instance of `Settings`, made of the configuration's `objective.arguments`.
    """

    Settings: ClassVar[type[Any]] = NoSettings
    """Dataclass of its settings. Bounds are annotated: ``momentum: Annotated[float, Between(0, 1)] = 0.99``."""

    needs: ClassVar[frozenset[str]] = frozenset()
    """What the data must have, of `NEEDS`."""

    least_horizon: ClassVar[int] = 1
    """Smallest length of a sequence that it can be computed on, in transitions."""

    most_horizon: ClassVar[int | None] = None
    """Largest length, None for any."""

    weights: Mapping[str, float]
    """Weight of each of its losses, the same throughout the training."""

    def __init__(self, setup: Setup, settings: Any = None) -> None:
        super().__init__()
        self.config, self.spec = setup.config, setup.spec
        self.settings = self.Settings() if settings is None else settings

    @property
    def trains(self) -> frozenset[str]:
        """Name those of ``dynamics`` (T) and ``head`` (P) that it trains. The others learn beside it, detached."""
        return frozenset({"dynamics"})

    @property
    def detached(self) -> frozenset[str]:
        """Name those of ``dynamics`` (T) and ``head`` (P) whose losses do not reach the encoder."""
        return frozenset({"dynamics", "head"}) - self.trains

    def weights_at(self, progress: float) -> Mapping[str, float]:
        """Return `weights`, whatever the progress."""
        return self.weights

    def encode(self, model: WorldModel, batch: Batch) -> Float[Tensor, "steps batch latent"]:
        """Encode all observations of a batch, as configured: (h + 1, B, d) float32."""
        return self.encode_raw(model, batch).float()

    def encode_raw(self, model: WorldModel, batch: Batch) -> Float[Tensor, "steps batch latent"]:
        """Encode all observations of a batch in the precision of the forward pass.

        Where the encoder is frozen, the batch holds their ``embedding`` already, for all steps on it.
        """
        if "embedding" in batch:
            return batch["embedding"]
        joint_batch = self.config.compute.joint_batch
        return encode_sequences(model.encoder, batch["observation"], joint_batch, batch.get("content"))


NEEDS = frozenset({"reward", "terminated", "action"})
"""What an objective can need of the data; ``action``: at least two different codes of actions."""


class TrainStep(nn.Module, Generic[Trained]):
    """The forward pass of one optimiser step: what is compiled and wrapped in DDP.

    Its parameters are exactly those that the step trains.

    Args:
        model: what the objective trains.
        objective: adds its own parameters, if it has any.
    """

    def __init__(self, model: Trained, objective: Objective[Trained]) -> None:
        super().__init__()
        self.model, self.objective = model, objective

    def forward(self, batch: Batch) -> Terms:
        """Compute the terms of the objective; see `Objective.terms`."""
        return self.objective.terms(self.model, batch)


def encode_sequences(
    encoder: nn.Module,
    observation: Real[Tensor, "batch steps ..."],
    joint_batch: bool = True,
    content: Int[Tensor, "batch steps"] | None = None,
) -> Float[Tensor, "steps batch latent"]:
    """Apply E to the observations (B, h + 1, ...) of sequences: (h + 1, B, d), in bfloat16 under autocast.

    Args:
        encoder: E.
        observation: of B sequences.
        joint_batch: encode all observations as one batch; with batch normalisation they then share statistics.
        content: the same number for equal observations. Each is then encoded once, and counts once in statistics of the
            batch.
    """
    steps = observation.transpose(0, 1)
    if joint_batch:
        batch = steps.flatten(0, 1)
        if content is not None:
            first, which = _first_of_each(content.transpose(0, 1).flatten())
            if len(first) > 1:  # a single one has no variance
                return encoder(batch[first])[which].unflatten(0, (len(steps), -1))
        embedding: Tensor = encoder(batch).unflatten(0, (len(steps), -1))
        return embedding
    return torch.stack([encoder(step) for step in steps.unbind(0)])


def _first_of_each(number: Int[Tensor, " rows"]) -> tuple[Int[Tensor, " distinct"], Int[Tensor, " rows"]]:
    """Return a row with each distinct number, and for every row the place of its number among these."""
    values, which = torch.unique(number, return_inverse=True)
    rows = torch.arange(len(number), device=number.device)
    first = torch.full_like(values, len(number)).scatter_reduce_(0, which, rows, "amin")
    return first, which


def weighted_sum(losses: Mapping[str, Float[Tensor, ""]], weights: Mapping[str, float | Tensor]) -> Float[Tensor, ""]:
    """Add up losses, each times its weight, a number or a scalar on the device.

    Raises:
        ValueError: the two do not have the same names.
    """
    if losses.keys() != weights.keys():
        raise ValueError(f"losses {sorted(losses)} have weights {sorted(weights)}; the names must be the same")
    first, *others = [weights[name] * loss for name, loss in losses.items()]
    return sum(others, start=first)
