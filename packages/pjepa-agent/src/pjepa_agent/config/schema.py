"""Schema of config.json: all settings of a run, one dataclass a section. Docstrings are the command line's help."""

import dataclasses
import typing
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pjepa_agent.config.aliases import rename_fields
from pjepa_agent.config.collection import ACTING
from pjepa_agent.config.collection import COUNTING as COUNTING
from pjepa_agent.config.collection import GIVEN as GIVEN
from pjepa_agent.config.collection import CollectionConfig as CollectionConfig
from pjepa_agent.config.fields import DEVICES, Between, ConfigError, apply_overrides, check_bounds, from_dict, is_device

SCALAR_AUXILIARIES = ("reward", "q")
"""Auxiliary functions of one number per observation, whatever else is configured."""

RANDOM_AUXILIARIES = ("random", "random-network")
"""Auxiliary functions that are fixed at random."""

Experiment = Literal["reward", "random", "reward-only", "transition-only"]
EXPERIMENTS: tuple[str, ...] = typing.get_args(Experiment)

OBJECTIVES = ("pjepa", "deepmdp", "dbc", "tdmpc2", "pldm", "inverse", "sigreg", "vicreg", "ema")
"""Objectives by name. Others are classes of the user's."""

OWN_FIELDS = frozenset(
    {"transition_weight", "auxiliary_weight", "transition_warmup", "regularizer", "regularizer_weight"}
    | {"transition_reaches_encoder", "auxiliary_reaches_encoder"}
)
"""Fields of `ObjectiveConfig` that no other objective than ``pjepa`` reads."""

Weight = Annotated[float, Between(0, 1e9)]
"""Weight of a loss."""


_DEFAULT_COLLECTION = CollectionConfig()


@dataclass(frozen=True)
class NetworkConfig:
    """Sizes of encoder, dynamics and heads (paper Appendix D), and which optional networks exist."""

    encoder: str = "auto"
    """Encoder: auto for a residual network on images and an MLP on vectors, or module:function that makes one."""
    latent_dim: Annotated[int, Between(2, 2**16)] = 256
    """Dimensions of an embedding."""
    width: Annotated[int, Between(1, 2**12)] = 16
    """Channels of the encoder's first stage. Each of the other three has twice as many. The paper has 32."""
    blocks: Annotated[int, Between(1, 2**10)] = 1
    """Basic blocks per stage. The paper has 8."""
    stem: Literal["pooled", "strided"] = "strided"
    """First layers: a convolution and a pool, as in the paper, or one 8x8 convolution, a third less time an update."""
    normalization: Literal["batch", "group", "none"] = "batch"
    """Normalisation in the encoder: over the batch, or over eight groups of channels. The paper has none."""
    latent_normalization: Literal["none", "layer", "batch", "simplicial"] = "none"
    """Of embeddings: layer, batch, or TD-MPC2's softmax over every eight (simplicial; T's too). The paper: none."""
    initialization: Literal["pytorch", "truncated-normal"] = "pytorch"
    """Initialisation of linear layers: PyTorch's default, or deviation 0.02 and zero bias as in the authors' code."""
    action: Literal["value", "code"] = "value"
    """What T is given of continuous actions: their values, as in the paper, or their codes (collection.actions)."""
    hidden_dim: Annotated[int, Between(1, 2**16)] = 512
    """Width of the hidden layers of dynamics and heads."""
    bins: Annotated[int, Between(2, 2**16)] = 101
    """Bins of a two-hot head, evenly spaced on symlog of the value in [-10, 10]."""
    control_heads: bool = False
    """Train action-conditioned reward, termination, Q and policy prior on detached embeddings."""
    q_members: Annotated[int, Between(1, 2**10)] = 1
    """Networks in the ensemble of Q."""
    q_dropout: Annotated[float, Between(0, 0.99)] = 0.01
    """Dropout rate after the first layer of Q."""
    decoder: bool = False
    """Train a decoder from detached embeddings to images."""


