"""Measure a model on held-out episodes of any world: Theorem 3, effective rank, and clusters where there are labels."""

import dataclasses
import functools
import math
from pathlib import Path
from typing import Any

import numpy as np
from bisim_theory import (
    DatasetError,
    NoWellTrainedModelError,
    Relation,
    Representation,
    TransitionDataset,
    empirical_bisimulation,
    read_transitions,
)
from bisim_theory.data.auxiliary import stored_values
from bisim_theory.data.identity import ContentNote, choose_identity, describe_content, identify_by_content
from bisim_theory.data.labels import default_label, label_values
from bisim_theory.data.parts import first_episodes, take_frames
from bisim_theory.monitor.measures import CLASSES, class_labels, cluster_numbers, label_codes, theorem_numbers
from bisim_theory.theorem.check import Tolerance, check_theorem
from numpy.typing import NDArray

from pjepa_agent.auxiliary import Auxiliary
from pjepa_agent.collection.dataset import split_world
from pjepa_agent.config.fields import ConfigError
from pjepa_agent.config.schema import Config
from pjepa_agent.envs.base import Spec
from pjepa_agent.envs.registry import collect_world
from pjepa_agent.evaluation.clusters import spread
from pjepa_agent.evaluation.effective_rank import rankme
from pjepa_agent.evaluation.held_out import HELD_OUT_SEED, HeldOut, one_thread
from pjepa_agent.evaluation.imagination import imagine_transitions
from pjepa_agent.evaluation.label_probes import every_other_episode, probe_labels
from pjepa_agent.evaluation.theorem import LEVELS_MEASURED, PAIRS, represent
from pjepa_agent.model import PJEPA
from pjepa_agent.runs.metrics import ACCURACY, LEAST_EXPLAINED


