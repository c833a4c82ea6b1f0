"""TD-MPC2's heads for control on top of a world model: reward of an action, termination, Q and a policy prior."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pjepa_agent.config.schema import NetworkConfig
from pjepa_agent.networks.actions import ScaledActions
from pjepa_agent.networks.heads import TwoHot, TwoHotHead
from pjepa_agent.networks.mlp import Ensemble, frozen_copy, mlp

LOG_STD_MIN, LOG_STD_MAX = -10.0, 2.0
"""Range of the logarithm of the policy prior's standard deviation before the tanh, as in TD-MPC2."""


class ControlHeads(ScaledActions):
    """Predict action-conditioned reward, termination and Q, and propose actions (paper Appendix D).

    They are trained on detached embeddings. The target Q is saved with them, but its weights are buffers: they are
    none of the paper's 14,866,965 parameters.

    Args:
        network: sizes; `q_members` networks make up Q.
        action_dim: A, the number of values of an action. The heads take and propose them in [-1, 1], see `scaled`.
        low, high: (A,) bounds of actions in the data, see `ScaledActions`.
    """

    def __init__(
        self,
        network: NetworkConfig,
        action_dim: int,
        low: Sequence[float] | None = None,
        high: Sequence[float] | None = None,
    ) -> None:
        super().__init__(low, high)
        d, hidden, initialization = network.latent_dim, network.hidden_dim, network.initialization
        self.two_hot = TwoHot(network.bins)
        self.reward = TwoHotHead(d + action_dim, hidden, network.bins, initialization)
        self.termination = mlp(d, hidden, 3, 1, initialization=initialization)
        self.policy = mlp(d, hidden, 3, 2 * action_dim, initialization=initialization)
        self.q = Ensemble(
            [
                mlp(d + action_dim, hidden, 3, network.bins, True, initialization, network.q_dropout)
                for _ in range(network.q_members)
            ]
        )
        self.target_q = frozen_copy(self.q)
        self.register_load_state_dict_pre_hook(_rename_slow_q)

    def joined(
        self, embedding: Float[Tensor, "*batch latent"], action: Float[Tensor, "*batch action"]
    ) -> Float[Tensor, "*batch features"]:
        """Join embeddings (..., d) and scaled actions (..., A): what reward and Q are given."""
        return torch.cat([embedding, self.scaled(action.float())], -1)

    def act(
        self, embedding: Float[Tensor, "batch latent"]
    ) -> tuple[Float[Tensor, "batch action"], Float[Tensor, " batch"]]:
        """Sample the policy prior, a Gaussian squashed by tanh.

        Returns:
            Actions in [-1, 1], through which gradients flow, and the logarithms of their densities.
        """
        mean, raw = self.policy(embedding).float().chunk(2, -1)
        log_std = LOG_STD_MIN + (LOG_STD_MAX - LOG_STD_MIN) * (raw.tanh() + 1) / 2
        noise = torch.randn_like(mean)
        unbounded = mean + noise * log_std.exp()
        log_density = -noise.square() / 2 - log_std - math.log(2 * math.pi) / 2
        # log(1 - tanh(u)^2) in a form that does not lose its digits where tanh(u) is nearly 1.
        log_slope = 2 * (math.log(2) - unbounded - nn.functional.softplus(-2 * unbounded))
        return unbounded.tanh(), (log_density - log_slope).sum(-1)

    def value(
        self, embedding: Float[Tensor, "batch latent"], action: Float[Tensor, "batch action"]
    ) -> Float[Tensor, " batch"]:
        """Average Q over its members. Gradients reach the arguments, not the parameters of Q."""
        return self.two_hot.decode(self.q(torch.cat([embedding, action], -1), detached=True)).mean(0)

    @torch.no_grad()
    def td_target(
        self,
        reward: Float[Tensor, " batch"],
        terminated: Float[Tensor, " batch"],
        successor: Float[Tensor, "batch latent"],
        discount: float,
    ) -> Float[Tensor, " batch"]:
        """Compute the TD target of Q: the reward, plus the discounted target Q of the successor unless terminated.

        Of an ensemble it takes the smaller value of two members drawn at random, as TD-MPC2 does.

        Args:
            reward: of the step.
            terminated: 0 or 1; 0 for a truncated episode.
            successor: embeddings of the successors.
            discount: of the next step.
        """
        action, _ = self.act(successor)
        values = self.two_hot.decode(self.target_q(torch.cat([successor, action], -1)))
        if len(values) > 2:
            values = values[torch.randperm(len(values), device=values.device)[:2]]
        return reward + discount * (1 - terminated) * values.amin(0)

    @torch.no_grad()
    def update_target(self, share: float) -> None:
        """Move the target Q by `share` in [0, 1] of its distance to Q (Polyak averaging)."""
        torch._foreach_lerp_(list(self.target_q.buffers()), list(self.q.parameters()), share)

    def train(self, mode: bool = True) -> "ControlHeads":
        """Set the mode of all but the target Q, which stays in evaluation mode."""
        super().train(mode)
        self.target_q.eval()
        return self


def _rename_slow_q(heads: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """Load the target Q from a checkpoint of version 0.1, which calls it ``slow_q``."""
    old = f"{prefix}slow_q."
    for name in [name for name in state if name.startswith(old)]:
        state[f"{prefix}target_q.{name.removeprefix(old)}"] = state.pop(name)