@dataclass(frozen=True)
class ObjectiveConfig:
    """L = transition_weight L_dyn + auxiliary_weight L_p (paper Section 2.1), other objectives, and losses of readouts.

    L_dyn is the squared error *averaged* over the dimensions of the embedding. The paper writes the squared norm, which
    is `latent_dim` times as large: its c_p is auxiliary_weight / transition_weight * latent_dim.
    """

    name: str = "pjepa"
    """Objective that trains the encoder: pjepa, another of docs/objectives.md, or module:Class."""
    arguments: dict[str, Any] = field(default_factory=dict)
    """Settings of another objective than pjepa, as a JSON object."""
    auxiliary: str = "reward"
    """Auxiliary function p: reward, q, random, random-network, terminated, a label, and all else of --auxiliary."""
    auxiliary_dim: Annotated[int, Between(0, 2**16)] = 256
    """Values k of p per observation; 0 for a single number, as (F,). `reward` and `q` always have one."""
    auxiliary_of_successors: bool = False
    """L_p in the counting world is of successors too. In other worlds it always is, where p is known of them."""
    transition_weight: Weight = 0.2
    """Weight of L_dyn, the squared error averaged over the dimensions of the embedding."""
    auxiliary_weight: Weight = 10.0
    """Weight of L_p."""
    transition_warmup: Annotated[float, Between(0, 1)] = 0.0
    """Share of the updates over which the weight of L_dyn rises with their cube, so that p is learnt first."""
    horizon: Annotated[int, Between(1, 1_000)] = 1
    """Transitions of a sequence, along which T is rolled out. Those beyond the end of an episode are masked."""
    latent_noise: Annotated[float, Between(0, 1e3)] = 0.0
    """Standard deviation of noise on what T and P are given, as a share of the embeddings' spread in the batch."""
    frozen_noise: Annotated[float, Between(0, 1e3)] = 0.0
    """The same while the encoder is frozen: T learns to lead back to the embeddings that are kept."""
    regularizer: Literal["none", "sigreg", "vicreg"] = "none"
    """Additional term against collapse, from other JEPAs."""
    regularizer_weight: Weight = 0.1
    """Weight of the regularizer."""
    transition_reaches_encoder: bool = True
    """L_dyn trains the encoder too, not the dynamics alone."""
    auxiliary_reaches_encoder: bool = True
    """L_p trains the encoder too, not the auxiliary head alone."""
    action_reward_weight: Weight = 0.1
    """Weight of the action-conditioned reward's two-hot cross-entropy, as in TD-MPC2."""
    termination_weight: Weight = 1.0
    """Weight of the termination's binary cross-entropy."""
    value_weight: Weight = 0.1
    """Weight of Q's two-hot cross-entropy against its TD target."""
    policy_weight: Weight = 0.11
    """Weight of the policy prior's loss."""
    entropy_weight: Weight = 1e-4
    """Weight of the policy prior's entropy against Q, as in TD-MPC2."""
    discount: Annotated[float, Between(0, 0.9999)] = 0.95
    """Discount of Q and of the auxiliary `q`; TD-MPC2's for episodes as short as these."""
    polyak: Annotated[float, Between(0, 1)] = 0.01
    """Share of its distance to Q by which the target network of Q moves at every update, as in TD-MPC2."""

    @property
    def auxiliary_values(self) -> int:
        """Values k of p per observation; 0 for a single number, which a two-hot head regresses to."""
        return 0 if self.auxiliary in SCALAR_AUXILIARIES else self.auxiliary_dim