class HeldOutEpisodes:
    """Measure models on episodes that no update sees.

    Observations are told apart by content, unless one (observation, action) then has several successors or one
    observation two values of p. Labels are those that the configuration names or the data has; else the classes of B_D*
    serve as labels, where it is an equivalence.

    Args:
        config: the configuration of the run.
        spec: shapes of the world.
        data: held-out transitions with p of every observation of which it is known.
    """

    def __init__(self, config: Config, spec: Spec, data: TransitionDataset) -> None:
        self.config, self.spec = config, spec
        self.data = take_frames(first_episodes(data, config.evaluation.transitions))
        named = config.evaluation.label
        if named and named not in data.labels:
            raise ConfigError(
                f"evaluation.label={named!r}: this world has no such label; it has {', '.join(data.labels) or 'none'}"
            )
        self.label = named or default_label(data)
        content = describe_content(self.data, None)
        self.identity, self.ids, self.relation = _relate(self.data, content)

    @functools.cached_property
    def labels(self) -> NDArray[np.int64] | None:
        """Return (F,) the label of every observation as a number 0, 1, ..., -1 where it has none; None without any."""
        if self.label is not None:
            return label_codes(label_values(self.data, self.label))
        labels = class_labels(self.relation)
        return None if labels is None else labels[self.ids]

    def embed(self, model: PJEPA) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Return embeddings (n, d) of the observations of the relation, and their labels (n,), 0 without any."""
        ids = self.relation.observations
        assert self.data.observation is not None
        embedding: NDArray[np.float32] = model.encode(self.data.observation[: self.data.frames]).numpy()[ids]
        return embedding, np.zeros(len(ids), np.int64) if self.labels is None else self.labels[ids]

    def measure(self, model: PJEPA) -> dict[str, float]:
        """Return the measures of every evaluation, by their names in ``metrics.csv``; NaN where there is none.

        ``theorem/explained_share_L``, ``theorem/separation_L`` and ``theorem/residual_ratio_L`` of level L are those of
        `bisim_theory.theorem.check.LevelCheck`. ``theorem/least_explained_share`` is the smallest of the
        levels with at least 20 pairs, or of all where none has so many. ``theorem/unexplained_levels`` is the number of
        levels, of however few pairs, that are not explained as `bisim-check` asks.
        """
        row = dict.fromkeys(self._columns, math.nan)
        try:
            representation = represent(self.data, model)
        except DatasetError:  # embeddings are not finite, which training reports itself
            return row
        with one_thread():
            return row | self._of_embedding(representation, model) | self._of_theorem(representation)

    def measure_all(self, model: PJEPA) -> dict[str, Any]:
        """Return all measures by name, and how they were taken."""
        found: dict[str, Any] = {
            name.removeprefix("eval/").replace("theorem/", "theorem_"): value
            for name, value in self.measure(model).items()
        }
        assert self.data.observation is not None
        embedding = model.encode(self.data.observation[: self.data.frames]).numpy()
        if np.isfinite(embedding).all():
            found["imagined"] = imagine_transitions(model, self.data, embedding, self.labels)
            found |= self._of_probes(embedding)
        how = {"identity": self.identity, "label": self.label_name, "transitions": len(self.data)}
        return {**found, **how, "observations": len(self.relation.observations)}

    def _of_probes(self, embedding: NDArray[np.float32]) -> dict[str, Any]:
        """Probe all labels, and say how many observations that are scored the probes have seen the like of."""
        fit = every_other_episode(self.data)
        if not self.config.evaluation.probe_per_count or fit.all():
            return {}
        with one_thread():
            found = probe_labels(embedding, self.data.labels, fit)
        seen = float(np.isin(self.ids[~fit], self.ids[fit]).mean())
        return found | {"probe_content_seen": seen} if found["linear_probe"] else {}

    @property
    def label_name(self) -> str | None:
        """Return what the labels are called, None without any."""
        if self.labels is None:
            return None
        return self.label or CLASSES

    @property
    def _columns(self) -> list[str]:
        levels = range(1, LEVELS_MEASURED + 1)
        names = ("explained_share", "separation", "residual_ratio")
        of_level = [f"theorem/{name}_{level}" for name in names for level in levels]
        measures = ("eval/spread", "eval/rankme", "eval/auxiliary_loss", "eval/transition_error")
        clusters = (ACCURACY, "eval/within_across_ratio")
        relation = ("theorem/unexplained_levels", "theorem/certified_share", "theorem/collapsed_pairs")
        return [LEAST_EXPLAINED, *clusters, *measures, *relation, *of_level]

    def _of_embedding(self, representation: Representation, model: PJEPA) -> dict[str, float]:
        """Measure the embeddings of the observations of the relation."""
        ids = self.relation.observations
        embedding, values = representation.embedding[ids], stored_values(self.data)
        known = np.flatnonzero(values.known)
        row = {
            "eval/spread": spread(embedding),
            "eval/rankme": rankme(embedding),
            "eval/auxiliary_loss": model.auxiliary_loss(representation.embedding[known], values.value[known]),
            "eval/transition_error": transition_error(self.data, representation),
        }
        return row if self.labels is None else row | cluster_numbers(embedding, self.labels[ids])

    def _of_theorem(self, representation: Representation) -> dict[str, float]:
        share = None if self.label is None or self.labels is None else self.relation.certified_share(self.labels)
        check = check_theorem(self.relation, representation, Tolerance(sample=PAIRS), self.labels, witnesses=False)
        certified = {} if share is None else {"theorem/certified_share": share}
        return certified | theorem_numbers(check, LEVELS_MEASURED)


def _relate(data: TransitionDataset, content: ContentNote | None) -> tuple[str, NDArray[np.int64], Relation]:
    """Compute the relation, by content where each observation then has one p and one successor under an action."""
    if content is not None and choose_identity(data, "auto", False, content) == "content":
        try:
            return "content", content.ids, empirical_bisimulation(identify_by_content(data, content.ids))
        except NoWellTrainedModelError:
            pass  # one observation has two values of p
    return "occurrence", np.arange(data.frames), empirical_bisimulation(data)


def transition_error(data: TransitionDataset, representation: Representation) -> float:
    """Return the mean of ||T(E(o), a) - E(o')||^2 over the variance of E(o'): 1 where T predicts the mean embedding."""
    reached = representation.embedding[data.successor].astype(np.float64)
    error = np.square(representation.predicted_embedding - reached).sum(1).mean()
    variance = np.square(reached - reached.mean(0)).sum(1).mean()
    return float(error / variance) if variance > 0 else math.nan


def make_held_out(
    config: Config, spec: Spec, auxiliary: Auxiliary, stored: Path | None = None
) -> HeldOut | HeldOutEpisodes:
    """Make the held-out data of a run, with p as it is trained.

    Args:
        config: of the run.
        spec: shapes of its world.
        auxiliary: p, with the bins or the standardisation of the training.
        stored: the file of held-out transitions, if they were given to the run; then p is in it too.
    """
    if config.counting:
        return HeldOut(config, auxiliary)
    if stored is not None and stored.is_file():
        return HeldOutEpisodes(config, spec, read_transitions(stored))
    return HeldOutEpisodes(config, spec, auxiliary.attach(_collect_held_out(config)))


def _collect_held_out(config: Config) -> TransitionDataset:
    """Collect held-out transitions: the share of the episodes that is kept for measuring.

    Where the model acts while it trains, they are of the random policy, by a seed of their own.
    """
    if not config.collection.acts:
        return split_world(config, config.seed)[1]
    collection = dataclasses.replace(config.collection, transitions=config.evaluation.transitions)
    return collect_world(collection, HELD_OUT_SEED + config.seed)
