"""The training of a run, top to bottom as in the paper's Section 2.1 and Appendix D."""

import dataclasses
import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from bisim_theory import TransitionDataset
from tensordict import TensorDict, TensorDictBase
from torch import Tensor
from torchrl.data import LazyTensorStorage, TensorDictReplayBuffer

from pjepa_agent.auxiliary import random_projection
from pjepa_agent.checkpoint import fits, load_checkpoint, save_checkpoint
from pjepa_agent.collection import balanced_observations, collect
from pjepa_agent.config import Config, OptimizationConfig
from pjepa_agent.losses import Losses, joint_loss
from pjepa_agent.metrics import MetricsFile, nearest_centroid_accuracy, within_across_ratio
from pjepa_agent.model import PJEPA
from pjepa_agent.run_directory import RunDirectory, RunError

HELD_OUT_SEED = 2**31
"""Added to the seed of a run for its held-out observations, beyond every seed a run can have."""


class TrainingError(RuntimeError):
    """Training cannot go on; the message says why."""


class Interrupted(Exception):
    """Training stopped early because it was asked to; everything up to `update` is saved."""

    def __init__(self, update: int) -> None:
        super().__init__(update)
        self.update = update


def collect_dataset(config: Config) -> TransitionDataset:
    """The transitions of a run, with the values of its auxiliary function."""
    data = collect(config.collection, config.seed)
    if config.objective.auxiliary == "random":
        assert data.observation is not None
        values = random_projection(data.observation, config.objective.auxiliary_dim, config.seed)
        data = dataclasses.replace(data, auxiliary=values[data.source])
    metadata = {"environment": config.collection.environment, "auxiliary": config.objective.auxiliary}
    return dataclasses.replace(data, metadata=metadata)


class Sampler:
    """Batches of transitions: a TorchRL buffer of their indices beside the frames, each of which is kept once.

    Args:
        data: transitions with images and action values.
        batch_size: transitions per batch, drawn with replacement.
        seed: fixes the draws.
        device: where the frames are kept and the batches made.
    """

    def __init__(self, data: TransitionDataset, batch_size: int, seed: int, device: torch.device) -> None:
        assert data.observation is not None
        self.frames = torch.from_numpy(data.observation[: data.frames]).to(device)
        self.generator = torch.Generator(device).manual_seed(seed)
        rows = TensorDict(
            {
                "source": torch.from_numpy(data.source),
                "successor": torch.from_numpy(data.successor),
                "action": torch.from_numpy(np.asarray(data.action_value, np.float32)),
                "auxiliary": torch.from_numpy(np.asarray(data.auxiliary, np.float32)),
            },
            batch_size=[len(data)],
        ).to(device)
        self.buffer = TensorDictReplayBuffer(
            storage=LazyTensorStorage(len(data), device=device), batch_size=batch_size, generator=self.generator
        )
        self.buffer.extend(rows)

    def sample(self) -> TensorDictBase:
        """A batch with ``source_image``, ``successor_image`` (B, H, W, 3), ``action`` (B, A) and ``auxiliary``."""
        batch: TensorDictBase = self.buffer.sample()
        batch["source_image"] = self.frames[batch["source"]]
        batch["successor_image"] = self.frames[batch["successor"]]
        return batch


class Evaluation:
    """Held-out observations, balanced over the counts, and how an encoder arranges them."""

    def __init__(self, config: Config) -> None:
        reference, scored = config.evaluation.reference_per_count, config.evaluation.scored_per_count
        seed = HELD_OUT_SEED + config.seed
        images, counts = balanced_observations(config.collection, reference + scored, seed)
        self.images, self.counts = images, counts
        self._scored = np.arange(len(counts)) % (reference + scored) >= reference

    def embed(self, model: PJEPA) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """Embeddings (m, d) and counts (m,) of the scored observations."""
        return model.encode(self.images[self._scored]).numpy(), self.counts[self._scored]

    def measure(self, model: PJEPA) -> dict[str, float]:
        """Nearest-centroid accuracy and within/across distance ratio."""
        embedding = model.encode(self.images).numpy()
        scored, counts = self._scored, self.counts
        accuracy = nearest_centroid_accuracy(embedding[~scored], counts[~scored], embedding[scored], counts[scored])
        return {
            "eval/nearest_centroid_accuracy": accuracy,
            "eval/within_across_ratio": within_across_ratio(embedding[scored], counts[scored]),
        }


