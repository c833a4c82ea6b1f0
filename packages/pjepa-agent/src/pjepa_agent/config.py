"""Everything that defines a run, one dataclass per concern, and the presets: data, not code paths."""

import dataclasses
import functools
import types
import typing
from dataclasses import dataclass, field
from typing import Any, Literal

Experiment = Literal["reward", "random", "reward-only", "transition-only"]
EXPERIMENTS: tuple[str, ...] = typing.get_args(Experiment)


class ConfigError(ValueError):
    """A configuration that cannot be used; the message names the field and what is allowed."""


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
    """How many transitions the random policy collects."""
    action_repeat: int = 4
    """Steps for which a random action is held; a new episode always draws a new one."""


@dataclass(frozen=True)
class NetworkConfig:
    """Sizes of encoder, dynamics and auxiliary head (paper Appendix D)."""

    latent_dim: int = 256
    """Dimensions of an embedding."""
    width: int = 16
    """Channels of the first of the encoder's four stages; each stage doubles them. The paper has 32."""
    blocks: int = 1
    """Basic blocks per stage. The paper has 8."""
    normalization: Literal["batch", "none"] = "batch"
    """Normalisation in the encoder. The paper has none."""
    initialization: Literal["pytorch", "truncated-normal"] = "pytorch"
    """Linear layers: PyTorch's default, or standard deviation 0.02 and zero bias as in the authors' code."""
    hidden_dim: int = 512
    """Width of the hidden layers of dynamics and heads."""
    bins: int = 101
    """Bins of a two-hot head, evenly spaced on symlog of the value in [-10, 10]."""


@dataclass(frozen=True)
class ObjectiveConfig:
    """L = transition_weight L_dyn + auxiliary_weight L_p (paper Section 2.1)."""

    auxiliary: Literal["reward", "random"] = "reward"
    """The auxiliary function p: the reward of the observation, or a fixed random linear map of its pixels."""
    auxiliary_dim: int = 256
    """Dimensions of the random map."""
    transition_weight: float = 0.2
    """Weight of L_dyn, the squared error averaged over the dimensions of the embedding."""
    auxiliary_weight: float = 10.0
    """Weight of L_p."""
    transition_reaches_encoder: bool = True
    """Whether L_dyn trains the encoder or the dynamics alone."""
    auxiliary_reaches_encoder: bool = True
    """Whether L_p trains the encoder or the auxiliary head alone."""


@dataclass(frozen=True)
class OptimizationConfig:
    """How the loss is minimised: Adam, linear warm-up, cosine to zero."""

    updates: int = 3_000
    """Optimisation steps."""
    batch_size: int = 128
    """Transitions per step, drawn with replacement; the encoder sees both observations of each."""
    learning_rate: float = 1e-3
    """Largest learning rate."""
    warmup: int = 100
    """Steps over which the learning rate rises to its largest value."""
    clip: float = 200.0
    """Largest gradient norm."""
    autocast: bool = True
    """Compute the forward pass in bfloat16."""


@dataclass(frozen=True)
class EvaluationConfig:
    """Held-out observations, the same number for every count, that no update ever sees."""

    every: int = 250
    """Updates between two evaluations."""
    reference_per_count: int = 64
    """Observations per count that make the centroids."""
    scored_per_count: int = 128
    """Other observations per count that are assigned to the nearest centroid."""


BOUNDS: typing.Mapping[str, tuple[float, float]] = types.MappingProxyType(
    {
        "seed": (0, 2**31 - 1),
        "collection.target": (0, 8),
        "collection.max_episode_steps": (1, 10**9),
        "collection.transitions": (2, 10**9),
        "collection.action_repeat": (1, 10**9),
        "network.latent_dim": (2, 2**16),
        "network.width": (1, 2**12),
        "network.blocks": (1, 2**10),
        "network.hidden_dim": (1, 2**16),
        "network.bins": (2, 2**16),
        "objective.auxiliary_dim": (1, 2**16),
        "objective.transition_weight": (0, 1e9),
        "objective.auxiliary_weight": (0, 1e9),
        "optimization.updates": (1, 10**9),
        "optimization.batch_size": (2, 2**20),
        "optimization.learning_rate": (0, 1e3),
        "optimization.warmup": (0, 10**9),
        "optimization.clip": (0, 1e30),
        "evaluation.every": (1, 10**9),
        "evaluation.reference_per_count": (1, 10**6),
        "evaluation.scored_per_count": (2, 10**6),
    }
)
"""Least and largest value of every number in a configuration."""


