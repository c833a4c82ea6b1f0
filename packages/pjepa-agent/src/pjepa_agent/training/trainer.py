"""The training of a run, top to bottom as in the paper's Section 2.1 and Appendix D."""

import contextlib
import dataclasses
import math
import time
import typing
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from bisim_theory import TransitionDataset
from bisim_theory.files import atomic_write
from tensordict import TensorDictBase
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, update_bn

from pjepa_agent.auxiliary import Auxiliary
from pjepa_agent.collection.policy import collect
from pjepa_agent.collection.replay import DatasetReplay, OnlineReplay
from pjepa_agent.compute.precision import autocast
from pjepa_agent.compute.processes import SINGLE_PROCESS, Processes
from pjepa_agent.compute.random import random_stream
from pjepa_agent.config.schema import Config
from pjepa_agent.evaluation.held_out import HeldOut
from pjepa_agent.model import PJEPA
from pjepa_agent.objectives.base import Objective
from pjepa_agent.objectives.pjepa import joint_losses
from pjepa_agent.objectives.readouts import beside_losses, beside_total
from pjepa_agent.runs.checkpoint import checkpoint_errors, newest_checkpoint, save_checkpoint
from pjepa_agent.runs.directory import RunDirectory, RunError
from pjepa_agent.runs.metrics import ACCURACY, MetricsFile
from pjepa_agent.training.averaging import averaging_weight
from pjepa_agent.training.optimizer import Optimization

Tensors = tuple[Tensor, ...] | list[Tensor]

BESIDE_METRICS = {"reward": "action_conditioned_reward"}
"""Names of losses in the metrics, where those of the parts would be mistaken for others."""


class TrainingError(RuntimeError):
    """Training cannot go on; the message says why."""


class Interrupted(Exception):
    """Training stopped early because it was asked to; everything up to `update` is saved."""

    def __init__(self, update: int) -> None:
        super().__init__(update)
        self.update = update


def collect_dataset(
    config: Config,
    processes: Processes = SINGLE_PROCESS,
    collected: Callable[[], TransitionDataset] | None = None,
) -> TransitionDataset:
    """The transitions of a run, or of one of the processes that train it, with values of its auxiliary function.

    Args:
        config: of the run.
        processes: the processes that train it.
        collected: returns this process's transitions, if they are being collected already.
    """
    data = collected() if collected else collect(config.collection, processes.seed(config.seed))
    assert data.observation is not None
    values = Auxiliary(config, processes)(data.observation, data.labels)
    return dataclasses.replace(data, auxiliary=values[data.source], metadata=metadata(config))


def metadata(config: Config) -> dict[str, str]:
    """What a run writes into its ``transitions.npz`` about where they come from."""
    return {"environment": config.collection.environment, "auxiliary": config.objective.auxiliary}


class Taken(NamedTuple):
    """A step of an optimiser that nobody has looked at yet: what was minimised, and whether it was finite."""

    update: int
    name: str
    loss: Tensor
    finite: Tensor
    batch: TensorDictBase


