"""Everything that defines a run, one dataclass per concern."""

import dataclasses
import typing
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pjepa_agent.config.fields import Between, ConfigError, apply_overrides, check_bounds, from_dict

SCALAR_AUXILIARIES = ("reward", "q")
"""Auxiliary functions of one number per observation, whatever else is configured."""

RANDOM_AUXILIARIES = ("random", "random-network")
"""Auxiliary functions that are fixed at random."""

Experiment = Literal["reward", "random", "reward-only", "transition-only"]
EXPERIMENTS: tuple[str, ...] = typing.get_args(Experiment)


@dataclass(frozen=True)
class CollectionConfig:
    """Which transitions are collected (paper Appendix D)."""

    environment: Literal["CountingEnv-v0"] = "CountingEnv-v0"
    """Registered Gymnasium environment."""
    target: Annotated[int, Between(0, 8)] = 4
    """The rewarded count n."""
    max_episode_steps: Annotated[int, Between(1, 10**9)] = 4
    """Steps after which an episode is cut off."""
    transitions: Annotated[int, Between(2, 10**9)] = 60_000
    """How many transitions the random policy collects; online, how many of the latest the buffer holds."""
    action_repeat: Annotated[int, Between(1, 10**9)] = 4
    """Steps for which a random action is held; a new episode always draws a new one."""
    online: bool = False
    """Whether to collect while training, as the paper does, instead of before it."""
    initial: Annotated[int, Between(1, 10**9)] = 1_000
    """Online, the transitions that are there at the first update; those of the first updates count among them."""
    steps_per_update: Annotated[int, Between(1, 10**6)] = 1
    """Online, environment steps per update: at update u the policy has done max(initial, u steps_per_update)."""


@dataclass(frozen=True)
class NetworkConfig:
    """Sizes of encoder, dynamics and heads (paper Appendix D), and which of the optional parts there are."""

    latent_dim: Annotated[int, Between(2, 2**16)] = 256
    """Dimensions of an embedding."""
    width: Annotated[int, Between(1, 2**12)] = 16
    """Channels of the first of the encoder's four stages; each stage doubles them. The paper has 32."""
    blocks: Annotated[int, Between(1, 2**10)] = 1
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
    convolution_gain: Annotated[float, Between(0, 1e3)] = 0.0
    """Convolutions: 0 for PyTorch's default, as in the paper, or normal with this over sqrt(inputs); He's is 1.414."""
    black: Annotated[float, Between(-1e3, 1e3)] = -0.5
    """What a black pixel becomes, and a white one 1 more. The paper has -0.5."""
    pixel_scale: Literal["fixed", "image"] = "fixed"
    """What pixels are divided by: 255, as in the paper, or the largest value in the image, so that an image and a
    darker one of the same are embedded alike. What is nearly black becomes as bright as all else."""
    hidden_dim: Annotated[int, Between(1, 2**16)] = 512
    """Width of the hidden layers of dynamics and heads."""
    bins: Annotated[int, Between(2, 2**16)] = 101
    """Bins of a two-hot head, evenly spaced on symlog of the value in [-10, 10]."""
    control_heads: bool = False
    """Action-conditioned reward, termination, Q and policy prior, which learn without reaching the encoder."""
    q_members: Annotated[int, Between(1, 2**10)] = 1
    """Networks in the ensemble that is Q."""
    q_dropout: Annotated[float, Between(0, 0.99)] = 0.01
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
    auxiliary_dim: Annotated[int, Between(0, 2**16)] = 256
    """Values k of p per observation, of which `reward` and `q` always have one. 0: a single number, as (F,)."""
    transition_weight: Annotated[float, Between(0, 1e9)] = 0.2
    """Weight of L_dyn, the squared error averaged over the dimensions of the embedding."""
    auxiliary_weight: Annotated[float, Between(0, 1e9)] = 10.0
    """Weight of L_p."""
    transition_warmup: Annotated[float, Between(0, 1)] = 0.0
    """Share of the updates over which the weight of L_dyn rises, with their cube: p is learnt before much is merged."""
    horizon: Annotated[int, Between(1, 1_000)] = 1
    """Steps that T is applied over, from one embedding; L_dyn is the mean over those that the episode has."""
    latent_noise: Annotated[float, Between(0, 1e3)] = 0.0
    """Noise on what T and P are given, as a share of the embeddings' spread in the batch."""
    regularizer: Literal["none", "sigreg", "vicreg"] = "none"
    """A term against collapse from other JEPAs, for comparison."""
    regularizer_weight: Annotated[float, Between(0, 1e9)] = 0.1
    """Weight of that term."""
    transition_reaches_encoder: bool = True
    """Whether L_dyn trains the encoder or the dynamics alone."""
    auxiliary_reaches_encoder: bool = True
    """Whether L_p trains the encoder or the auxiliary head alone."""
    action_reward_weight: Annotated[float, Between(0, 1e9)] = 0.1
    """Weight of the action-conditioned reward's two-hot cross-entropy; TD-MPC2's."""
    termination_weight: Annotated[float, Between(0, 1e9)] = 1.0
    """Weight of the termination's binary cross-entropy."""
    value_weight: Annotated[float, Between(0, 1e9)] = 0.1
    """Weight of Q's two-hot cross-entropy against its TD target."""
    policy_weight: Annotated[float, Between(0, 1e9)] = 0.11
    """Weight of the policy prior's loss."""
    entropy_weight: Annotated[float, Between(0, 1e9)] = 1e-4
    """Weight of the policy prior's entropy against Q; TD-MPC2's."""
    discount: Annotated[float, Between(0, 0.9999)] = 0.95
    """Discount of Q and of the auxiliary `q`; what TD-MPC2 takes for episodes as short as these."""
    polyak: Annotated[float, Between(0, 1)] = 0.01
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
        return 0 if self.auxiliary in SCALAR_AUXILIARIES else self.auxiliary_dim


