"""Measure a model on held-out observations and transitions, which no update sees."""

import dataclasses
import functools
import math
from typing import Any, Protocol

import numpy as np
from bisim_theory import TransitionDataset
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from pjepa_agent.auxiliary import Auxiliary
from pjepa_agent.config.schema import Config
from pjepa_agent.envs.base import Spec
from pjepa_agent.envs.counting import SPEC, CountingDomain
from pjepa_agent.evaluation.clusters import (
    between_within_variance,
    gap_over_radius,
    nearest_centroid_accuracy,
    silhouette,
    spread,
    within_across_ratio,
)
from pjepa_agent.evaluation.effective_rank import lidar, rankme
from pjepa_agent.evaluation.imagination import imagine_counts
from pjepa_agent.evaluation.probes import probe
from pjepa_agent.evaluation.theorem import HeldOutTransitions
from pjepa_agent.model import PJEPA
from pjepa_agent.networks.encoders import EncoderFactory
from pjepa_agent.runs.metrics import ACCURACY

HELD_OUT_SEED = 2**31
"""Offset of the seeds of held-out data, larger than every seed of a run."""

EPISODE = 16
"""Least limit of steps of a held-out episode: longer episodes have deeper levels of R_D*."""

VIEWS = 8
"""Views of every scene for LiDAR, with the objects at other places."""