class Training:
    """One run from its first to its last update.

    Args:
        config: what to train.
        run: where everything is kept; a checkpoint in it is continued.
        data: the transitions to train on; None to collect them while training.
        device: where to train.
        processes: the processes that train this run together, of which rank 0 alone writes.
    """

    def __init__(
        self,
        config: Config,
        run: RunDirectory,
        data: TransitionDataset | None,
        device: torch.device,
        processes: Processes = SINGLE_PROCESS,
    ) -> None:
        self.config, self.run, self.device, self.processes = config, run, device, processes
        torch.manual_seed(config.seed)
        self.model = PJEPA(config).to(device)
        factor = config.optimization.encoder_learning_rate_factor
        fused, objective, ablation = config.compute.fast_paths, config.objective, config.ablation
        self.optimization = Optimization(
            [self.model.core], config.optimization, {"encoder": factor}, fused, ablation.weight_decay
        )
        constants = {
            "objective": objective,
            "joint_batch": config.compute.joint_batch,
            "latent_noise": ablation.latent_noise,
        }
        self._joint = self._prepared(Objective(joint_losses, self.model, self.model.core, **constants))
        # Each part beside the core is clipped by itself: whether it is there changes nothing of the others.
        beside = [{name: part} for name, part in self.model.beside.items()]
        self.beside = self._beside = None
        if beside:
            self.beside = Optimization(beside, config.optimization, None, fused, ablation.weight_decay)
            self._beside = self._prepared(Objective(beside_losses, self.model, self.model.beside, objective=objective))
        self.averaged: AveragedModel | None = None
        if config.optimization.averaging_age:
            self.averaged = AveragedModel(self.model, multi_avg_fn=self._average, use_buffers=True)
        self.sampler = (
            OnlineReplay(config, device, processes)
            if data is None
            else DatasetReplay(
                data,
                processes.local_batch_size(config.optimization.batch_size),
                processes.seed(config.seed),
                device,
                config.objective.horizon,
                config.compute.frame_storage,
            )
        )
        self.held_out = HeldOut(config, self._known_auxiliary(data))
        self.update, self.seconds = 0, 0.0
        self._recent: defaultdict[str, list[Tensor]] = defaultdict(list)  # losses since the last evaluation
        self._unchecked: list[Taken] = []
        with processes.main_process_first():  # since rank 0 sets aside what is damaged
            if any(path.is_file() for path in self._checkpoints):
                self._restore()
        processes.barrier()  # until all have read what rank 0 then writes
        self.metrics = MetricsFile(run.metrics, until=self.update)
        if self.update and (not self.metrics.rows or self.metrics.rows[0]["update"] != 0):
            raise RunError(
                f"{run.metrics}: has lost the rows before update {self.update}; restore it, or begin a new run"
            )
        if any(ACCURACY not in row for row in self.metrics.rows):
            raise RunError(f"{run.metrics}: has lost the column {ACCURACY}; restore it, or begin a new run")

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
        total, every = self.config.optimization.updates, self.config.evaluation.every
        started, since = time.perf_counter() - self.seconds, self.update
        interval_started = time.perf_counter()
        if not self.metrics.rows:
            self._record(0.0, on_metrics)
        self.model.train()
        while self.update < total:
            for name, loss in self.step().items():
                self._recent[name].append(loss)
            self.update += 1
            self.seconds = time.perf_counter() - started
            on_update(self.update)
            if self.update % every == 0 or self.update == total:
                self._check()
                rate = (self.update - since) / (time.perf_counter() - interval_started)
                self._record(rate, on_metrics)
                self._recent.clear()
                self._save_best()  # before the state, so that no run goes on from a state whose best model it lacks
                self._save()
                interval_started, since = time.perf_counter(), self.update
            elif self.processes.any_rank(should_stop()):
                self._check()
                self._save()
                raise Interrupted(self.update)

    def _known_auxiliary(self, data: TransitionDataset | None) -> Auxiliary:
        """p as the training has it: a random map keeps the standardisation of what is trained on."""
        if isinstance(self.sampler, OnlineReplay):
            return self.sampler.auxiliary
        assert data is not None
        auxiliary = Auxiliary(self.config)
        auxiliary.adopt(data)
        return auxiliary

    def step(self) -> dict[str, Tensor]:
        """One update: collect, sample, encode both observations, both losses, step; then what learns beside them."""
        self.sampler.collect_until(self.update + 1)
        batch = self.sampler.sample()
        objective = self.config.objective.at((self.update + 1) / self.config.optimization.updates)
        if self.compiled:
            self._begin_graphs()
        with self._objective_stream(), self._autocast():
            losses = self._joint(dict(batch.items()))
        total = losses.total(objective)
        self._descend(self.optimization, total, batch, "the joint objective")
        if self.averaged is not None:
            self.averaged.update_parameters(self.model)
        scalars = {"total": total, "transition": losses.transition, "auxiliary": losses.auxiliary}
        if self.beside is not None:
            scalars |= self._step_beside(self.beside, batch, losses.source, losses.successor)
        if (self.update + 1) % self.config.compute.check_every == 0:
            self._check()
        # A CUDA graph writes its next losses where these are.
        return {name: loss.detach().clone() for name, loss in scalars.items()}

    def _begin_graphs(self) -> None:
        """Say that nothing of the last update is needed any more, of which CUDA graphs keep their results."""
        for optimization in (self.optimization, self.beside):
            if optimization is not None:
                optimization.forget()
        torch.compiler.cudagraph_mark_step_begin()

    def _step_beside(
        self, optimization: Optimization, batch: TensorDictBase, source: Tensor, successor: Tensor
    ) -> dict[str, Tensor]:
        """The update of control heads and decoder, on embeddings that they do not train."""
        assert self._beside is not None
        with random_stream(self.processes.seed(self.config.seed), "update", self.update, device=self.device):
            with self._autocast():
                losses = self._beside(dict(batch.items()), source.detach(), successor.detach())
            self._descend(optimization, beside_total(losses, self.config.objective), batch, " + ".join(losses))
        if self.model.control is not None:
            self.model.control.follow(self.config.objective.polyak)
        return {BESIDE_METRICS.get(name, name): loss for name, loss in losses.items()}

    def _descend(self, optimization: Optimization, loss: Tensor, batch: TensorDictBase, name: str) -> None:
        finite = optimization.step(loss)
        self._unchecked.append(Taken(self.update + 1, name, loss.detach(), finite, batch))

    def _check(self) -> None:
        """See to it that all steps since the last time were finite, on every rank, before anything of them is kept."""
        if not self._unchecked:
            return
        steps, self._unchecked = self._unchecked, []
        finite = self.processes.all_true(torch.stack([step.finite for step in steps]).cpu())
        if finite.all():
            return
        first = steps[int(finite.int().argmin())]
        if self.processes.is_main or not first.loss.isfinite():
            self._keep_batch(first)
        raise TrainingError(
            f"{first.name}: loss {float(first.loss):g} or its gradient is not finite at update {first.update}; "
            f"the batch is in {self.run.offending_batch}, the last checkpoint is {self.run.checkpoint}"
        )

    def _keep_batch(self, step: Taken) -> None:
        arrays = {name: value.cpu().numpy() for name, value in step.batch.items()}
        with atomic_write(self.run.offending_batch) as file:
            np.savez_compressed(file, update=step.update, **arrays)

    @torch.no_grad()
    def _average(self, averaged: Tensors, current: Tensors, count: Tensor | int) -> None:
        """Take the weights after an update into their average; the count is known here without asking the device."""
        del count
        if averaged[0].is_floating_point():
            weight = averaging_weight(self.update + 1, self.config.optimization.averaging_age)
            torch._foreach_lerp_(averaged, current, weight)
        else:
            torch._foreach_copy_(averaged, current)

    def _objective_stream(self) -> contextlib.AbstractContextManager[None]:
        """Random numbers of the update where the objective draws any."""
        if not self.config.ablation.latent_noise and self.config.objective.regularizer != "sigreg":
            return contextlib.nullcontext()
        return random_stream(self.processes.seed(self.config.seed), "objective", self.update, device=self.device)

    @property
    def evaluated(self) -> PJEPA:
        """The model that is measured and kept for use: of averaged weights where the configuration says so."""
        if self.averaged is None or not self.update:
            return self.model
        return typing.cast(PJEPA, self.averaged.module)

    @property
    def compiled(self) -> bool:
        """Whether the losses are compiled."""
        wanted = self.config.compute.compile
        return wanted == "on" or (wanted == "auto" and self.device.type == "cuda" and self.processes.size == 1)

    def _prepared(self, objective: Objective) -> nn.Module:
        """A module of losses as the configuration and the ranks have it."""
        if self.compiled:
            objective.compile(mode="reduce-overhead" if self.device.type == "cuda" else None)
        return self.processes.data_parallel(objective)

    def _autocast(self) -> torch.autocast:
        return autocast(self.device.type, self.config.optimization.autocast)

    def _record(self, rate: float, on_metrics: Callable[[dict[str, float]], None]) -> None:
        """Have rank 0 measure and write what all have come to."""
        losses = self._mean_losses()
        if self.processes.is_main:
            on_metrics(self._evaluate(losses, rate))

    def _mean_losses(self) -> dict[str, float]:
        """Averages since the last evaluation, over all ranks."""
        names = ("total", "transition", "auxiliary", *(BESIDE_METRICS.get(n, n) for n in self.model.beside))
        recent = [self._recent.get(name) for name in names]
        means = torch.stack([torch.stack(each).mean().cpu() if each else torch.tensor(math.nan) for each in recent])
        return dict(zip(names, self.processes.mean(means).tolist(), strict=True))

    def _evaluate(self, losses: dict[str, float], rate: float) -> dict[str, float]:
        """A row of metrics: losses averaged since the last one, and the held-out arrangement."""
        row: dict[str, float] = {"update": self.update, "seconds": self.seconds}
        row |= {f"losses/{name}": value for name, value in losses.items()}
        self._renew_statistics()
        row |= self.held_out.measure(self.evaluated)
        row["charts/learning_rate"] = self.optimization.learning_rate
        row["charts/updates_per_second"] = rate
        self.metrics.append(row)
        return row

    def _renew_statistics(self) -> None:
        """Take the batch statistics anew, for the very weights that are evaluated."""
        count = self.config.evaluation.batch_norm_samples
        if count and self.update:
            pieces = math.ceil(count / (2 * self.config.optimization.batch_size))
            # Evenly, so that none is a single observation, which has no variance.
            update_bn(self.sampler.observations(count).tensor_split(pieces), self.evaluated.encoder)

    def _save(self) -> None:
        draws = self.processes.all_gather(self.sampler.generator.get_state())
        recent = {
            name: torch.stack(self.processes.all_gather(torch.stack(values))) for name, values in self._recent.items()
        }
        if not self.processes.is_main:
            return
        state = {
            "update": self.update,
            "seconds": self.seconds,
            "model": self.model.state_dict(),
            **self.optimization.state_dict(),
            "sampler": torch.stack(draws),
            "ranks": self.processes.size,
            "device": self.device.type,
            "recent": recent,
        }
        if self.averaged is not None:
            state["averaged"] = self.averaged.module.state_dict()
        if self.beside is not None:
            state["beside"] = self.beside.state_dict()
        path, *older = self._checkpoints
        save_checkpoint(path, state, older)

    @property
    def _checkpoints(self) -> list[Path]:
        return self.run.checkpoints(self.config.evaluation.checkpoints)

    def _save_best(self) -> None:
        """Keep the model beside the last one where it is the most compact so far (paper Section 2.3)."""
        if self.processes.is_main and self.metrics.most_compact["update"] == self.update:
            save_checkpoint(self.run.best, {"update": self.update, "model": self.evaluated.state_dict()})

    def _restore(self) -> None:
        path, state = newest_checkpoint(self._checkpoints, self.device)
        if state.get("device") not in (None, self.device.type):
            raise RunError(f"{path}: was saved on {state['device']}; go on with --device {state['device']}")
        with checkpoint_errors(path):
            ranks = int(state.get("ranks", 1))
        if ranks != self.processes.size:
            raise RunError(
                f"{path}: was trained by {ranks} processes, and these are {self.processes.size}; "
                "go on with as many, as torchrun --nproc-per-node starts them"
            )
        with checkpoint_errors(path):
            self.update, self.seconds = int(state["update"]), float(state["seconds"])
            self.model.load_state_dict(state["model"])
            self.optimization.load_state_dict(state)
            if self.averaged is not None:
                self.averaged.module.load_state_dict(state["averaged"])
                self.averaged.n_averaged.fill_(self.update)
            if self.beside is not None:
                self.beside.load_state_dict(state["beside"])
            self.sampler.collect_until(self.update)
            self.sampler.generator.set_state(self._mine(state["sampler"]).cpu())
            for name, values in state.get("recent", {}).items():
                self._recent[name] = list(self._mine(values).unbind())

    def _mine(self, values: Tensor) -> Tensor:
        """This rank's row of what was saved for all; one that was saved by a process alone may have no such axis."""
        return values.view(self.processes.size, -1)[self.processes.rank].clone()
