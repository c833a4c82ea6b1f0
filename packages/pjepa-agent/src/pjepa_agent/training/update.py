"""One update as a function of tensors, and the same captured as a CUDA graph (paper Section 2.1 and Appendix D)."""

from typing import NamedTuple

import torch
from torch import Tensor

from pjepa_agent.compute import graph
from pjepa_agent.compute.precision import autocast
from pjepa_agent.compute.random import UpdateStreams, host_draws
from pjepa_agent.model import PJEPA, Readouts, WorldModel
from pjepa_agent.objectives.base import Batch, EncoderObjective
from pjepa_agent.training.averaging import AveragedWeights
from pjepa_agent.training.learner import Learner


class Outcome(NamedTuple):
    """What an update has found.

    Attributes:
        losses: the weighted ``total`` and the unweighted losses of the objective and of the readouts, by name.
        totals: what each step minimised, by its name.
        finite: boolean scalars by the same names, whether a sum and its gradient are finite.
    """

    losses: dict[str, Tensor]
    totals: dict[str, Tensor]
    finite: dict[str, Tensor]


class CaptureError(Exception):
    """An update cannot be captured as a graph; the message says why. Nothing of it was done."""


class Update:
    """Step on the objective, average the weights, step the readouts on detached embeddings.

    All that it reads and writes is on the device: `prepare` writes there what the host decides, and a call is a
    function of tensors, which changes parameters and buffers in place.

    Args:
        name: of the objective in messages.
        core: minimises the objective.
        readouts: minimises the losses of the readouts; None without any.
        averaged: the averaged weights; None where the configuration has none.
        model: all that is trained.
        streams: of random numbers.
        bfloat16: compute forward passes in bfloat16, on a device that has it.
    """

    def __init__(
        self,
        name: str,
        core: Learner[WorldModel],
        readouts: Learner[Readouts] | None,
        averaged: AveragedWeights | None,
        model: PJEPA,
        streams: UpdateStreams,
        bfloat16: bool,
    ) -> None:
        self.name, self.core, self.readouts, self.averaged, self.model = name, core, readouts, averaged, model
        self.streams, self._bfloat16 = streams, bfloat16
        self.frozen = False
        """True while the encoder is the frozen average."""
        self.frozen_rows: int | None = None
        """Rows of each batch that are used then; None for all."""

    def prepare(self, update: int, updates: int, joint_updates: int) -> None:
        """Write what the host decides to the device: learning rates, weights of losses and of the average.

        Args:
            update: counted from 1.
            updates: of the training.
            joint_updates: those of them that train the encoder.
        """
        self.streams.update = update - 1
        self.core.prepare(min(update / joint_updates, 1.0))
        if self.readouts is not None:
            self.readouts.prepare(update / updates)
        if self.averaged is not None:
            self.averaged.prepare(update)

    def advance(self) -> None:
        """Go on in the schedules, after an update."""
        for learner in self.learners:
            learner.optimizer.advance()

    @property
    def learners(self) -> list[Learner[WorldModel] | Learner[Readouts]]:
        """The objective's, and that of the readouts if there are any."""
        return [self.core] if self.readouts is None else [self.core, self.readouts]

    def __call__(self, batch: Batch) -> Outcome:
        """Do one update on a batch; see `collection.replay.Replay.sample`."""
        if self.frozen:
            batch = {name: value[: self.frozen_rows] for name, value in batch.items()}
        core = self.core.learn(self._encoded(batch) if self.frozen else batch, self.streams, self._autocast)
        losses = {"total": core.total, **core.terms.losses}
        totals, finite = {self.name: core.total}, {self.name: core.finite}
        if self.averaged is not None and self.frozen:
            self.averaged.copy(self.model)
        elif self.averaged is not None:
            self.averaged.update(self.model)
        if self.readouts is not None:
            read = self.readouts.learn(
                {**batch, "embedding": core.terms.embedding.detach()}, self.streams, self._autocast
            )
            name = " + ".join(read.terms.losses)
            losses |= read.terms.losses
            totals[name], finite[name] = read.total, read.finite
        return Outcome(_detached(losses), _detached(totals), finite)

    @torch.no_grad()
    def _encoded(self, batch: Batch) -> Batch:
        """Return a batch with the ``embedding`` (h + 1, B, d) that a frozen encoder makes of its observations."""
        objective = self.core.objective
        assert isinstance(objective, EncoderObjective)
        with self._autocast():
            return {**batch, "embedding": objective.encode_raw(self.model, batch)}

    def _autocast(self) -> torch.autocast:
        return autocast(self.model.device.type, self._bfloat16)


