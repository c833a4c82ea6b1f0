"""Everything that defines a run, one dataclass per concern."""

import dataclasses
import functools
import types
import typing
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

from pjepa_agent.config.fields import ConfigError, assigned, from_plain

SINGLE_NUMBERS = ("reward", "q")
"""Auxiliary functions of one number per observation, whatever else is configured."""

RANDOM_MAPS = ("random", "random-network")
"""Auxiliary functions that are fixed at random."""

Experiment = Literal["reward", "random", "reward-only", "transition-only"]
EXPERIMENTS: tuple[str, ...] = typing.get_args(Experiment)


@dataclass(frozen=True)
class CollectionConfig:
    """Which transitions are collected (paper Appendix D)."""

    environment: Literal["CountingEnv-v0"] = "CountingEnv-v0"
    """Registered Gymnasium environment."""
    target: int = 4
    """The rewarded count n."""
    max_episode_steps: int = 4
    """Steps after which an episode is cut off."""
    transitions: int = 60_000
    """How many transitions the random policy collects; online, how many of the latest the buffer holds."""
    action_repeat: int = 4
    """Steps for which a random action is held; a new episode always draws a new one."""
    online: bool = False
    """Whether to collect while training, as the paper does, instead of before it."""
    initial: int = 1_000
    """Online, the transitions that are there at the first update; those of the first updates count among them."""
    steps_per_update: int = 1
    """Online, environment steps per update: at update u the policy has done max(initial, u steps_per_update)."""


@dataclass(frozen=True)
class NetworkConfig:
    """Sizes of encoder, dynamics and heads (paper Appendix D), and which of the optional parts there are."""

    latent_dim: int = 256
    """Dimensions of an embedding."""
    width: int = 16
    """Channels of the first of the encoder's four stages; each stage doubles them. The paper has 32."""
    blocks: int = 1
    """Basic blocks per stage. The paper has 8."""
    stem: Literal["pooled", "strided"] = "strided"
    """How the image comes to a quarter of its size before the first stage: by a convolution of stride 2 and a pool, as
    in the paper, or by one 8x8 convolution of stride 4, with which an update takes a third less time."""
    normalization: Literal["batch", "group", "none"] = "batch"
    """Normalisation in the encoder, by the batch or by eight groups of channels. The paper has none."""
    latent_normalization: Literal["none", "layer", "batch"] = "none"
    """Normalisation of the embedding itself, with nothing learnt: each to mean 0 and variance 1, or each dimension of a
    batch. The paper has none."""
    initialization: Literal["pytorch", "truncated-normal"] = "pytorch"
    """Linear layers: PyTorch's default, or standard deviation 0.02 and zero bias as in the authors' code."""
    convolution_gain: float = 0.0
    """Convolutions: 0 for PyTorch's default, as in the paper, or normal with this over sqrt(inputs); He's is 1.414."""
    black: float = -0.5
    """What a black pixel becomes, and a white one 1 more. The paper has -0.5."""
    pixel_scale: Literal["fixed", "image"] = "fixed"
    """What pixels are divided by: 255, as in the paper, or the largest value in the image, so that an image and a
    darker one of the same are embedded alike. What is nearly black becomes as bright as all else."""
    hidden_dim: int = 512
    """Width of the hidden layers of dynamics and heads."""
    bins: int = 101
    """Bins of a two-hot head, evenly spaced on symlog of the value in [-10, 10]."""
    control_heads: bool = False
    """Action-conditioned reward, termination, Q and policy prior, which learn without reaching the encoder."""
    q_members: int = 1
    """Networks in the ensemble that is Q."""
    q_dropout: float = 0.01
    """Dropout after the first layer of Q."""
    decoder: bool = False
    """A decoder of embeddings to images, which learns without reaching the encoder."""


