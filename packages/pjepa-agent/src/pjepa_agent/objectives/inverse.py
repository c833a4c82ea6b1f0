"""Action prediction: which action leads from one observation to the next (Kondapaneni and Perona, 2024).

    L = CE(softmax C(E(o), E(o')), code of a) + w_T ||T(E(o), a) - E(o')||^2 / d

C is, as there, a PReLU on both embeddings side by side and two linear layers of width 256 with nothing in between.

Source: `model/networks.py` and `training/model2.py` of github.com/nkondapa/ManipulationToNumberSense.

Deviations: theirs has no T (``transition_weight=0``, the default: T then learns beside it, on detached embeddings);
with a weight, L_dyn reaches the encoder as in P-JEPA. The encoder is the configured one; theirs has two dimensions on
features of an AlexNet. An action is told by its code, in the counting world whether it adds or removes. P learns beside
it, on detached embeddings.
"""

import dataclasses
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from pjepa_agent.config.schema import Weight
from pjepa_agent.model import WorldModel
from pjepa_agent.networks.heads import masked_mean
from pjepa_agent.objectives.base import Batch, EncoderObjective, Setup, Terms
from pjepa_agent.objectives.losses import reached_embeddings, rollout_loss

WIDTH = 256
"""Width of the classifier's hidden layer."""


@dataclasses.dataclass(frozen=True)
class InverseSettings:
    """Settings of `InverseObjective`."""

    transition_weight: Weight = 0.0
    """Weight of L_dyn; 0: no part of the objective."""


class InverseObjective(EncoderObjective):
    """Classify the action between two observations (``inverse``), with or without L_dyn (``transition``)."""

    Settings: ClassVar[type[Any]] = InverseSettings
    needs = frozenset({"action"})
    stochastic = False
    codes: Tensor

    def __init__(self, setup: Setup, settings: Any = None) -> None:
        super().__init__(setup, settings)
        self.register_buffer("codes", torch.tensor(setup.codes))
        self.classifier = nn.Sequential(
            nn.PReLU(), nn.Linear(2 * setup.config.network.latent_dim, WIDTH), nn.Linear(WIDTH, len(setup.codes))
        )
        self.weights = {"inverse": 1.0}
        if self.settings.transition_weight:
            self.weights["transition"] = self.settings.transition_weight

    @property
    def trains(self) -> frozenset[str]:
        """Name T where L_dyn is a part of the objective."""
        return frozenset({"dynamics"} if self.settings.transition_weight else ())

    def terms(self, model: WorldModel, batch: Batch) -> Terms:
        """Compute one or both losses; see `Objective.terms`. Codes that rank 0 has never seen are left out."""
        embedding, code = self.encode(model, batch), batch["code"]
        before, after = embedding[:-1].transpose(0, 1), reached_embeddings(embedding)
        logits = self.classifier(torch.cat([before, after], -1)).float()
        place = torch.searchsorted(self.codes, code).clamp(max=len(self.codes) - 1)
        wrong = nn.functional.cross_entropy(logits.flatten(0, 1), place.flatten(), reduction="none")
        losses = {"inverse": masked_mean(wrong.view(code.shape), batch["present"] & (self.codes[place] == code))}
        if self.settings.transition_weight:
            losses["transition"] = rollout_loss(model.rollout(embedding[0], batch["action"]), after, batch["present"])
        return Terms(losses, embedding)
