"""What TD-MPC2 has for control on top of a world model: reward of an action, termination, Q and a policy prior."""

import math

import torch
from torch import Tensor, nn

from pjepa_agent.config.schema import NetworkConfig
from pjepa_agent.networks.heads import TwoHot, TwoHotHead
from pjepa_agent.networks.mlp import Ensemble, frozen_copy, mlp

LOG_STD_MIN, LOG_STD_MAX = -10.0, 2.0
"""Range of the logarithm of the policy prior's standard deviation, before the tanh; TD-MPC2's."""


class ControlHeads(nn.Module):
    """Action-conditioned reward, termination, Q and policy prior (paper Appendix D), with a slow copy of Q.

    They learn beside the model and never reach its encoder. The slow copy is no parameter: it is in the state
    dictionary, not among the 14,866,965.

    Args:
        network: sizes; `q_members` networks make up Q.
        action_dim: A, numbers of an action, each in [-1, 1].
    """

    def __init__(self, network: NetworkConfig, action_dim: int) -> None:
        super().__init__()
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
        self.slow_q = frozen_copy(self.q)

    def act(self, embedding: Tensor) -> tuple[Tensor, Tensor]:
        """Sample the policy prior, a Gaussian squashed by tanh.

        Args:
            embedding: (B, d).

        Returns:
            Actions (B, A) in [-1, 1], through which gradients flow, and the logarithms of their densities (B,).
        """
        mean, raw = self.policy(embedding).float().chunk(2, -1)
        log_std = LOG_STD_MIN + (LOG_STD_MAX - LOG_STD_MIN) * (raw.tanh() + 1) / 2
        noise = torch.randn_like(mean)
        unbounded = mean + noise * log_std.exp()
        log_density = -noise.square() / 2 - log_std - math.log(2 * math.pi) / 2
        # log(1 - tanh(u)^2) in a form that does not lose its digits where tanh(u) is nearly 1.
        log_slope = 2 * (math.log(2) - unbounded - nn.functional.softplus(-2 * unbounded))
        return unbounded.tanh(), (log_density - log_slope).sum(-1)

    def value(self, embedding: Tensor, action: Tensor) -> Tensor:
        """Q, averaged over its members, as a function of its arguments: (B, d) and (B, A) -> (B,).

        Gradients reach the arguments, not Q.
        """
        return self.two_hot.decode(self.q(torch.cat([embedding, action], -1), detached=True)).mean(0)

    @torch.no_grad()
    def td_target(self, reward: Tensor, terminated: Tensor, successor: Tensor, discount: float) -> Tensor:
        """What Q is to be: the reward of the step, and if the episode goes on what the slow Q expects from there.

        Of an ensemble, the smaller value of two members drawn at random is used, as in TD-MPC2.

        Args:
            reward: (B,).
            terminated: (B,) 0 or 1; a truncated episode would have gone on.
            successor: (B, d) embeddings.
            discount: of the next step.

        Returns:
            (B,).
        """
        action, _ = self.act(successor)
        values = self.two_hot.decode(self.slow_q(torch.cat([successor, action], -1)))
        if len(values) > 2:
            values = values[torch.randperm(len(values))[:2].to(values.device)]
        return reward + discount * (1 - terminated) * values.amin(0)

    @torch.no_grad()
    def follow(self, share: float) -> None:
        """Move the slow Q by `share` of its distance to Q (Polyak averaging)."""
        for slow, fast in zip(self.slow_q.buffers(), self.q.parameters(), strict=True):
            slow.lerp_(fast, share)

    def train(self, mode: bool = True) -> "ControlHeads":
        """As of any module, except that the slow Q stays in evaluation mode."""
        super().train(mode)
        self.slow_q.eval()
        return self
