"""Presets (scales of network, data and budget) and experiments of the paper, as data."""

import dataclasses
import types
import typing
from typing import Any

from pjepa_agent.config.fields import ConfigError
from pjepa_agent.config.schema import (
    COUNTING,
    EXPERIMENTS,
    RANDOM_AUXILIARIES,
    CollectionConfig,
    Config,
    EvaluationConfig,
    Experiment,
    NetworkConfig,
    ObjectiveConfig,
    OptimizationConfig,
)

LAPTOP = Config(
    network=NetworkConfig(action="code"),
    objective=ObjectiveConfig(
        auxiliary_of_successors=True,
        transition_weight=1.0,
        transition_warmup=1.0,
        latent_noise=0.5,
        frozen_noise=0.2,
    ),
    optimization=OptimizationConfig(
        updates=750,
        batch_size=128,
        learning_rate=1.2e-2,
        encoder_learning_rate_factor=0.15,
        warmup=50,
        clip=1.0,
        averaging_age=0.2,
        frozen_encoder=0.16,
        frozen_steps=8,
        frozen_batch_size=64,
    ),
    evaluation=EvaluationConfig(every=125, batch_norm_samples=1_024),
)
"""A minute and a half on two cores. The warm-up of L_dyn lets the encoder learn p before observations are merged; its
lower learning rate keeps dynamics and head ahead of it; the clip bounds rare batches with a large L_p; and averaged
weights, with recomputed batch statistics, are compact while the trained ones still fluctuate. T is given what the
theory speaks of, the sign of the action, and learns at the end on the embeddings that are kept. The noise on what T and
P are given takes the place of what T could not know of small actions, without which clusters are less compact. L_p of
both observations of a transition tells the encoder twice as much of p for one more pass of P alone, so that fewer than
half of the observations do."""

PAPER = Config(
    preset="paper",
    collection=CollectionConfig(transitions=100_000, online=True),
    network=NetworkConfig(
        width=32,
        blocks=8,
        stem="pooled",
        normalization="none",
        initialization="truncated-normal",
        control_heads=True,
        decoder=True,
    ),
    objective=ObjectiveConfig(transition_weight=2.0, auxiliary_weight=10.0),
    optimization=OptimizationConfig(
        updates=300_000,
        batch_size=256,
        learning_rate=3e-4,
        encoder_learning_rate_factor=0.3,
        schedule="constant",
        warmup=0,
        autocast=False,
    ),
    evaluation=EvaluationConfig(every=1_000),
)
"""The paper's model and training (Appendix D), with the loss weights of its authors' stored configuration of P-JEPA."""

WORLD = CollectionConfig(transitions=20_000, max_episode_steps=0, action_repeat=1)
"""Collection from another world than the counting one: its own episodes, a new action at every step."""

LONGER: typing.Mapping[str, Any] = types.MappingProxyType(
    {"updates": 1_000, "batch_size": 256, "learning_rate": 8e-3, "warmup": 100}
)
"""Settings of the optimisation outside of P-JEPA in the counting world, for which its short recipe was not chosen."""

NOT_FROZEN: typing.Mapping[str, Any] = types.MappingProxyType(
    {"frozen_encoder": 0.0, "frozen_steps": 1, "frozen_batch_size": 0}
)
"""Settings of the optimisation by which the encoder learns to the last update."""

NO_NOISE: typing.Mapping[str, Any] = types.MappingProxyType({"latent_noise": 0.0, "frozen_noise": 0.0})
"""Settings of the objective by which T and P are given the very embeddings."""

WORLD_LAPTOP: typing.Mapping[str, typing.Mapping[str, Any]] = types.MappingProxyType(
    {
        "network": {"latent_normalization": "batch", "action": "value"},
        "objective": {"transition_weight": 0.01, "auxiliary_of_successors": False, **NO_NOISE},
        "optimization": {"encoder_learning_rate_factor": 0.02, "sampling": "balanced", **LONGER, **NOT_FROZEN},
        "evaluation": {"transitions": 5_000},
    }
)
"""What the laptop preset has in other worlds in place of `LAPTOP`'s, by section and field.

There every transition counts, however rare: T has to tell apart successors that may lie many steps from any difference
in p. Standardised embeddings cannot shrink under L_dyn. With the encoder's low learning rate and the small weight of
L_dyn, T catches up with the encoder instead of the encoder merging what T does not know yet (docs/your-world.md)."""

PRESETS: typing.Mapping[str, Config] = types.MappingProxyType({"laptop": LAPTOP, "paper": PAPER})
"""Configurations of the experiment `reward` by name of the scale."""

_EXPERIMENT_OBJECTIVES: dict[str, dict[str, Any]] = {
    "reward": {},
    "random": {"auxiliary": "random"},
    "reward-only": {"transition_reaches_encoder": False},
    "transition-only": {"auxiliary_reaches_encoder": False},
}

_EXPERIMENT_OPTIMIZATION: dict[tuple[str, str], dict[str, Any]] = {
    # "A smaller learning rate of 1e-5 for all components of the model" (Appendix D).
    ("paper", "reward-only"): {"learning_rate": 1e-5, "encoder_learning_rate_factor": 1.0},
}


_FOR_OTHER_OBJECTIVES: dict[str, dict[str, Any]] = {
    "optimization": dict(NOT_FROZEN),
    "objective": dict(NO_NOISE),
}
"""What the laptop preset has for P-JEPA alone is left out for other objectives; in `PAPER` it is so already."""

