"""Section `collection` of config.json: the world of a run, and who collects in it."""

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pjepa_agent.config.fields import Between

COUNTING = "CountingEnv-v0"
"""Environment of the paper. Fields that are said to be of another world change nothing in it."""

GIVEN = "<given>"
"""Stands for a dataset or an encoder that was given as an object, to which no name leads."""

ACTING = ("planner", "prior")
"""Policies of the model that is trained."""


@dataclass(frozen=True)
class CollectionConfig:
    """Transitions that a random policy collects (paper Appendix D), in the counting world or in another."""

    environment: str = COUNTING
    """Registered Gymnasium environment, MODULE:ID to import a module first, or module:function that returns one."""
    arguments: dict[str, Any] = field(default_factory=dict)
    """Keyword arguments of another environment than the counting one, as a JSON object."""
    dataset: str = ""
    """Dataset to train on, all of it, in place of an environment: a path, or the id of a Minari dataset."""
    observation: Literal["auto", "image", "render", "vector"] = "auto"
    """Observation of another environment; auto: its image if it has one, else what it renders, else its vector."""
    size: Annotated[int, Between(0, 2**12)] = 0
    """Height and width that images of another environment are resized to; 0: their own."""
    grayscale: bool = False
    """Take away the colours of another environment's images."""
    stack: Annotated[int, Between(1, 64)] = 1
    """Latest observations of another environment that make up one, along the channels of images."""
    actions: str = "auto"
    """Codes of continuous actions of another world: sign, or bins:K; auto: sign for one number, bins:3 for more."""
    terminal: Literal["leaf", "absorb"] = "leaf"
    """Successor of a terminal observation in another world: none, or itself under every action."""
    policy: str = "random"
    """Policy: random; planner or prior, of the model while it trains; module:function in another environment."""
    planning: dict[str, Any] = field(default_factory=dict)
    """Settings of the policy planner, as a JSON object: horizon, samples, elites and others of docs/planning.md."""
    epsilon: Annotated[float, Between(0, 1)] = 0.1
    """Probability of a random action at a step, with the policy planner or prior. It is held like other random ones."""
    environments: Annotated[int, Between(1, 2**12)] = 16
    """Copies of another environment, or of any while planner or prior acts, that are stepped side by side."""
    held_out: Annotated[float, Between(0.01, 0.9)] = 0.2
    """Share of the episodes of another world that are kept for measuring."""
    target: Annotated[int, Between(0, 8)] = 4
    """Rewarded count n of the counting world."""
    max_episode_steps: Annotated[int, Between(0, 10**9)] = 4
    """Steps after which an episode is truncated; 0: as another environment is registered."""
    transitions: Annotated[int, Between(2, 10**9)] = 60_000
    """Number of transitions to collect before training; online, the capacity of the replay buffer."""
    action_repeat: Annotated[int, Between(1, 10**9)] = 4
    """Steps for which a random action is held. A new episode always draws a new one."""
    online: bool = False
    """Collect while training, as the paper does, instead of before it. The policies planner and prior always do."""
    initial_transitions: Annotated[int, Between(1, 10**9)] = 1_000
    """Online: transitions in the replay buffer at the first update. They count towards `steps_per_update`."""
    steps_per_update: Annotated[int, Between(1, 10**6)] = 1
    """Online: environment steps per update. Update u (from 1) sees max(initial_transitions, u steps_per_update)."""

    @property
    def acts(self) -> bool:
        """True where the model that is trained chooses the actions."""
        return self.policy in ACTING

    @property
    def while_training(self) -> bool:
        """True where transitions are collected while the run trains."""
        return self.online or self.acts
