"""The training of a run: the loop, and one update from the batch to the step (paper Section 2.1 and Appendix D)."""

import logging
import math
import time
from collections.abc import Callable

import torch
from bisim_theory import TransitionDataset
from torch import Tensor, nn

from pjepa_agent.auxiliary import Auxiliary
from pjepa_agent.collection.acting import ActingReplay
from pjepa_agent.collection.replay import DatasetReplay, OnlineReplay, Replay
from pjepa_agent.compute.compilation import Compiler
from pjepa_agent.compute.graph import on_default_stream, wants_graph
from pjepa_agent.compute.processes import SINGLE_PROCESS, Processes
from pjepa_agent.compute.random import UpdateStreams
from pjepa_agent.compute.turns import Steps, finish
from pjepa_agent.config.schema import Config
from pjepa_agent.envs.base import Spec
from pjepa_agent.evaluation.held_out_episodes import make_held_out
from pjepa_agent.model import PJEPA
from pjepa_agent.networks.encoder import ResNetEncoder
from pjepa_agent.networks.encoders import EncoderFactory
from pjepa_agent.networks.start import begin
from pjepa_agent.objectives.base import Batch, Setup, TrainStep
from pjepa_agent.objectives.readouts import ReadoutObjective
from pjepa_agent.objectives.registry import make_objective
from pjepa_agent.planning.acting import make_actor
from pjepa_agent.runs.directory import RunDirectory
from pjepa_agent.training.averaging import AveragedWeights, renew_batch_statistics
from pjepa_agent.training.finite import FiniteCheck
from pjepa_agent.training.learner import Learner
from pjepa_agent.training.optimizer import Optimizer
from pjepa_agent.training.requirements import action_codes
from pjepa_agent.training.state import Checkpoints, TrainingState, open_metrics, require_column
from pjepa_agent.training.update import CaptureError, GraphedUpdate, Outcome, Update

logger = logging.getLogger("pjepa_agent")

STANDARDIZED = 65_536
"""Vectors whose mean and deviation standardise them all."""

BEGUN_ON = 512
"""Images that an encoder without normalisation is begun on, see `networks.start`."""

WORTH_COMPILING = 30_000
"""Updates from which on compiling pays where a graph is replayed anyway: it takes 40 s and saves 2 ms on an H200."""


class Interrupted(Exception):
    """Training stopped early because it was asked to; everything up to `update` is saved."""

    def __init__(self, update: int) -> None:
        super().__init__(update)
        self.update = update