def _detached(values: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach() for name, value in values.items()}


class GraphedUpdate:
    """Do updates, from the fourth on as replays of one graph.

    The first ones run as they are, on the stream of the capture. They are updates of the training like any other, so
    that a resumed run, which begins with them too, ends like one left alone.

    Args:
        update: is captured.
        device: CUDA.
    """

    def __init__(self, update: Update, device: torch.device) -> None:
        self._update, self._device = update, device
        self._stream = graph.side_stream(device)
        self._graph: graph.Graph | None = None
        self._calls = 0
        self._obstacle: str | None = None

    def __call__(self, batch: Batch) -> Outcome:
        """Do one update. The tensors that are returned are not written again.

        Raises:
            CaptureError: it cannot be captured.
        """
        if self._graph is None:
            obstacle = self._obstacle or self._known_obstacle()
            if obstacle is not None:
                raise CaptureError(obstacle)
            if self._calls < graph.WARM_UP:
                self._calls += 1
                return graph.on_stream(self._stream, lambda: self._watched(batch))
            self._graph = self._capture(batch)
        torch._foreach_copy_(self._tensors, [batch[name] for name in self._batch])
        self._update.streams.reseed()
        self._graph.replay()
        losses, finite = self._losses.clone().unbind(), self._finite.clone().unbind()
        names, steps = self._names
        found = dict(zip(names, losses, strict=False))
        totals = dict(zip(steps, losses[len(names) :], strict=True))
        return Outcome(found, totals, dict(zip(steps, finite, strict=True)))

    def _watched(self, batch: Batch) -> Outcome:
        """Do an update, and find out whether the host did something in it that a replay would not."""
        modules = [self._update.model, *(learner.objective for learner in self._update.learners)]
        before, draws = graph.host_state(modules), host_draws()
        outcome = self._update(batch)
        if self._calls == graph.WARM_UP:  # before, something may be set once
            if (name := graph.changed_host_state(before, graph.host_state(modules))) is not None:
                self._obstacle = f"{name} changes on the host"
            elif draws != host_draws() or self._update.streams.host_drew:
                self._obstacle = "random numbers are drawn on the host"
        return outcome

    def _known_obstacle(self) -> str | None:
        return next((each.obstacle for each in self._update.learners if each.obstacle is not None), None)

    def _capture(self, batch: Batch) -> graph.Graph:
        """Capture the update on tensors like those of a batch."""
        self._batch = {name: value.clone() for name, value in batch.items()}
        self._tensors = list(self._batch.values())
        streams, optimizers = self._update.streams, [learner.optimizer for learner in self._update.learners]

        def function() -> tuple[Tensor, Tensor]:
            outcome = self._update(self._batch)
            self._names = list(outcome.losses), list(outcome.totals)
            losses = [value.float() for value in (*outcome.losses.values(), *outcome.totals.values())]
            return torch.stack(losses), torch.stack(list(outcome.finite.values()))

        for optimizer in optimizers:
            optimizer.allow_capture(True)
        try:
            with streams.captured():
                made, (self._losses, self._finite) = graph.capture(
                    function, list(streams.generators.values()), self._stream
                )
        except Exception as error:
            if isinstance(error, torch.OutOfMemoryError) and not graph.on_default_stream(self._device):
                raise  # beside others, without which there may be the memory
            raise CaptureError(graph.reason_of(error)) from error
        finally:
            for optimizer in optimizers:
                optimizer.allow_capture(False)
        return made