@dataclass(frozen=True)
class ObjectiveConfig:
    """L = transition_weight L_dyn + auxiliary_weight L_p (paper Section 2.1), and what the other heads minimise.

    L_dyn is the squared error *averaged* over the dimensions of the embedding. The paper writes the squared norm, which
    is `latent_dim` times as large: its c_p is auxiliary_weight / transition_weight * latent_dim.
    """

    auxiliary: str = "reward"
    """The auxiliary function p, by a name that `pjepa_agent.auxiliary.make_function` knows."""
    auxiliary_dim: int = 256
    """Values k of p per observation, of which `reward` and `q` always have one. 0: a single number, as (F,)."""
    transition_weight: float = 0.2
    """Weight of L_dyn, the squared error averaged over the dimensions of the embedding."""
    auxiliary_weight: float = 10.0
    """Weight of L_p."""
    transition_warmup: float = 0.0
    """Share of the updates over which the weight of L_dyn rises, with their cube: p is learnt before much is merged."""
    horizon: int = 1
    """Steps that T is applied over, from one embedding; L_dyn is the mean over those that the episode has."""
    latent_noise: float = 0.0
    """Noise on what T and P are given, as a share of the embeddings' spread in the batch."""
    regularizer: Literal["none", "sigreg", "vicreg"] = "none"
    """A term against collapse from other JEPAs, for comparison."""
    regularizer_weight: float = 0.1
    """Weight of that term."""
    transition_reaches_encoder: bool = True
    """Whether L_dyn trains the encoder or the dynamics alone."""
    auxiliary_reaches_encoder: bool = True
    """Whether L_p trains the encoder or the auxiliary head alone."""
    action_reward_weight: float = 0.1
    """Weight of the action-conditioned reward's two-hot cross-entropy; TD-MPC2's."""
    termination_weight: float = 1.0
    """Weight of the termination's binary cross-entropy."""
    value_weight: float = 0.1
    """Weight of Q's two-hot cross-entropy against its TD target."""
    policy_weight: float = 0.11
    """Weight of the policy prior's loss."""
    entropy_weight: float = 1e-4
    """Weight of the policy prior's entropy against Q; TD-MPC2's."""
    discount: float = 0.95
    """Discount of Q and of the auxiliary `q`; what TD-MPC2 takes for episodes as short as these."""
    polyak: float = 0.01
    """Share of its distance to Q by which the slow copy of Q moves at every update; TD-MPC2's."""

    def at(self, progress: float) -> "ObjectiveConfig":
        """The objective with the weight that L_dyn has when this share of the updates, in (0, 1], is being done."""
        if progress >= self.transition_warmup:
            return self
        share = (progress / self.transition_warmup) ** 3
        return dataclasses.replace(self, transition_weight=self.transition_weight * share)

    @property
    def auxiliary_values(self) -> int:
        """Values k of p per observation; 0 for a single number, which a two-hot head regresses to."""
        return 0 if self.auxiliary in SINGLE_NUMBERS else self.auxiliary_dim


@dataclass(frozen=True)
class OptimizationConfig:
    """How the loss is minimised: Adam, linear warm-up, then a schedule. Each optional part has a clip of its own."""

    updates: int = 3_000
    """Optimisation steps."""
    batch_size: int = 128
    """Transitions per step, drawn with replacement; the encoder sees both observations of each."""
    learning_rate: float = 1e-3
    """Largest learning rate."""
    encoder_learning_rate_factor: float = 1.0
    """The encoder's learning rate over that of the rest. The paper has 0.3."""
    schedule: Literal["cosine", "constant"] = "cosine"
    """What follows the warm-up: a cosine to zero at the last update, or the largest rate throughout (the paper)."""
    warmup: int = 100
    """Steps over which the learning rate rises to its largest value."""
    clip: float = 200.0
    """Largest gradient norm."""
    epsilon: float = 1e-8
    """What Adam adds to the root of the second moment: gradients well below it are followed in proportion."""
    weight_decay: float = 0.0
    """Decoupled weight decay, per unit of learning rate."""
    averaging: float = 0.0
    """How far back the average of all weights reaches, which is what is evaluated and loaded: the mean age of what is
    averaged, as a share of the updates so far. 0: the weights themselves."""
    autocast: bool = True
    """Compute the forward pass in bfloat16, on a device that has it."""


@dataclass(frozen=True)
class ComputeConfig:
    """How a device does it. All of this is for speed: turned off, the same is learnt, and it takes longer."""

    joint_batch: bool = True
    """Encode all observations of a batch of transitions at once, or those that are reached by themselves. With batch
    normalisation, where what is encoded together shares statistics, this changes what is computed."""
    channels_last: bool = True
    """Keep the channels of a pixel together in convolutions that are not very narrow."""
    dense: bool = True
    """Compute 3x3 convolutions of maps of 2x2 as the matrix products that they are."""
    fused: bool = True
    """Adam for all parameters in one kernel."""
    compile: Literal["auto", "on", "off"] = "auto"
    """Compile the losses; auto: on a CUDA device, there as CUDA graphs, if a process trains alone."""
    frames: Literal["auto", "device", "host"] = "auto"
    """Where the frames are; auto: on the device, if they take at most half of the memory that is free there."""
    check_every: int = 10
    """Updates between two looks at whether all were finite, for which the device has to be waited for."""


@dataclass(frozen=True)
class EvaluationConfig:
    """Held-out observations, the same number for every count, that no update ever sees."""

    every: int = 250
    """Updates between two evaluations."""
    reference_per_count: int = 64
    """Observations per count that make the centroids."""
    scored_per_count: int = 128
    """Other observations per count that are assigned to the nearest centroid."""
    transitions: int = 750
    """Transitions of longer episodes, on which the dynamics and Theorem 3 are checked."""
    statistics: int = 0
    """Observations of the training over which batch normalisation's statistics are taken anew for what is evaluated and
    loaded; 0: those that ran along with the weights, and lag behind them."""
    checkpoints: int = 2
    """Latest states that are kept, should one be damaged; the most compact model is kept besides."""
    probe_per_count: int = 256
    """Observations per count that probes are fitted on when the run ends, and scenes for LiDAR; 0: neither is done."""