@dataclass(frozen=True)
class Config:
    """A whole run. Two runs of one configuration on one machine are the same run."""

    preset: Literal["laptop"] = "laptop"
    experiment: Experiment = "reward"
    seed: int = 0
    collection: CollectionConfig = field(default_factory=CollectionConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    optimization: OptimizationConfig = field(default_factory=OptimizationConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)

    def __post_init__(self) -> None:
        for name, (least, most) in BOUNDS.items():
            value = functools.reduce(getattr, name.split("."), self)
            if not least <= value <= most:  # type: ignore[operator]  # also refuses NaN
                raise ConfigError(f"{name}={value}: must be in {least:g}..{most:g}")
        if self.collection.transitions < self.optimization.batch_size:
            raise ConfigError(
                f"optimization.batch_size={self.optimization.batch_size}: "
                f"exceeds collection.transitions={self.collection.transitions}"
            )

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionaries, numbers and strings, as `from_dict` and JSON take them."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Any) -> "Config":
        """The inverse of `to_dict`; raises `ConfigError` that names the first unknown or mistyped field."""
        config: Config = _build(cls, values, "")
        return config


def _build(kind: Any, values: Any, prefix: str) -> Any:
    if not isinstance(values, dict):
        raise ConfigError(f"{prefix.rstrip('.') or 'the configuration'}: must be an object, is {values!r}")
    hints = typing.get_type_hints(kind)
    for name in values:
        if name not in hints:
            raise ConfigError(f"{prefix}{name}: is no field of the configuration")
    return kind(**{name: _value(hints[name], value, prefix + name) for name, value in values.items()})


def _value(kind: Any, value: Any, name: str) -> Any:
    if dataclasses.is_dataclass(kind):
        return _build(kind, value, name + ".")
    if typing.get_origin(kind) is Literal:
        allowed = typing.get_args(kind)
        if value not in allowed:
            raise ConfigError(f"{name}={value!r}: must be one of {', '.join(map(str, allowed))}")
        return value
    accepted = (int, float) if kind is float else kind
    if not isinstance(value, accepted) or (isinstance(value, bool) and kind is not bool):
        raise ConfigError(f"{name}={value!r}: must be of type {kind.__name__}")
    return value


PRESETS: typing.Mapping[str, Config] = types.MappingProxyType({"laptop": Config()})
"""Scales at which the experiments run."""

_EXPERIMENT_OBJECTIVES: dict[str, dict[str, Any]] = {
    "reward": {},
    "random": {"auxiliary": "random"},
    "reward-only": {"transition_reaches_encoder": False},
    "transition-only": {"auxiliary_reaches_encoder": False},
}


def make_config(
    preset: str = "laptop", experiment: str = "reward", seed: int = 0, updates: int | None = None
) -> Config:
    """The configuration of one of the paper's experiments at one of the scales.

    Args:
        preset: a name in `PRESETS`.
        experiment: a name in `EXPERIMENTS` (Section 2.3): reward auxiliary, random auxiliary, reward loss alone, or
            transition loss alone. A loss left out still trains its own head, with no gradient into the encoder.
        seed: non-negative; fixes data, initialisation and sampling.
        updates: optimisation steps instead of the preset's.

    Raises:
        ConfigError: a value is not allowed.
    """
    if preset not in PRESETS:
        raise ConfigError(f"preset={preset!r}: must be one of {', '.join(PRESETS)}")
    if experiment not in EXPERIMENTS:
        raise ConfigError(f"experiment={experiment!r}: must be one of {', '.join(EXPERIMENTS)}")
    base = PRESETS[preset]
    optimization = base.optimization if updates is None else dataclasses.replace(base.optimization, updates=updates)
    return dataclasses.replace(
        base,
        preset=base.preset,
        experiment=typing.cast(Experiment, experiment),
        seed=seed,
        objective=dataclasses.replace(base.objective, **_EXPERIMENT_OBJECTIVES[experiment]),
        optimization=optimization,
    )