@dataclass(frozen=True)
class OptimizationConfig:
    """Adam with a linear warm-up and a schedule. Each optional network has a gradient clip of its own."""

    updates: Annotated[int, Between(1, 10**9)] = 3_000
    """Optimisation steps."""
    batch_size: Annotated[int, Between(2, 2**20)] = 128
    """Transitions per step, drawn with replacement. The encoder sees both observations of each."""
    sampling: Literal["uniform", "balanced"] = "uniform"
    """Draw transitions evenly, or evenly over distinct observations and actions, of which rare ones then count."""
    learning_rate: Annotated[float, Between(0, 1e3)] = 1e-3
    """Largest learning rate."""
    encoder_learning_rate_factor: Annotated[float, Between(0, 1e3)] = 1.0
    """Learning rate of the encoder over that of the other networks. The paper has 0.3."""
    schedule: Literal["cosine", "constant"] = "cosine"
    """Learning rate after the warm-up: a cosine to zero at the last update, or constant as in the paper."""
    warmup: Annotated[int, Between(0, 10**9)] = 100
    """Steps over which the learning rate rises to its largest value."""
    clip: Annotated[float, Between(0, 1e30)] = 200.0
    """Largest norm of the gradient."""
    epsilon: Annotated[float, Between(0, 1e3)] = 1e-8
    """Adam's epsilon. Steps are proportional to gradients that are much smaller."""
    averaging_age: Annotated[float, Between(0, 0.5)] = 0.0
    """Mean age of the averaged weights that are evaluated, as a share of the updates so far; 0: not averaged."""
    frozen_encoder: Annotated[float, Between(0, 0.9)] = 0.0
    """Share of the updates, the last ones, whose encoder is the frozen average; T and P learn on at a new cosine."""
    frozen_steps: Annotated[int, Between(1, 1_000)] = 1
    """Steps of T and P on each batch whose encoder is frozen, with new noise each."""
    frozen_batch_size: Annotated[int, Between(0, 2**20)] = 0
    """Transitions of each batch that are encoded, and learnt from, while the encoder is frozen; 0: all."""
    autocast: bool = True
    """Compute the forward pass in bfloat16, on a device that has it."""

    @property
    def joint_updates(self) -> int:
        """Updates that train the encoder, at least one; it is frozen in the others."""
        return max(self.updates - round(self.frozen_encoder * self.updates), 1)


@dataclass(frozen=True)
class ComputeConfig:
    """Where to compute, ways to compute the same training faster, and memory for speed."""

    device: str = "auto"
    """Device to train on unless --device names one: auto (a GPU if there is one), cpu, cuda, or cuda:N."""
    joint_batch: bool = True
    """Encode all observations of a batch at once. Batch normalisation then sees them together: another result."""
    fast_paths: bool = True
    """Channels last, convolutions of 2x2 maps as matrix products, Adam in one kernel: the same result sooner."""
    compile: Literal["auto", "on", "off"] = "auto"
    """Compile the losses; auto: on a CUDA device, if a process trains alone and enough updates make up for it."""
    graph: Literal["auto", "on", "off"] = "auto"
    """Replay an update as one CUDA graph; auto: on a CUDA device, if a process trains alone."""
    frame_storage: Literal["auto", "device", "host", "disk"] = "auto"
    """Where frames are kept; auto: on the device, in memory or in their file, the first with room to spare."""
    check_every: Annotated[int, Between(1, 1_000)] = 10
    """Updates between checks for NaN and infinity. Each check waits for the device."""


@dataclass(frozen=True)
class EvaluationConfig:
    """Measurements on held-out observations, the same number for every count, that no update sees."""

    every: Annotated[int, Between(1, 10**9)] = 250
    """Updates between evaluations."""
    reference_per_count: Annotated[int, Between(1, 10**6)] = 64
    """Observations per count that make the centroids."""
    scored_per_count: Annotated[int, Between(2, 10**6)] = 128
    """Other observations per count that are assigned to the nearest centroid."""
    label: str = ""
    """Label of another world that serves as ground truth; empty: its classes of B_D*, where these exist."""
    best: str = "auto"
    """Column of metrics.csv whose best row is kept, with - before it if less is better; auto: the world's own."""
    transitions: Annotated[int, Between(1, 10**6)] = 750
    """Transitions of longer episodes, on which dynamics and Theorem 3 are checked."""
    batch_norm_samples: Annotated[int, Between(0, 10**6)] = 0
    """Observations to recompute batch normalisation's statistics from, where evaluated; 0: the running ones."""
    checkpoints: Annotated[int, Between(1, 1_000)] = 2
    """Latest checkpoints to keep, in case one is damaged. The most compact model is kept besides."""
    probe_per_count: Annotated[int, Between(0, 10**6)] = 256
    """Observations per count that probes are fitted on when the run ends, and scenes for LiDAR; 0: neither."""