@dataclass(frozen=True)
class OptimizationConfig:
    """How the loss is minimised: Adam, linear warm-up, then a schedule. Each optional part has a clip of its own."""

    updates: Annotated[int, Between(1, 10**9)] = 3_000
    """Optimisation steps."""
    batch_size: Annotated[int, Between(2, 2**20)] = 128
    """Transitions per step, drawn with replacement; the encoder sees both observations of each."""
    learning_rate: Annotated[float, Between(0, 1e3)] = 1e-3
    """Largest learning rate."""
    encoder_learning_rate_factor: Annotated[float, Between(0, 1e3)] = 1.0
    """The encoder's learning rate over that of the rest. The paper has 0.3."""
    schedule: Literal["cosine", "constant"] = "cosine"
    """What follows the warm-up: a cosine to zero at the last update, or the largest rate throughout (the paper)."""
    warmup: Annotated[int, Between(0, 10**9)] = 100
    """Steps over which the learning rate rises to its largest value."""
    clip: Annotated[float, Between(0, 1e30)] = 200.0
    """Largest gradient norm."""
    epsilon: Annotated[float, Between(0, 1e3)] = 1e-8
    """What Adam adds to the root of the second moment: gradients well below it are followed in proportion."""
    weight_decay: Annotated[float, Between(0, 1e3)] = 0.0
    """Decoupled weight decay, per unit of learning rate."""
    averaging: Annotated[float, Between(0, 0.5)] = 0.0
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
    check_every: Annotated[int, Between(1, 1_000)] = 10
    """Updates between two looks at whether all were finite, for which the device has to be waited for."""


@dataclass(frozen=True)
class EvaluationConfig:
    """Held-out observations, the same number for every count, that no update ever sees."""

    every: Annotated[int, Between(1, 10**9)] = 250
    """Updates between two evaluations."""
    reference_per_count: Annotated[int, Between(1, 10**6)] = 64
    """Observations per count that make the centroids."""
    scored_per_count: Annotated[int, Between(2, 10**6)] = 128
    """Other observations per count that are assigned to the nearest centroid."""
    transitions: Annotated[int, Between(1, 10**6)] = 750
    """Transitions of longer episodes, on which the dynamics and Theorem 3 are checked."""
    statistics: Annotated[int, Between(0, 10**6)] = 0
    """Observations of the training over which batch normalisation's statistics are taken anew for what is evaluated and
    loaded; 0: those that ran along with the weights, and lag behind them."""
    checkpoints: Annotated[int, Between(1, 1_000)] = 2
    """Latest states that are kept, should one be damaged; the most compact model is kept besides."""
    probe_per_count: Annotated[int, Between(0, 10**6)] = 256
    """Observations per count that probes are fitted on when the run ends, and scenes for LiDAR; 0: neither is done."""


@dataclass(frozen=True)
class Config:
    """A whole run. Two runs of one configuration on one machine are the same run."""

    preset: Literal["laptop", "paper"] = "laptop"
    experiment: Experiment = "reward"
    seed: Annotated[int, Between(0, 2**31 - 1)] = 0
    collection: CollectionConfig = field(default_factory=CollectionConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    optimization: OptimizationConfig = field(default_factory=OptimizationConfig)
    compute: ComputeConfig = field(default_factory=ComputeConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)

    def __post_init__(self) -> None:
        check_bounds(self)
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
        if self.experiment == "random" and name not in RANDOM_AUXILIARIES:
            raise ConfigError(f"objective.auxiliary={name!r}: experiment random has {' or '.join(RANDOM_AUXILIARIES)}")
        if name in RANDOM_AUXILIARIES and self.objective.auxiliary_dim == 0:
            raise ConfigError(f"objective.auxiliary_dim=0: {name} has at least one value")

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionaries, numbers and strings, as `from_dict` and JSON take them."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Any) -> "Config":
        """The inverse of `to_dict`; raises `ConfigError` that names the first unknown or mistyped field."""
        config: Config = from_dict(cls, values)
        return config

    def override(self, overrides: Iterable[str]) -> "Config":
        """The same but for some fields, as in ``config.override(["objective.transition_weight=0.5"])``.

        Args:
            overrides: ``section.field=value``, the value in JSON or a string.

        Raises:
            ConfigError: an override has another form, names an unknown field, or its value is not allowed.
        """
        return self.from_dict(apply_overrides(self.to_dict(), overrides))
