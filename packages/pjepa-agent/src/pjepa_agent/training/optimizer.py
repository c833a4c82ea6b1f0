"""The optimiser: Adam, clipped gradients, and a schedule of the learning rate."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from pjepa_agent.compute.scalars import Scalar
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

    The fused kernel reads learning rates from tensors on the device, which `prepare` writes. So `minimize` can be
    captured in a graph.

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
        self._config, self._clip, self._fused, self._steps = config, config.clip, fused, 0
        self._clipped = [[p for module in group.values() for p in module.parameters()] for group in groups]
        modules = {name: module for group in groups for name, module in group.items()}
        rates = {name: config.learning_rate * (factors or {}).get(name, 1.0) for name in modules}
        # The configured rate comes first, as the one that is logged.
        self._rates = sorted(dict.fromkeys(rates.values()), key=lambda rate: rate != config.learning_rate)
        # Without weight decay AdamW is Adam, to the bit.
        self._optimizer = torch.optim.AdamW(
            [
                {"params": [p for name, module in modules.items() if rates[name] == rate for p in module.parameters()],
                 "lr": rate, "initial_lr": rate}
                for rate in self._rates
            ],
            lr=config.learning_rate,
            eps=config.epsilon,
            weight_decay=weight_decay,
            fused=fused,
            foreach=False,
        )  # fmt: skip
        place = _place_of_rate(self._clipped[0][0])
        self._scalars = [Scalar(*place) for _ in self._rates]
        self._give_rates()

    @property
    def learning_rate(self) -> float:
        """The learning rate of the next step, for modules without a factor."""
        return self._rates[0] * learning_rate_factor(self._steps, self._config)

    @property
    def device_rates(self) -> list[Tensor]:
        """The learning rates that the fused kernel reads, one a group of modules that share one."""
        return [scalar.tensor for scalar in self._scalars]

    def step(self, loss: Tensor) -> Tensor:
        """Minimise a scalar at the next learning rate of the schedule; see `minimize`."""
        self.prepare()
        finite = self.minimize(loss)
        self.advance()
        return finite

    def prepare(self) -> None:
        """Write the learning rates of the next step to the device."""
        factor = learning_rate_factor(self._steps, self._config)
        for rate, scalar, group in zip(self._rates, self._scalars, self._optimizer.param_groups, strict=True):
            if self._fused:
                scalar.set(rate * factor)
            else:
                group["lr"] = rate * factor

    def minimize(self, loss: Tensor) -> Tensor:
        """Compute gradients of a scalar, clip each group, and step. The fused kernel asks the host for nothing.

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
        return finite

    def advance(self) -> None:
        """Go on to the next learning rate of the schedule."""
        self._steps += 1

    def forget(self) -> None:
        """Begin anew with Adam's moments, where a loss is another from now on."""
        self._optimizer.state.clear()

    def scale_rates(self, factor: float) -> None:
        """Multiply all learning rates from the next step on."""
        self._rates = [factor * rate for rate in self._rates]

    def allow_capture(self, allowed: bool) -> None:
        """Allow PyTorch to capture steps in a graph. Where it may, a step outside of one is warned of."""
        for group in self._optimizer.param_groups:
            group["capturable"] = allowed

    def zero_grad(self) -> None:
        """Drop the gradients of the last step."""
        self._optimizer.zero_grad(set_to_none=True)

    def state_dict(self) -> dict[str, Any]:
        """Return the states of Adam and of the schedule, learning rates as numbers."""
        state = self._optimizer.state_dict()
        factor = learning_rate_factor(self._steps, self._config)
        for rate, group in zip(self._rates, state["param_groups"], strict=True):
            group |= {"lr": rate * factor, "capturable": False}
        return {"optimizer": state, "schedule": {"last_epoch": self._steps}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a state of the same modules."""
        self._optimizer.load_state_dict(state["optimizer"])
        self._steps = int(state["schedule"]["last_epoch"])
        self._give_rates()

    def _give_rates(self) -> None:
        """Let the optimiser read the learning rates where `prepare` writes them."""
        if self._fused:
            for scalar, group in zip(self._scalars, self._optimizer.param_groups, strict=True):
                group["lr"] = scalar.tensor
        self.prepare()


def _place_of_rate(parameter: Tensor) -> tuple[torch.device, torch.dtype]:
    """Return where the fused kernel reads a learning rate. That of the CPU takes a Python number's precision."""
    return parameter.device, torch.float64 if parameter.device.type == "cpu" else torch.float32