def learning_rate_factor(update: int, config: OptimizationConfig) -> float:
    """Share of the largest learning rate at an update: linear warm-up, then a cosine down to zero at the end."""
    warmup = min(config.warmup, config.updates - 1)
    if update < warmup:
        return (update + 1) / warmup
    progress = (update - warmup) / max(config.updates - warmup, 1)
    return 0.5 * (1 + math.cos(math.pi * progress))


class Training:
    """One run from its first to its last update.

    Args:
        config: what to train.
        run: where everything is kept; a checkpoint in it is continued.
        data: the transitions to train on.
        device: where to train.
    """

    def __init__(self, config: Config, run: RunDirectory, data: TransitionDataset, device: torch.device) -> None:
        self.config, self.run, self.device = config, run, device
        torch.manual_seed(config.seed)
        optimization = config.optimization
        self.model = PJEPA(config).to(device)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=optimization.learning_rate, fused=True)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer, lambda update: learning_rate_factor(update, optimization)
        )
        self.sampler = Sampler(data, optimization.batch_size, config.seed, device)
        self.evaluation = Evaluation(config)
        self.update, self.seconds = 0, 0.0
        if run.checkpoint.is_file():
            self._restore()
        self.metrics = MetricsFile(run.metrics, until=self.update)
        if self.update and (not self.metrics.rows or self.metrics.rows[0]["update"] != 0):
            raise RunError(
                f"{run.metrics}: has lost the rows before update {self.update}; restore it, or begin a new run"
            )

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
            should_stop: asked after each update; if it says so, the state is saved and `Interrupted` raised.

        Raises:
            TrainingError: a loss is no longer finite.
            Interrupted: `should_stop` said so.
        """
        total, every = self.config.optimization.updates, self.config.evaluation.every
        started, since = time.perf_counter() - self.seconds, self.update
        interval_started, recent = time.perf_counter(), []
        if not self.metrics.rows:
            on_metrics(self._evaluate([], 0.0))
        self.model.train()
        while self.update < total:
            recent.append(self._step())
            self.update += 1
            self.seconds = time.perf_counter() - started
            on_update(self.update)
            if self.update % every == 0 or self.update == total:
                rate = (self.update - since) / (time.perf_counter() - interval_started)
                on_metrics(self._evaluate(recent, rate))
                self._save()
                interval_started, since, recent = time.perf_counter(), self.update, []
            elif should_stop():
                self._save()
                raise Interrupted(self.update)

    def _step(self) -> Losses:
        """One update: sample, encode both observations, both losses, step."""
        batch = self.sampler.sample()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.optimization.autocast):
            losses = joint_loss(self.model, batch, self.config.objective)
        self.optimizer.zero_grad(set_to_none=True)
        losses.total.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.optimization.clip)
        self.optimizer.step()
        self.schedule.step()
        return Losses(*(loss.detach() for loss in losses))

    def _evaluate(self, recent: list[Losses], rate: float) -> dict[str, float]:
        """A row of metrics: losses averaged since the last one, and the held-out arrangement."""
        row: dict[str, float] = {"update": self.update, "seconds": self.seconds}
        for index, name in enumerate(Losses._fields):
            values: list[Tensor] = [losses[index] for losses in recent]
            row[f"losses/{name}"] = float(torch.stack(values).mean()) if values else math.nan
        if recent and not math.isfinite(row["losses/total"]):
            raise TrainingError(
                f"the loss is not finite after {self.update} updates; the last checkpoint is {self.run.checkpoint}"
            )
        row |= self.evaluation.measure(self.model)
        row["charts/learning_rate"] = float(self.optimizer.param_groups[0]["lr"])
        row["charts/updates_per_second"] = rate
        self.metrics.append(row)
        return row

    def _save(self) -> None:
        state = {
            "update": self.update,
            "seconds": self.seconds,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "sampler": self.sampler.generator.get_state(),
            "device": self.device.type,
        }
        save_checkpoint(self.run.checkpoint, state)

    def _restore(self) -> None:
        state = load_checkpoint(self.run.checkpoint, self.device)
        if state.get("device") not in (None, self.device.type):
            raise RunError(
                f"{self.run.checkpoint}: was saved on {state['device']}; go on with --device {state['device']}"
            )
        with fits(self.run.checkpoint):
            self.update, self.seconds = int(state["update"]), float(state["seconds"])
            self.model.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.schedule.load_state_dict(state["schedule"])
            self.sampler.generator.set_state(state["sampler"].cpu())
