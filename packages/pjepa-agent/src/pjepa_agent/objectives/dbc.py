"""DBC: distances of embeddings equal a bisimulation metric (Zhang et al., 2021).

With a random permutation j of the batch, T and its deviation S at mu = T(E(o), a), sigma = S(E(o), a), and eps normal,

    L = w_m E (D_z(i, j) - D_r(i, j) - gamma D_T(i, j))^2
      + w_T E (((mu - sg E(o')) / sigma)^2 / 2 + log sigma) + w_R E (R(mu + sigma eps) - r)^2.

The last two reach the encoder through T's input. D_r and D_T are constants in the first.

- ``form=code``: per dimension, D_z is the smooth L1 of the embeddings, D_r that of the rewards, and
  D_T = sqrt((mu_i - mu_j)^2 + (sigma_i - sigma_j)^2), with each its own action.
- ``form=paper``: D_z = ||z_i - z_j||_1, D_r the difference of predicted rewards, and D_T the
  2-Wasserstein distance of the two normal distributions, under the policy's actions.

``probabilistic=false`` takes sigma as 1 in the second term, and in D_T as 0.

Source: Equation 4 of the paper, and `bisim_agent.py` of github.com/facebookresearch/deep_bisim4control.

Deviations: no agent is trained, so neither a critic nor a policy reaches the encoder. The policy of the data does not
depend on the observation, so in the paper's form both of a pair are given one action of it, that of i. The encoder
is the configured one, without their layer normalisation and 50 dimensions
(``network.latent_normalization=layer``, ``network.latent_dim=50``). P learns beside it, on detached embeddings.
"""

import dataclasses
from typing import Annotated, Any, ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pjepa_agent.config.fields import Between
from pjepa_agent.config.schema import Weight
from pjepa_agent.model import WorldModel
from pjepa_agent.networks.mlp import mlp
from pjepa_agent.objectives.base import Batch, EncoderObjective, Setup, Terms

LEAST_DEVIATION, MOST_DEVIATION = 1e-4, 10.0
"""Range of T's deviations, as in the public code."""


@dataclasses.dataclass(frozen=True)
class DBCSettings:
    """Settings of `DBCObjective`."""

    form: Literal["code", "paper"] = "code"
    """Distances of the public code, or of the paper."""
    metric_weight: Weight = 0.5
    """Weight of the metric's squared error."""
    transition_weight: Weight = 1.0
    """Weight of the negative log-likelihood of T."""
    reward_weight: Weight = 1.0
    """Weight of the squared error of the reward."""
    discount: Annotated[float, Between(0, 1)] = 0.99
    """Discount gamma of the metric."""
    probabilistic: bool = True
    """T predicts a deviation of each dimension too."""


class DBCObjective(EncoderObjective):
    """Fit distances to those of rewards and successors (``metric``), with ``transition`` and ``reward``."""

    Settings: ClassVar[type[Any]] = DBCSettings
    needs = frozenset({"reward"})
    most_horizon = 1

    def __init__(self, setup: Setup, settings: Any = None) -> None:
        super().__init__(setup, settings)
        network, chosen = setup.config.network, self.settings
        d, hidden, initialization = network.latent_dim, network.hidden_dim, network.initialization
        self.reward = mlp(d, hidden, 3, 1, initialization=initialization)
        self.deviation = None
        if chosen.probabilistic:
            self.deviation = mlp(d + setup.spec.action_dim, hidden, 2, d, initialization=initialization)
        self.weights = {
            "metric": chosen.metric_weight,
            "transition": chosen.transition_weight,
            "reward": chosen.reward_weight,
        }

    def terms(self, model: WorldModel, batch: Batch) -> Terms:
        """Compute the three losses; see `Objective.terms`."""
        embedding = self.encode(model, batch)
        source, successor = embedding[0], embedding[1].detach()
        action, reward = batch["action"][:, 0], batch["reward"][:, 0].float()
        mean, deviation = self._predict(model, source, action)
        scale = torch.ones_like(mean) if deviation is None else deviation
        sample = mean if deviation is None else mean + deviation * torch.randn_like(deviation)
        losses = {
            "metric": self._metric_loss(model, source, action, reward),
            "transition": (((mean - successor) / scale).square() / 2 + scale.log()).mean(),
            "reward": nn.functional.mse_loss(self.reward(sample).float().squeeze(-1), reward),
        }
        return Terms(losses, embedding)

    def _predict(
        self, model: WorldModel, embedding: Float[Tensor, "batch latent"], action: Float[Tensor, "batch action"]
    ) -> tuple[Float[Tensor, "batch latent"], Float[Tensor, "batch latent"] | None]:
        """Return mean and deviation of the next embedding, both float32; None without a deviation."""
        mean = model.transition(embedding, action).float()
        if self.deviation is None:
            return mean, None
        share = torch.sigmoid(self.deviation(model.with_action(embedding, action)).float())
        return mean, LEAST_DEVIATION + (MOST_DEVIATION - LEAST_DEVIATION) * share

    def _metric_loss(
        self,
        model: WorldModel,
        source: Float[Tensor, "batch latent"],
        action: Float[Tensor, "batch action"],
        reward: Float[Tensor, " batch"],
    ) -> Float[Tensor, ""]:
        """Compute the squared error of the distances of embeddings from the metric's, which is a constant."""
        other = torch.randperm(len(source), device=source.device)
        distance = self._code_metric if self.settings.form == "code" else self._paper_metric
        with torch.no_grad():
            target = distance(model, source, action, reward, other)
        if self.settings.form == "code":
            found = nn.functional.smooth_l1_loss(source, source[other], reduction="none")
        else:
            found = (source - source[other]).abs().sum(-1)
        return (found - target).square().mean()

    def _code_metric(
        self, model: WorldModel, source: Tensor, action: Tensor, reward: Tensor, other: Tensor
    ) -> Float[Tensor, "batch latent"]:
        mean, deviation = self._predict(model, source, action)
        squared = (mean - mean[other]).square()
        if deviation is not None:
            squared = squared + (deviation - deviation[other]).square()
        of_reward = nn.functional.smooth_l1_loss(reward, reward[other], reduction="none")
        return of_reward[:, None] + self.settings.discount * squared.sqrt()

    def _paper_metric(
        self, model: WorldModel, source: Tensor, action: Tensor, reward: Tensor, other: Tensor
    ) -> Float[Tensor, " batch"]:
        first, second = self._predict(model, source, action), self._predict(model, source[other], action)
        squared = (first[0] - second[0]).square().sum(-1)
        if first[1] is not None and second[1] is not None:
            squared = squared + (first[1] - second[1]).square().sum(-1)
        predicted = [self.reward(mean).float().squeeze(-1) for mean, _ in (first, second)]
        return (predicted[0] - predicted[1]).abs() + self.settings.discount * squared.sqrt()