BOUNDS: typing.Mapping[str, tuple[float, float]] = types.MappingProxyType(
    {
        "seed": (0, 2**31 - 1),
        "collection.target": (0, 8),
        "collection.max_episode_steps": (1, 10**9),
        "collection.transitions": (2, 10**9),
        "collection.action_repeat": (1, 10**9),
        "collection.initial": (1, 10**9),
        "collection.steps_per_update": (1, 10**6),
        "network.convolution_gain": (0, 1e3),
        "network.black": (-1e3, 1e3),
        "network.latent_dim": (2, 2**16),
        "network.width": (1, 2**12),
        "network.blocks": (1, 2**10),
        "network.hidden_dim": (1, 2**16),
        "network.bins": (2, 2**16),
        "network.q_members": (1, 2**10),
        "network.q_dropout": (0, 0.99),
        "objective.auxiliary_dim": (0, 2**16),
        "objective.transition_weight": (0, 1e9),
        "objective.auxiliary_weight": (0, 1e9),
        "objective.transition_warmup": (0, 1),
        "objective.horizon": (1, 1_000),
        "objective.latent_noise": (0, 1e3),
        "objective.regularizer_weight": (0, 1e9),
        "objective.action_reward_weight": (0, 1e9),
        "objective.termination_weight": (0, 1e9),
        "objective.value_weight": (0, 1e9),
        "objective.policy_weight": (0, 1e9),
        "objective.entropy_weight": (0, 1e9),
        "objective.discount": (0, 0.9999),
        "objective.polyak": (0, 1),
        "optimization.updates": (1, 10**9),
        "optimization.batch_size": (2, 2**20),
        "optimization.learning_rate": (0, 1e3),
        "optimization.encoder_learning_rate_factor": (0, 1e3),
        "optimization.warmup": (0, 10**9),
        "optimization.clip": (0, 1e30),
        "optimization.epsilon": (0, 1e3),
        "optimization.weight_decay": (0, 1e3),
        "optimization.averaging": (0, 0.5),
        "compute.check_every": (1, 1_000),
        "evaluation.every": (1, 10**9),
        "evaluation.reference_per_count": (1, 10**6),
        "evaluation.scored_per_count": (2, 10**6),
        "evaluation.transitions": (1, 10**6),
        "evaluation.statistics": (0, 10**6),
        "evaluation.checkpoints": (1, 1_000),
        "evaluation.probe_per_count": (0, 10**6),
    }
)
"""Least and largest value of every number in a configuration."""


@dataclass(frozen=True)
class Config:
    """A whole run. Two runs of one configuration on one machine are the same run."""

    preset: Literal["laptop", "paper"] = "laptop"
    experiment: Experiment = "reward"
    seed: int = 0
    collection: CollectionConfig = field(default_factory=CollectionConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    optimization: OptimizationConfig = field(default_factory=OptimizationConfig)
    compute: ComputeConfig = field(default_factory=ComputeConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)

    def __post_init__(self) -> None:
        for name, (least, most) in BOUNDS.items():
            value = functools.reduce(getattr, name.split("."), self)
            if not least <= value <= most:  # type: ignore[operator]  # also refuses NaN
                raise ConfigError(f"{name}={value}: must be in {least:g}..{most:g}")
        self._check_data()
        self._check_auxiliary()
        if self.evaluation.statistics == 1:
            raise ConfigError("evaluation.statistics=1: must be 0, or at least 2 to have a variance")

    def _check_data(self) -> None:
        collection, batch = self.collection, self.optimization.batch_size
        names = ("transitions", "initial") if collection.online else ("transitions",)
        for name in names:
            if getattr(collection, name) < batch:
                value = getattr(collection, name)
                raise ConfigError(f"optimization.batch_size={batch}: exceeds collection.{name}={value}")
        if collection.online and collection.initial > collection.transitions:
            raise ConfigError(
                f"collection.initial={collection.initial}: exceeds collection.transitions={collection.transitions}"
            )

    def _check_auxiliary(self) -> None:
        name = self.objective.auxiliary
        module, colon, function = name.partition(":")
        if not name or (colon and not (module and function)):
            raise ConfigError(f"objective.auxiliary={name!r}: must be a name, or module:function")
        if self.experiment == "random" and name not in RANDOM_MAPS:
            raise ConfigError(f"objective.auxiliary={name!r}: experiment random has {' or '.join(RANDOM_MAPS)}")
        if name in RANDOM_MAPS and self.objective.auxiliary_dim == 0:
            raise ConfigError(f"objective.auxiliary_dim=0: {name} has at least one value")

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionaries, numbers and strings, as `from_dict` and JSON take them."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Any) -> "Config":
        """The inverse of `to_dict`; raises `ConfigError` that names the first unknown or mistyped field."""
        config: Config = from_plain(cls, values)
        return config

    def override(self, assignments: Iterable[str]) -> "Config":
        """The same but for some fields, as in ``config.override(["objective.transition_weight=0.5"])``.

        Args:
            assignments: ``section.field=value``, the value as JSON has it or a string.

        Raises:
            ConfigError: an assignment has another form, names an unknown field, or its value is not allowed.
        """
        return self.from_dict(assigned(self.to_dict(), assignments))