class Trainer:
    """Trains one run from its first update, or from its last checkpoint, to its last update.

    Args:
        config: what to train.
        run: where everything is kept; a checkpoint in it is continued.
        data: the transitions to train on; None to collect them while training.
        device: where to train.
        processes: the processes that train this run together, of which rank 0 alone writes.
        encoder: makes E, where the configuration does not name it.

    Raises:
        RunError: the run has a checkpoint or metrics that cannot be used.
    """

    def __init__(
        self,
        config: Config,
        run: RunDirectory,
        data: TransitionDataset | None,
        device: torch.device,
        processes: Processes = SINGLE_PROCESS,
        encoder: EncoderFactory | None = None,
    ) -> None:
        self.config, self.run, self.device, self.processes = config, run, device, processes
        torch.manual_seed(config.seed)
        self.spec = run.read_spec()
        self.model = PJEPA(config, self.spec, encoder).to(device)
        self._captures = wants_graph(config.compute, device, processes)
        share = not (self.compiled or self._captures)
        self.replay = _make_replay(config, run, data, device, processes, share)
        if not self.spec.images:
            self.model.standardize(processes.broadcast(self.replay.observations(STANDARDIZED)))
        elif config.ablation.start != "drawn":
            assert isinstance(self.model.encoder, ResNetEncoder)
            images = processes.broadcast(self.replay.observations(BEGUN_ON)).to(device)
            begin(self.model.encoder, images, config.ablation.start)

        self._compiler = self._make_compiler()
        setup = Setup(config, self.spec, self.model.core, action_codes(data, processes))
        self.objective = make_objective(setup).to(device)
        if isinstance(self.replay, ActingReplay):
            acting, seed = self.replay.world.acting, processes.seed(config.seed)
            self.replay.actor = make_actor(config, acting, self.model, self.objective, seed)
        self._core = self.model.with_parts({"encoder", *self.objective.trains})
        self.readouts = self.model.readouts_beside(self.objective.trains)
        self.readout_objective = ReadoutObjective(self.readouts, config.objective)
        age = config.optimization.averaging_age
        self.averaged = AveragedWeights(self.model, age) if age else None
        self.update_function = self._make_update()
        self.optimizer = self.update_function.core.optimizer
        beside = self.update_function.readouts
        self.readout_optimizer = None if beside is None else beside.optimizer
        self.graphed = GraphedUpdate(self.update_function, device) if self._captures else None
        auxiliary = _auxiliary_of(config, self.spec, data, self.replay)
        self.held_out = make_held_out(config, self.spec, auxiliary, run.held_out)
        self.finite = FiniteCheck(run, processes)
        self.state = TrainingState(
            self.model, self.optimizer, self.readout_optimizer, self.averaged, self.replay, self.objective
        )
        self.checkpoints = Checkpoints(run, config.evaluation.checkpoints, device, processes)
        self.checkpoints.restore(self.state)
        optimization = config.optimization
        self._frozen_after = optimization.joint_updates if optimization.frozen_encoder else math.inf
        if self.update > self._frozen_after:
            self._freeze_encoder()
        self.metrics = open_metrics(run, self.update, config.best_column)

    @property
    def update(self) -> int:
        """The number of updates that are done."""
        return self.state.update

    @property
    def _name(self) -> str:
        """What the objective is called in messages."""
        name = self.config.objective.name
        return "the joint objective" if name == "pjepa" else f"objective {name}"

    @property
    def compiled(self) -> bool:
        """True if the forward passes are compiled, where that works."""
        wanted = self.config.compute.compile
        if wanted != "auto":
            return wanted == "on"
        pays = not self._captures or self.config.optimization.updates >= WORTH_COMPILING
        return pays and self.device.type == "cuda" and self.processes.size == 1

    @property
    def evaluated(self) -> PJEPA:
        """The model that is measured and kept for use: of averaged weights where the configuration says so."""
        return self.model if self.averaged is None or not self.update else self.averaged.model

    def train(
        self,
        on_update: Callable[[int], None] = lambda update: None,
        on_metrics: Callable[[dict[str, float]], None] = lambda row: None,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> None:
        """Train to the last update, with a row of metrics and a checkpoint at every evaluation.

        Args:
            on_update: called with the number of updates done after each.
            on_metrics: called with each row of metrics.
            should_stop: asked after each update; if it says so on any rank, the state is saved, `Interrupted` raised.

        Raises:
            TrainingError: a loss or its gradient is no longer finite, which nothing saved has seen; the batch is kept
                in the run directory.
            Interrupted: `should_stop` said so.
        """
        finish(self.updates(on_update, on_metrics, should_stop))

    def updates(
        self,
        on_update: Callable[[int], None] = lambda update: None,
        on_metrics: Callable[[dict[str, float]], None] = lambda row: None,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> Steps[None]:
        """Do what `train` does, a step an update, so that others can train in turn."""
        total, every = self.config.optimization.updates, self.config.evaluation.every
        started, evaluated_at = time.perf_counter() - self.state.seconds, self.update
        evaluated_when = time.perf_counter()
        if not self.metrics.rows:
            self._evaluate(0.0, on_metrics)
        self.model.train()
        while self.update < total:
            for name, loss in self.step().items():
                self.state.recent[name].append(loss)
            self.state.seconds = time.perf_counter() - started
            on_update(self.update)
            if self.update % every == 0 or self.update == total:
                self.finite.check()
                rate = (self.update - evaluated_at) / (time.perf_counter() - evaluated_when)
                self._evaluate(rate, on_metrics)
                self.state.recent.clear()
                self._save_best()  # before the state, so that no run goes on from a state whose best model it lacks
                self.checkpoints.save(self.state)
                evaluated_when, evaluated_at = time.perf_counter(), self.update
            elif self.processes.any_rank(should_stop()):
                self.finite.check()
                self.checkpoints.save(self.state)
                raise Interrupted(self.update)
            yield

    def step(self) -> dict[str, Tensor]:
        """Do one update: sample a batch, step on the objective, then step the readouts on detached embeddings.

        Returns:
            The weighted ``total`` and the unweighted losses of the objective and of the readouts, by name.

        Raises:
            TrainingError: a pending step turns out not to be finite.
        """
        update, optimization = self.update + 1, self.config.optimization
        self.replay.collect_until(update)
        batch = self.replay.sample()
        self._release_graphs()
        if self.update == self._frozen_after:
            self._settle_encoder()
            self._freeze_encoder()
            if optimization.frozen_steps > 1:
                self.optimizer.forget()
        if self.update_function.frozen:
            self.model.encoder.eval()

        self.update_function.prepare(update, optimization.updates, optimization.joint_updates)
        outcome = self._update_on(dict(batch.items()))
        self.update_function.advance()
        for name, finite in outcome.finite.items():
            self.finite.add(update, name, outcome.totals[name], finite, batch)
        if update % self.config.compute.check_every == 0:
            self.finite.check()
        self.state.update = update
        return outcome.losses

    def _update_on(self, batch: Batch) -> Outcome:
        """Do an update on a batch: replay the graph of it, or without one do it as it is."""
        if self.graphed is not None:
            try:
                return self.graphed(batch)
            except CaptureError as error:
                self._give_up_graph(error)
        outcome = self.update_function(batch)
        # Copies, since the graphs of compiled losses write the next ones where these are.
        return outcome._replace(losses={name: loss.clone() for name, loss in outcome.losses.items()})

    def _give_up_graph(self, reason: CaptureError) -> None:
        """Do updates as they are from now on, and say so."""
        logger.warning(
            "compute.graph: updates cannot be captured as one graph (%s); training goes on without, which is slower",
            reason,
        )
        self.graphed, self._captures = None, False
        self._compiler = self._make_compiler()
        self.update_function.core.step = self._train_step()
        if self.update_function.readouts is not None:
            self.update_function.readouts.step = self._readout_step()

    def _make_update(self) -> Update:
        """Make the update of the objective and of the readouts, each with an optimiser of its own."""
        optimization, fused = self.config.optimization, self.config.compute.fast_paths
        decay = self.config.ablation.weight_decay
        rates = {"encoder": optimization.encoder_learning_rate_factor}
        modules = {**dict(self._core.named_children()), "objective": self.objective}
        optimizer = Optimizer([modules], optimization, rates, fused, decay)
        core = Learner(self.objective, self.model, self._train_step(), optimizer, "objective", self.device)
        readouts = None
        if self.readouts.parts:
            groups = [{name: part} for name, part in self.readouts.parts.items()]
            optimizer = Optimizer(groups, optimization, None, fused, decay)
            readouts = Learner(
                self.readout_objective, self.readouts, self._readout_step(), optimizer, "update", self.device
            )
        streams = UpdateStreams(self.processes.seed(self.config.seed), self.device)
        return Update(self._name, core, readouts, self.averaged, self.model, streams, optimization.autocast)

    def _settle_encoder(self) -> None:
        """Take the averaged weights, with batch statistics of their own, as those of the trained model."""
        if self.averaged is not None:
            self.model.load_state_dict(self.averaged.state_dict())
        self._renew_batch_statistics(self.model)
        for buffer in self.model.encoder.buffers():
            buffer.copy_(self.processes.broadcast(buffer))

    def _freeze_encoder(self) -> None:
        """Train the other parts alone from now on."""
        self.model.encoder.requires_grad_(False)
        self.update_function.frozen = True
        self.update_function.core.step = None  # before another is made, which may hook the same parameters
        steps, rows = self.config.optimization.frozen_steps, self.config.optimization.frozen_batch_size
        self.update_function.core.steps = steps
        self.update_function.frozen_rows = self.processes.local_batch_size(rows, "frozen_batch_size") if rows else None
        self.update_function.core.step = self._train_step()
        if self.graphed is not None:
            self.graphed = GraphedUpdate(self.update_function, self.device)

    def _train_step(self) -> nn.Module:
        return self._prepared(TrainStep(self._core, self.objective))

    def _readout_step(self) -> nn.Module:
        return self._prepared(TrainStep(self.readouts, self.readout_objective))

    def _make_compiler(self) -> Compiler:
        """Make what compiles forward passes: into graphs of their own, unless they are captured in a larger one.

        The compiler's graphs share their memory, so there are none where others train on other streams.
        """
        return Compiler("reduce-overhead" if on_default_stream(self.device) and not self._captures else None)

    def _prepared(self, step: nn.Module) -> nn.Module:
        """Compile the forward pass and wrap it in DDP, as configured."""
        if self.compiled:
            step = self._compiler.compile(step)
        return self.processes.data_parallel(step)

    def _release_graphs(self) -> None:
        """Allow graphs of compiled losses to overwrite the results of the last update, gradients included."""
        if self.compiled and self.graphed is None:
            for learner in self.update_function.learners:
                learner.optimizer.zero_grad()
            torch.compiler.cudagraph_mark_step_begin()

    def _evaluate(self, rate: float, on_metrics: Callable[[dict[str, float]], None]) -> None:
        """Evaluate on rank 0 and append a row of metrics."""
        losses = self._mean_losses()
        if not self.processes.is_main:
            return
        row: dict[str, float] = {"update": self.update, "seconds": self.state.seconds}
        row |= {f"losses/{name}": value for name, value in losses.items()}
        self.renew_batch_statistics()
        row |= self.held_out.measure(self.evaluated)
        row |= self.replay.measures()
        row["charts/learning_rate"] = self.optimizer.learning_rate
        row["charts/updates_per_second"] = rate
        require_column(row, self.config.best_column)
        self.metrics.append(row)
        on_metrics(row)

    def _mean_losses(self) -> dict[str, float]:
        """Average the losses since the last evaluation over updates and ranks. NaN before the first update."""
        names = ("total", *self.objective.weights_at(0.0), *self.readout_objective.weights_at(0.0))
        recent = [self.state.recent.get(name) for name in names]
        means = torch.stack([torch.stack(each).mean().cpu() if each else torch.tensor(math.nan) for each in recent])
        return dict(zip(names, self.processes.mean(means).tolist(), strict=True))

    def renew_batch_statistics(self) -> None:
        """Take batch statistics anew for the very weights that are evaluated, if configured and after an update.

        Those of a frozen encoder are kept.
        """
        if self.update and self.update <= self._frozen_after:
            self._renew_batch_statistics(self.evaluated)

    def _renew_batch_statistics(self, model: PJEPA) -> None:
        if count := self.config.evaluation.batch_norm_samples:
            images = self.replay.observations(count)
            renew_batch_statistics(model.encoder, images, 2 * self.config.optimization.batch_size)

    def _save_best(self) -> None:
        if self.processes.is_main and self.metrics.best_row(self.config.best_column)["update"] == self.update:
            self.checkpoints.save_best(self.evaluated, self.update)


def _make_replay(
    config: Config,
    run: RunDirectory,
    data: TransitionDataset | None,
    device: torch.device,
    processes: Processes,
    share: bool,
) -> Replay:
    """Create the replay buffer of this rank: of a dataset, or of the latest transitions.

    Equal observations are held once if `share`, but in the counting world, whose batches stay as they are.
    """
    if data is None:
        if config.collection.acts:
            return ActingReplay(config, run.read_spec(), device, processes)
        return OnlineReplay(config, device, processes)
    return DatasetReplay(
        Auxiliary.as_trained(config, run.read_spec().auxiliary_bins, data).attach_trained(data),
        processes.local_batch_size(config.optimization.batch_size),
        processes.seed(config.seed),
        device,
        config.objective.horizon,
        config.compute.frame_storage,
        run.frames,
        config.optimization.sampling,
        share and config.compute.joint_batch and not config.counting,
    )


def _auxiliary_of(config: Config, spec: Spec, data: TransitionDataset | None, replay: Replay) -> Auxiliary:
    """Return p as it is trained: with the bins, or the standardisation, of the training's transitions."""
    if isinstance(replay, OnlineReplay | ActingReplay):
        return replay.auxiliary
    assert data is not None
    return Auxiliary.as_trained(config, spec.auxiliary_bins, data)
