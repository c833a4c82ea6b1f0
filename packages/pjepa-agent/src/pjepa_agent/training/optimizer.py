"""How a loss is minimised: Adam, a gradient clip, and the course of the learning rate."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from pjepa_agent.config.schema import OptimizationConfig


def learning_rate_factor(update: int, config: OptimizationConfig) -> float:
    """Share of the largest learning rate at an update: linear warm-up, then a cosine to zero at the end, or one."""
    warmup = min(config.warmup, config.updates - 1)
    if update < warmup:
        return (update + 1) / warmup
    if config.schedule == "constant":
        return 1.0
    progress = (update - warmup) / max(config.updates - warmup, 1)
    return 0.5 * (1 + math.cos(math.pi * progress))


class Optimization:
    """Adam on some modules, whose gradients are clipped in groups.

    Args:
        clipped: modules by name; the norm that is clipped is that of all gradients of one mapping.
        config: learning rate, schedule and clip.
        factors: by name, a module's learning rate over that of the configuration.
        fused: one kernel for all parameters instead of several for each.
        weight_decay: decoupled weight decay, per unit of learning rate.
    """

    def __init__(
        self,
        clipped: Sequence[Mapping[str, nn.Module]],
        config: OptimizationConfig,
        factors: Mapping[str, float] | None = None,
        fused: bool = True,
        weight_decay: float = 0.0,
    ) -> None:
        self._clip, self._fused = config.clip, fused
        self._clipped = [[p for module in group.values() for p in module.parameters()] for group in clipped]
        modules = {name: module for group in clipped for name, module in group.items()}
        rates = {name: config.learning_rate * (factors or {}).get(name, 1.0) for name in modules}
        groups = [
            {"params": [p for name, module in modules.items() if rates[name] == rate for p in module.parameters()],
             "lr": rate}
            for rate in dict.fromkeys(rates.values())
        ]  # fmt: skip
        # A whole rate first among the groups, so that it is the one that is shown.
        groups.sort(key=lambda group: group["lr"] != config.learning_rate)
        # Without weight decay AdamW is Adam, to the bit.
        self._optimizer = torch.optim.AdamW(
            groups, lr=config.learning_rate, eps=config.epsilon, weight_decay=weight_decay, fused=fused, foreach=False
        )
        self._schedule = torch.optim.lr_scheduler.LambdaLR(
            self._optimizer, lambda update: learning_rate_factor(update, config)
        )

    @property
    def learning_rate(self) -> float:
        """Of the modules without a factor, at the next step."""
        return float(self._optimizer.param_groups[0]["lr"])

    def step(self, loss: Tensor) -> Tensor:
        """Go down the gradient of a scalar; whether it and its gradient are finite, as a scalar of the device.

        Where they are not, no parameter changes. The fused kernel sees to that without anyone waiting for the device.
        """
        self.forget()
        loss.backward()
        norms = [torch.nn.utils.clip_grad_norm_(parameters, self._clip) for parameters in self._clipped]
        finite = torch.isfinite(torch.stack([loss.detach(), *norms])).all()
        if self._fused:
            self._optimizer.found_inf = (~finite).float()  # type: ignore[attr-defined]  # as a gradient scaler does
        if self._fused or finite:
            self._optimizer.step()
            self._schedule.step()
        return finite

    def forget(self) -> None:
        """Drop the last gradients, before anything of the next step: a CUDA graph keeps them where it writes others."""
        self._optimizer.zero_grad(set_to_none=True)

    def state_dict(self) -> dict[str, Any]:
        """What `load_state_dict` takes."""
        return {"optimizer": self._optimizer.state_dict(), "schedule": self._schedule.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state of an optimisation of the same modules."""
        self._optimizer.load_state_dict(state["optimizer"])
        self._schedule.load_state_dict(state["schedule"])
