"""The optimiser: Adam, clipped gradients, and a schedule of the learning rate."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from pjepa_agent.config.schema import OptimizationConfig


def learning_rate_factor(update: int, config: OptimizationConfig) -> float:
    """Return the share of the largest learning rate at an update, counted from 0.

    A linear warm-up is followed by a cosine to zero at the last update that trains the encoder, or by one. Over the
    updates with a frozen encoder there is another cosine from one to zero.
    """
    joint = config.joint_updates
    warmup = min(config.warmup, joint - 1)
    if update < warmup:
        return (update + 1) / warmup
    if config.schedule == "constant":
        return 1.0
    start, end = (warmup, joint) if update < joint else (joint, config.updates)
    progress = (update - start) / max(end - start, 1)
    return 0.5 * (1 + math.cos(math.pi * progress))


class Optimizer:
    """Adam, with a gradient clip for each group of modules and a schedule of the learning rate.

    Args:
        groups: modules by name; the norm that is clipped is that of all gradients of one group.
        config: learning rate, schedule and clip.
        factors: by name, a module's learning rate over that of the configuration.
        fused: one kernel for all parameters instead of several for each.
        weight_decay: decoupled weight decay, per unit of learning rate.
    """

    def __init__(
        self,
        groups: Sequence[Mapping[str, nn.Module]],
        config: OptimizationConfig,
        factors: Mapping[str, float] | None = None,
        fused: bool = True,
        weight_decay: float = 0.0,
    ) -> None:
        self._clip, self._fused = config.clip, fused
        self._clipped = [[p for module in group.values() for p in module.parameters()] for group in groups]
        modules = {name: module for group in groups for name, module in group.items()}
        rates = {name: config.learning_rate * (factors or {}).get(name, 1.0) for name in modules}
        rate_groups = [
            {"params": [p for name, module in modules.items() if rates[name] == rate for p in module.parameters()],
             "lr": rate}
            for rate in dict.fromkeys(rates.values())
        ]  # fmt: skip
        # The configured rate comes first, as the one that is logged.
        rate_groups.sort(key=lambda group: group["lr"] != config.learning_rate)
        # Without weight decay AdamW is Adam, to the bit.
        self._optimizer = torch.optim.AdamW(
            rate_groups,
            lr=config.learning_rate,
            eps=config.epsilon,
            weight_decay=weight_decay,
            fused=fused,
            foreach=False,
        )
        self._schedule = torch.optim.lr_scheduler.LambdaLR(
            self._optimizer, lambda update: learning_rate_factor(update, config)
        )

    @property
    def learning_rate(self) -> float:
        """The learning rate of the next step, for modules without a factor."""
        return float(self._optimizer.param_groups[0]["lr"])

    def step(self, loss: Tensor) -> Tensor:
        """Minimise a scalar: compute gradients, clip each group, step, advance the schedule.

        Returns:
            A boolean scalar on the device: whether the loss and all gradients are finite. If not, no parameter changes.
        """
        self.zero_grad()
        loss.backward()
        norms = [torch.nn.utils.clip_grad_norm_(parameters, self._clip) for parameters in self._clipped]
        finite = torch.isfinite(torch.stack([loss.detach(), *norms])).all()
        if self._fused:
            # The fused kernel skips the step where this is set, as gradient scalers do, so the host need not wait.
            self._optimizer.found_inf = (~finite).float()  # type: ignore[attr-defined]
        if self._fused or finite:
            self._optimizer.step()
            self._schedule.step()
        return finite

    def zero_grad(self) -> None:
        """Drop the gradients of the last step."""
        self._optimizer.zero_grad(set_to_none=True)

    def state_dict(self) -> dict[str, Any]:
        """Return the states of Adam and of the schedule."""
        return {"optimizer": self._optimizer.state_dict(), "schedule": self._schedule.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a state of the same modules."""
        self._optimizer.load_state_dict(state["optimizer"])
        self._schedule.load_state_dict(state["schedule"])