_LONGER: dict[str, dict[str, Any]] = {
    "optimization": dict(LONGER),
    "objective": {"auxiliary_of_successors": False, "transition_weight": 0.5},
}
"""Settings of the laptop preset for other objectives, in place of its short recipe."""

_WITHOUT_NOISE: dict[str, dict[str, Any]] = {"objective": dict(NO_NOISE)}
"""A random p of many values has to be told of embeddings in all directions, which noise would hide."""

_OBJECTIVE_RECIPES: dict[str, dict[str, dict[str, Any]]] = {
    "deepmdp": {"optimization": {"clip": 20.0}},
    "dbc": {"optimization": {"clip": 20.0}},
    "tdmpc2": {
        "objective": {"horizon": 3},
        "optimization": {"clip": 20.0},
        "network": {"latent_normalization": "simplicial"},
    },
    "pldm": {"objective": {"horizon": 3}, "optimization": {"clip": 20.0}},
    "inverse": {"optimization": {"clip": 20.0}},
    "sigreg": {"optimization": {"clip": 20.0}},
    "vicreg": {"optimization": {"clip": 20.0}},
    "ema": {"optimization": {"clip": 20.0}},
}
"""What other objectives than ``pjepa`` change of a preset, by section; docs/objectives.md says why."""


def make_config(
    preset: str = "laptop",
    experiment: str = "reward",
    seed: int = 0,
    updates: int | None = None,
    auxiliary: str | None = None,
    *,
    environment: str | None = None,
    dataset: str | None = None,
    objective: str | None = None,
) -> Config:
    """Make the configuration of one of the paper's experiments at one of the scales, in the counting world or another.

    Args:
        preset: a name in `PRESETS`.
        experiment: a name in `EXPERIMENTS` (Section 2.3): reward auxiliary, random auxiliary, reward loss alone, or
            transition loss alone. A loss that is left out trains its own head on detached embeddings.
        seed: non-negative; fixes data, initialisation and sampling.
        updates: optimisation steps instead of the preset's.
        auxiliary: an auxiliary function instead of the experiment's. `pjepa_agent.run.prepare` finds the number of
            values of a label or of a function of your own.
        environment: another environment than the counting one; see `CollectionConfig.environment`.
        dataset: a dataset in place of an environment; see `CollectionConfig.dataset`.
        objective: what trains the encoder in place of P-JEPA; see `ObjectiveConfig.name`. It brings what its method
            has of its own, such as a gradient clip, and leaves the rest of the preset.

    Raises:
        ConfigError: a value is not allowed.
    """
    if preset not in PRESETS:
        raise ConfigError(f"preset={preset!r}: must be one of {', '.join(PRESETS)}")
    if experiment not in EXPERIMENTS:
        raise ConfigError(f"experiment={experiment!r}: must be one of {', '.join(EXPERIMENTS)}")
    base = PRESETS[preset]
    if (objective or "pjepa") != "pjepa":
        base = _changed(base, _FOR_OTHER_OBJECTIVES)
        base = _changed(base, _LONGER) if preset == "laptop" else base
    elif experiment == "random" or auxiliary in RANDOM_AUXILIARIES:
        base = _changed(base, _WITHOUT_NOISE)
    recipe = _OBJECTIVE_RECIPES.get(objective or "", {})
    losses = _EXPERIMENT_OBJECTIVES[experiment] | ({} if auxiliary is None else {"auxiliary": auxiliary})
    losses |= recipe.get("objective", {}) | ({} if objective is None else {"name": objective})
    optimization = _EXPERIMENT_OPTIMIZATION.get((preset, experiment), {}) | recipe.get("optimization", {})
    collection = base.collection
    other = environment is not None and environment.rpartition(":")[2] != COUNTING
    if dataset is not None or other:
        collection = dataclasses.replace(WORLD, environment=environment or COUNTING, dataset=dataset or "")
        base = _in_another_world(base, objective or "pjepa")
    return dataclasses.replace(
        base,
        preset=base.preset,
        experiment=typing.cast(Experiment, experiment),
        seed=seed,
        collection=collection,
        objective=dataclasses.replace(base.objective, **losses),
        network=dataclasses.replace(base.network, **recipe.get("network", {})),
        optimization=dataclasses.replace(
            base.optimization, **optimization | ({} if updates is None else {"updates": updates})
        ),
    )


def _in_another_world(preset: Config, objective: str) -> Config:
    """Return the laptop preset as it is in other worlds than the counting one, and any other preset as it is.

    What was chosen there for P-JEPA's two losses is left out for other objectives.
    """
    if preset.preset != "laptop":
        return preset
    changes = WORLD_LAPTOP
    if objective != "pjepa":
        changes = {
            "network": {"action": "value"},
            "optimization": {"sampling": "balanced"},
            "evaluation": WORLD_LAPTOP["evaluation"],
        }
    return _changed(preset, changes)


def _changed(config: Config, changes: typing.Mapping[str, typing.Mapping[str, Any]]) -> Config:
    """Return a configuration with some fields changed, by section."""
    sections = {name: dataclasses.replace(getattr(config, name), **fields) for name, fields in changes.items()}
    return dataclasses.replace(config, **sections)