@dataclass(frozen=True)
class AblationConfig:
    """Deviations from the paper, of studies (docs/stability.md) and of other objectives."""

    pixel_offset: Annotated[float, Between(-1e3, 1e3)] = -0.5
    """Value of a black pixel after scaling; white is one more. The paper has -0.5."""
    pixel_scale: Literal["fixed", "image"] = "fixed"
    """Divisor of pixels: 255, as in the paper, or the largest value in the image, which takes brightness away."""
    convolution_gain: Annotated[float, Between(0, 1e3)] = 0.0
    """Deviation of initial convolutions times sqrt(inputs), He's 1.414; 0: PyTorch's default, as in the paper."""
    start: Literal["drawn", "centred", "scaled", "centred-scaled"] = "drawn"
    """Kernels of an encoder without normalisation: as drawn, without response to the mean, or of unit deviation."""
    weight_decay: Annotated[float, Between(0, 1e3)] = 0.0
    """Decoupled weight decay, per unit of learning rate."""


@dataclass(frozen=True)
class Config:
    """All settings of a run. Two runs of one configuration on one machine end with the same bits."""

    preset: Literal["laptop", "paper"] = "laptop"
    """Name of the preset that the configuration began from; a record, which changes nothing."""
    experiment: Experiment = "reward"
    """Name of the experiment (paper Section 2.3); a record too. The section `objective` says what it computes."""
    seed: Annotated[int, Between(0, 2**31 - 1)] = 0
    """Seed of data, initialisation and sampling."""
    collection: CollectionConfig = field(default_factory=CollectionConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    optimization: OptimizationConfig = field(default_factory=OptimizationConfig)
    compute: ComputeConfig = field(default_factory=ComputeConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    ablation: AblationConfig = field(default_factory=AblationConfig)

    def __post_init__(self) -> None:
        check_bounds(self)
        self._check_world()
        self._check_batch()
        self._check_objective()
        self._check_auxiliary()
        if self.compute.graph == "on" and not self.compute.fast_paths:
            raise ConfigError("compute.graph='on': needs the fused Adam of compute.fast_paths=true")
        if self.ablation.start != "drawn" and (self.network.normalization, self.network.encoder) != ("none", "auto"):
            raise ConfigError(
                f"ablation.start={self.ablation.start!r}: is for the encoder of images without normalisation; set "
                "network.normalization=none and network.encoder=auto"
            )
        if not is_device(self.compute.device):
            raise ConfigError(f"compute.device={self.compute.device!r}: must be {DEVICES}")
        if self.evaluation.batch_norm_samples == 1:
            raise ConfigError("evaluation.batch_norm_samples=1: must be 0, or at least 2 to have a variance")

    @property
    def counting(self) -> bool:
        """True where the world is the paper's."""
        return not self.collection.dataset and self.collection.environment.rpartition(":")[2] == COUNTING

    @property
    def best_column(self) -> str:
        """The column of metrics.csv whose best row is kept, with ``-`` before it if less is better."""
        if self.evaluation.best != "auto":
            return self.evaluation.best
        return "eval/nearest_centroid_accuracy" if self.counting else "theorem/least_explained_share"

    def _check_world(self) -> None:
        collection = self.collection
        if collection.dataset and collection.environment != COUNTING:
            raise ConfigError(
                f"collection.dataset={collection.dataset!r}: excludes collection.environment="
                f"{collection.environment!r}; give one of the two"
            )
        for name in ("observation", "size", "grayscale", "stack", "policy"):
            value = getattr(collection, name)
            if collection.dataset and value != getattr(_DEFAULT_COLLECTION, name):
                raise ConfigError(
                    f"collection.{name}={value!r}: is of an environment, and a dataset is trained on as it was "
                    "recorded; leave it out, or record the dataset so"
                )
        if collection.max_episode_steps == 0 and self.counting:
            raise ConfigError("collection.max_episode_steps=0: the counting world needs at least 1")
        if collection.arguments and self.counting:
            raise ConfigError("collection.arguments: are of another environment; use collection.target here")
        if collection.online and not (self.counting or collection.acts):
            raise ConfigError("collection.online=True: only the counting world is collected while training")

        self._check_policy()

    def _check_policy(self) -> None:
        collection = self.collection
        if collection.policy not in ("random", *ACTING) and ":" not in collection.policy:
            raise ConfigError(
                f"collection.policy={collection.policy!r}: must be random, {', '.join(ACTING)}, or module:function"
            )
        if collection.planning and collection.policy != "planner":
            raise ConfigError(f"collection.planning: is of the policy planner, and the policy is {collection.policy!r}")
        if not collection.acts:
            return
        if collection.terminal == "absorb":
            raise ConfigError(
                f"collection.terminal='absorb': adds rows to data that is whole, and collection.policy="
                f"{collection.policy} collects while training; leave it leaf"
            )
        if collection.transitions < collection.environments:
            raise ConfigError(
                f"collection.environments={collection.environments}: exceeds collection.transitions="
                f"{collection.transitions}, of which the replay buffer holds a step of every environment at least"
            )

    def _check_batch(self) -> None:
        collection, batch = self.collection, self.optimization.batch_size
        names = ("transitions", "initial_transitions") if collection.while_training else ("transitions",)
        for name in names:
            if getattr(collection, name) < batch:
                value = getattr(collection, name)
                raise ConfigError(f"optimization.batch_size={batch}: exceeds collection.{name}={value}")
        initial, capacity = collection.initial_transitions, collection.transitions
        if collection.while_training and initial > capacity:
            raise ConfigError(f"collection.initial_transitions={initial}: exceeds collection.transitions={capacity}")

    def _check_objective(self) -> None:
        objective = self.objective
        module, colon, attribute = objective.name.partition(":")
        if objective.name not in OBJECTIVES and not (colon and module and attribute):
            raise ConfigError(
                f"objective.name={objective.name!r}: must be one of {', '.join(OBJECTIVES)}, or module:Class"
            )
        if objective.name != "pjepa" and self.experiment != "reward":
            raise ConfigError(
                f"objective.name={objective.name!r}: has no experiment {self.experiment}, which is pjepa's"
            )
        if objective.name == "pjepa" and objective.arguments:
            raise ConfigError("objective.arguments: are of another objective; the settings of pjepa are fields")
        if self.network.latent_normalization == "simplicial" and self.network.latent_dim % 8:
            raise ConfigError(
                f"network.latent_dim={self.network.latent_dim}: must be a multiple of 8, of which "
                "network.latent_normalization=simplicial makes points of a simplex"
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
        """Convert to plain dictionaries, numbers and strings, as `from_dict` and JSON take them."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Any) -> "Config":
        """Build a configuration from what `to_dict` made, in this version or in 0.1.

        Raises:
            ConfigError: a field is unknown, of another type, or out of bounds; the message names it.
        """
        config: Config = from_dict(cls, rename_fields(values))
        return config

    def override(self, overrides: Iterable[str]) -> "Config":
        """Copy the configuration with some fields changed: ``config.override(["objective.transition_weight=0.5"])``.

        Args:
            overrides: ``section.field=value``, the value in JSON or a string. A name of version 0.1 is logged with
                today's.

        Raises:
            ConfigError: an override has another form, names an unknown field, or its value is not allowed.
        """
        config: Config = from_dict(type(self), apply_overrides(self.to_dict(), overrides))
        return config
