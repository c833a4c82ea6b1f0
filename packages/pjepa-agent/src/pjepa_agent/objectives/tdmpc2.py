"""TD-MPC2: rewards, values and next embeddings along an imagined rollout (Hansen et al., 2024).

With z_0 = E(o_0), z_{t+1} = T(z_t, a_t), embeddings and predictions normalised by SimNorm, and rho = 0.5,

    L = sum_t rho^t / H (20 ||z_{t+1} - sg E(o_{t+1})||^2 / d + 0.1 CE(R(z_t, a_t), r_t) + 0.1 CE(Q(z_t, a_t), q_t)),
    q_t = r_t + gamma (1 - terminated_t) min of two target Qs at (sg E(o_{t+1}), a policy's action).

CE is the cross-entropy of two-hot codes, less their entropy. Five Qs are averaged, and the target Qs follow by Polyak
averaging. A policy prior maximises Q on detached z_t.

Source: `tdmpc2.py` and `config.yaml` of github.com/nicklashansen/tdmpc2, which weighs by 20, 0.1 and 0.1 (the paper's
10, 0.5, 1 is a misprint, says its author). Horizon 3, gradient clip 20 and SimNorm come with ``--objective tdmpc2``;
``objective.discount``, ``objective.polyak`` and ``objective.entropy_weight`` are 0.95, 0.01 and 1e-4.

Deviations: the policy's loss is a term of the same optimiser, and Q is not divided by its running range there. Where
actions have no bounds there is no policy: q_t takes the best of 8 actions drawn from the batch. Terminated steps end
the value, as the data says it. Steps beyond the end of an episode are masked. Whether the episode ends is not predicted
(``episodic=false`` there too). P learns beside it, on detached embeddings.
"""

import dataclasses
from typing import Annotated, Any, ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from pjepa_agent.config.fields import Between
from pjepa_agent.config.schema import Weight
from pjepa_agent.model import WorldModel
from pjepa_agent.networks.control import ControlHeads
from pjepa_agent.objectives.base import Batch, EncoderObjective, Setup, Terms
from pjepa_agent.objectives.losses import decayed_mean, reached_embeddings

PROPOSED = 8
"""Actions of the batch of which the best is taken where there is no policy."""


@dataclasses.dataclass(frozen=True)
class TDMPC2Settings:
    """Settings of `TDMPC2Objective`."""

    transition_weight: Weight = 20.0
    """Weight of the squared error of T, averaged over dimensions."""
    reward_weight: Weight = 0.1
    """Weight of the reward's cross-entropy."""
    value_weight: Weight = 0.1
    """Weight of the cross-entropy of Q."""
    policy_weight: Weight = 0.1
    """Weight of the policy prior's loss, which reaches nothing else."""
    decay: Annotated[float, Between(0, 1)] = 0.5
    """Weight rho of a step relative to the one before."""
    members: Annotated[int, Between(2, 2**10)] = 5
    """Networks in the ensemble of Q."""


class TDMPC2Objective(EncoderObjective):
    """Predict ``transition``, ``reward`` and ``value`` along a rollout; a ``policy`` where actions have bounds."""

    Settings: ClassVar[type[Any]] = TDMPC2Settings
    needs = frozenset({"reward", "terminated"})
    after_step_on_device = True

    def __init__(self, setup: Setup, settings: Any = None) -> None:
        super().__init__(setup, settings)
        chosen, bounds = self.settings, (setup.spec.action_low, setup.spec.action_high)
        network = dataclasses.replace(setup.config.network, q_members=chosen.members)
        self.heads = ControlHeads(network, setup.spec.action_dim, *bounds)
        self.heads.termination = nn.Sequential()  # which nothing here trains
        self.weights = {
            "transition": chosen.transition_weight,
            "reward": chosen.reward_weight,
            "value": chosen.value_weight,
        }
        # The counting world's actions are in [-1, 1] as they are.
        self.has_policy = setup.spec.action_low is not None or setup.config.counting
        if self.has_policy:
            self.weights["policy"] = chosen.policy_weight
        else:
            self.heads.policy = nn.Sequential()

    def terms(self, model: WorldModel, batch: Batch) -> Terms:
        """Compute all losses; see `Objective.terms`."""
        embedding, present, decay = self.encode(model, batch), batch["present"], self.settings.decay
        reached = reached_embeddings(embedding).detach()
        imagined = model.rollout(embedding[0], batch["action"]).float()
        states = torch.cat([embedding[0].unsqueeze(1), imagined], 1)
        features = self.heads.joined(states[:, :-1], batch["action"]).flatten(0, 1)
        reward, target = batch["reward"].float(), self._targets(batch, reached)

        of_transition = (imagined - reached).square().mean(-1)
        of_reward = self.heads.two_hot.divergence(self.heads.reward(features), reward.flatten())
        values = self.heads.q(features)
        of_value = self.heads.two_hot.divergence(values, target.flatten().expand(len(values), -1)).mean(0)
        losses = {
            "transition": decayed_mean(of_transition, present, decay),
            "reward": decayed_mean(of_reward.view_as(reward), present, decay),
            "value": decayed_mean(of_value.view_as(reward), present, decay),
        }
        if self.has_policy:
            losses["policy"] = self._policy_loss(states.detach(), present)
        return Terms(losses, embedding)

    def after_step(self, model: WorldModel) -> None:
        """Move the target Qs by the configured share of their distance to Q."""
        self.heads.update_target(self.config.objective.polyak)

    @torch.no_grad()
    def _targets(self, batch: Batch, reached: Float[Tensor, "batch horizon latent"]) -> Float[Tensor, "batch horizon"]:
        """Compute the TD targets of all steps from the embeddings of the observations that they reach."""
        reward, terminated = batch["reward"].float(), batch["terminated"].float()
        flat = reached.flatten(0, 1)
        if self.has_policy:
            discount = self.config.objective.discount
            found = self.heads.td_target(reward.flatten(), terminated.flatten(), flat, discount)
            return found.view_as(reward)
        value = self._best_value(flat, batch["action"][:, 0]).view_as(reward)
        return reward + self.config.objective.discount * (1 - terminated) * value

    def _best_value(
        self, embedding: Float[Tensor, "frames latent"], actions: Float[Tensor, "batch action"]
    ) -> Float[Tensor, " frames"]:
        """Return the largest target Q of some of the actions of a batch, the smaller of two members' for each."""
        chosen = torch.randint(len(actions), (PROPOSED, len(embedding)), device=embedding.device)
        members = torch.randperm(self.settings.members, device=embedding.device)[:2]
        features = self.heads.joined(embedding.expand(PROPOSED, -1, -1), actions[chosen]).flatten(0, 1)
        values = self.heads.two_hot.decode(self.heads.target_q(features))[members].amin(0)
        return values.view(PROPOSED, -1).amax(0)

    def _policy_loss(
        self, states: Float[Tensor, "batch steps latent"], present: Bool[Tensor, "batch horizon"]
    ) -> Float[Tensor, ""]:
        """Compute the policy prior's loss on imagined embeddings, detached: entropy and Q, whose weights stay."""
        flat = states.flatten(0, 1)
        action, log_density = self.heads.act(flat)
        loss = self.config.objective.entropy_weight * log_density - self.heads.value(flat, action)
        there = nn.functional.pad(present, (1, 0), value=True)
        return decayed_mean(loss.view_as(there), there, self.settings.decay)
