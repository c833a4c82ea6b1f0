"""Train in the loop of TD-MPC2's code, on which the paper's authors built: the baseline of the throughput.

It is eager and in float32. The two observations of a transition are encoded one after the other, channels first. Adam
updates one tensor at a time. One environment is stepped once per update, both frames of each transition are stored,
and every metric is read off the device in every update.
"""

from typing import Any

import counting_env  # noqa: F401  # registers the environment
import gymnasium
import numpy as np
import torch
from pjepa_agent.config.schema import Config
from pjepa_agent.model import PJEPA
from pjepa_agent.objectives.base import Setup, weighted_sum
from pjepa_agent.objectives.pjepa import PJEPAObjective
from pjepa_agent.objectives.readouts import ReadoutObjective
from pjepa_agent.training.optimizer import learning_rate_factor
from torch import Tensor, nn


class Baseline:
    """Train the model of a configuration with its losses, loss weights and batch size.

    Args:
        config: of the training; of its collection only target, episode length and action repeat are used.
        device: that trains.
        transitions: capacity of the buffer, which is full before the first update.
        joint_batch: encode both observations in one batch, as a network with batch normalisation needs.
    """

    def __init__(self, config: Config, device: torch.device, transitions: int, joint_batch: bool) -> None:
        self.config, self.device, self.joint_batch = config, device, joint_batch
        plain = config.override(["compute.fast_paths=false"])
        torch.manual_seed(config.seed)
        self.model = PJEPA(plain).to(device).train()
        optimization = config.optimization
        factor = optimization.encoder_learning_rate_factor
        others = [self.model.dynamics, self.model.head]
        self.optimizer = torch.optim.Adam(
            [
                {"params": list(self.model.encoder.parameters()), "lr": factor * optimization.learning_rate},
                {"params": [p for each in others for p in each.parameters()]},
            ],
            lr=optimization.learning_rate,
        )
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer, lambda update: learning_rate_factor(update, optimization)
        )
        self.objective = PJEPAObjective(Setup(config, self.model.spec, self.model.core))
        self.readout_objective = ReadoutObjective(self.model.readouts, config.objective)
        self.readout_optimizer = None
        if self.model.readouts.parts:
            self.readout_optimizer = torch.optim.Adam(self.readout_parameters(), lr=optimization.learning_rate)
        self.buffer = Buffer(transitions)
        self.environment = gymnasium.make(
            "CountingEnv-v0", max_episode_steps=config.collection.max_episode_steps, target=config.collection.target
        )
        self.random = np.random.default_rng(config.seed)
        self.observation: Any = None
        self.reward_here = 0.0
        self.update = 0
        for _ in range(transitions):
            self.act()

    def act(self) -> None:
        """Do one environment step and store the transition."""
        collection = self.config.collection
        if self.observation is None:
            self.observation, info = self.environment.reset(seed=None if self.buffer.added else self.config.seed)
            self.reward_here = float(info["count"] == collection.target)
            self.held = 0
        if self.held % collection.action_repeat == 0:
            self.action = self.random.uniform(-1, 1, 1).astype(np.float32)
        self.held += 1
        following, reward, terminated, truncated, _ = self.environment.step(self.action)
        self.buffer.add(self.observation, self.action, following, self.reward_here, float(reward), terminated)
        self.observation = None if terminated or truncated else following
        self.reward_here = float(reward)

    def step(self) -> dict[str, float]:
        """Do one update and return its metrics."""
        weights = self.objective.weights_at((self.update + 1) / self.config.optimization.updates)
        batch = self.buffer.sample(self.random, self.config.optimization.batch_size, self.device)
        source, successor = self.encode(batch["source_image"], batch["successor_image"])
        transition = nn.functional.mse_loss(self.model.transition(source, batch["action"]), successor)
        auxiliary = self.model.head.loss(self.model.head(source), batch["auxiliary"])
        total = weights["transition"] * transition + weights["auxiliary"] * auxiliary
        metrics = {"total": total, "transition": transition, "auxiliary": auxiliary}
        self.optimizer.zero_grad()
        total.backward()
        core = list(self.model.core.parameters())
        metrics["gradient_norm"] = nn.utils.clip_grad_norm_(core, self.config.optimization.clip)
        self.optimizer.step()
        self.schedule.step()
        if self.readout_optimizer is not None:
            metrics |= self.step_readouts(self.readout_optimizer, batch, torch.stack([source, successor]))
        self.update += 1
        return {name: value.item() for name, value in metrics.items()}

    def encode(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        """Encode both observations (B, H, W, 3)."""
        if self.joint_batch:
            source, successor = self.model.encoder(torch.cat([first, second])).chunk(2)
            return source, successor
        return self.model.encoder(first), self.model.encoder(second)

    def step_readouts(
        self, optimizer: torch.optim.Optimizer, batch: dict[str, Tensor], embedding: Tensor
    ) -> dict[str, Tensor]:
        """Do one update of control heads and decoder on detached embeddings (2, B, d)."""
        sequences = {name: batch[name].unsqueeze(1) for name in ("action", "reward", "terminated")}
        sequences["observation"] = torch.stack([batch["source_image"], batch["successor_image"]], 1)
        losses = self.readout_objective.terms(self.model.readouts, sequences | {"embedding": embedding}).losses
        optimizer.zero_grad()
        weighted_sum(losses, self.readout_objective.weights_at(1.0)).backward()
        nn.utils.clip_grad_norm_(self.readout_parameters(), self.config.optimization.clip)
        optimizer.step()
        self.readout_objective.after_step(self.model.readouts)
        return losses

    def readout_parameters(self) -> list[nn.Parameter]:
        """Return the parameters of control heads and decoder."""
        return [p for part in self.model.readouts.parts.values() for p in part.parameters()]


class Buffer:
    """Store transitions with both of their frames, the newest in place of the oldest."""

    def __init__(self, size: int) -> None:
        self.size, self.added = size, 0
        self.arrays = {
            "source_image": np.zeros((size, 64, 64, 3), np.uint8),
            "successor_image": np.zeros((size, 64, 64, 3), np.uint8),
            "action": np.zeros((size, 1), np.float32),
            "auxiliary": np.zeros(size, np.float32),
            "reward": np.zeros(size, np.float32),
            "terminated": np.zeros(size, np.bool_),
        }

    def add(self, source: Any, action: Any, successor: Any, auxiliary: float, reward: float, terminated: bool) -> None:
        """Store a transition in place of the oldest."""
        values = (source, successor, action, auxiliary, reward, terminated)
        for array, value in zip(self.arrays.values(), values, strict=True):
            array[self.added % self.size] = value
        self.added += 1

    def sample(self, random: np.random.Generator, size: int, device: torch.device) -> dict[str, Tensor]:
        """Draw a batch with replacement."""
        rows = random.integers(min(self.added, self.size), size=size)
        return {name: torch.from_numpy(array[rows]).to(device) for name, array in self.arrays.items()}

    @property
    def nbytes(self) -> int:
        """Return the bytes of all arrays."""
        return sum(array.nbytes for array in self.arrays.values())