class HeldOut:
    """Collect the held-out data of a run, fixed by its seed, and measure models on it.

    Args:
        config: the configuration of the run.
        auxiliary: p with the standardisation of the training; None to standardise on the held-out data.
    """

    def __init__(self, config: Config, auxiliary: Auxiliary | None = None) -> None:
        self.config, self.spec = config, SPEC
        self._auxiliary = auxiliary
        self.size = config.evaluation
        reference, scored = self.size.reference_per_count, self.size.scored_per_count
        self.domain = CountingDomain(config.collection)
        self.images, self.labels = self.domain.balanced_observations(reference + scored, self._seed(0))
        self.counts = self.labels["count"]
        self.scored = np.arange(len(self.counts)) % (reference + scored) >= reference

    label_name = "count"
    """Name of the labels."""

    @functools.cached_property
    def auxiliary(self) -> Auxiliary:
        """Return p, created lazily so that drawing embeddings does not import the user's module."""
        return self._auxiliary or Auxiliary(self.config)

    @functools.cached_property
    def transitions(self) -> HeldOutTransitions:
        """Return held-out transitions of episodes at least as long as those of the training."""
        steps = max(EPISODE, self.config.collection.max_episode_steps)
        collection = dataclasses.replace(
            self.config.collection, transitions=self.size.transitions, max_episode_steps=steps
        )
        data: TransitionDataset = CountingDomain(collection).collect(self._seed(1))
        assert data.observation is not None
        values = self.auxiliary(data.observation, data.labels)
        return HeldOutTransitions(dataclasses.replace(data, auxiliary=values[data.source]))

    @functools.cached_property
    def _values(self) -> NDArray[Any]:
        """Return p of the scored observations, sorted by count."""
        labels = {name: label[self.scored] for name, label in self.labels.items()}
        return self.auxiliary(self.images[self.scored], labels)

    def embed(self, model: PJEPA) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Return embeddings (m, d) and counts (m,) of the scored observations."""
        return model.encode(self.images[self.scored]).numpy(), self.counts[self.scored]

    def accuracy(self, embedding: NDArray[np.floating[Any]]) -> float:
        """Return the nearest-centroid accuracy of embeddings of all `images`; the centroids are of those not scored."""
        scored, counts = self.scored, self.counts
        return nearest_centroid_accuracy(embedding[~scored], counts[~scored], embedding[scored], counts[scored])

    def measure(self, model: PJEPA) -> dict[str, float]:
        """Return the measures of every evaluation, by their names in ``metrics.csv``."""
        with one_thread():
            return self._measure(model.encode(self.images).numpy(), model)

    def measure_all(self, model: PJEPA) -> dict[str, Any]:
        """Return all measures by name, including silhouette, LiDAR and probes, which take seconds."""
        with one_thread():
            return self._measure_all(model)

    def _measure_all(self, model: PJEPA) -> dict[str, Any]:
        embedding = model.encode(self.images).numpy()
        found: dict[str, Any] = {
            name.removeprefix("eval/").replace("theorem/", "theorem_"): value
            for name, value in self._measure(embedding, model).items()
        }
        if np.isfinite(embedding).all():
            found["silhouette"] = silhouette(embedding[self.scored], self.counts[self.scored])
            rest, counts = ~self.scored, self.counts
            found["imagined"] = imagine_counts(
                model, embedding[rest], counts[rest], embedding[self.scored], counts[self.scored], self.config.seed
            )
            found |= self._measure_slow(embedding[self.scored], model)
        return found

    def _measure(self, embedding: NDArray[np.float32], model: PJEPA) -> dict[str, float]:
        """Return the measures of every evaluation, given the embeddings of all `images`."""
        scored = embedding[self.scored]
        arranged = scored, self.counts[self.scored]
        return {
            ACCURACY: self.accuracy(embedding),
            "eval/within_across_ratio": within_across_ratio(*arranged),
            "eval/between_within_variance": between_within_variance(*arranged),
            "eval/gap_over_radius": gap_over_radius(*arranged),
            "eval/spread": spread(scored),
            "eval/rankme": rankme(scored),
            "eval/auxiliary_loss": model.auxiliary_loss(scored, self._values),
            **self.transitions.measure(model),
        }

    def _measure_slow(self, scored: NDArray[np.float32], model: PJEPA) -> dict[str, Any]:
        """Return LiDAR and the scores of probes, or nothing where no probes are configured."""
        per_count = self.size.probe_per_count
        if not per_count:
            return {}
        scenes, names = self.domain.redrawn_scenes(max(per_count // VIEWS, 2), VIEWS, self._seed(2))
        images, labels = self.domain.balanced_observations(per_count, self._seed(3))
        of_scored = {name: label[self.scored] for name, label in self.labels.items()}
        probes = probe(model.encode(images).numpy(), labels, scored, of_scored, images.shape[1])
        return {
            "lidar": lidar(model.encode(scenes).numpy(), names),
            **{f"{kind}_probe": scores for kind, scores in probes.items() if kind != "chance"},
            "chance": probes["chance"],
        }

    def _seed(self, part: int) -> int:
        """Return the seed of one part of the held-out data."""
        return (part + 1) * HELD_OUT_SEED + self.config.seed


def one_thread() -> threadpool_limits:
    """Limit the matrix products of NumPy and SciPy to one thread within a context; PyTorch keeps its threads.

    The products are small, so that several threads wait for each other: where another process uses a core, a probe of
    0.2 seconds takes 16.
    """
    return threadpool_limits(1, user_api="blas")


class Measured(Protocol):
    """Held-out data of a run."""

    config: Config
    spec: Spec

    def measure_all(self, model: PJEPA) -> dict[str, Any]:
        """Return all measures by name."""


def compare_with_untrained(
    held_out: Measured, model: PJEPA, encoder: EncoderFactory | None = None
) -> dict[str, dict[str, Any]]:
    """Return all measures of a model, ``trained``, and of its initial weights, ``untrained``.

    Values that are not finite become None.

    Args:
        held_out: the data.
        model: of it.
        encoder: makes its encoder, where the configuration does not name one.
    """
    untrained = PJEPA.untrained(held_out.config, held_out.spec, encoder)
    untrained.copy_standardization(model)
    untrained = untrained.to(model.device)
    return {"trained": _finite(held_out.measure_all(model)), "untrained": _finite(held_out.measure_all(untrained))}


def _is_infinite(value: Any) -> bool:
    return isinstance(value, float) and not math.isfinite(value)


def _finite(values: dict[str, Any]) -> dict[str, Any]:
    """Replace values that are not finite by None, in nested dictionaries too."""
    return {
        name: _finite(value) if isinstance(value, dict) else None if _is_infinite(value) else value
        for name, value in values.items()
    }
