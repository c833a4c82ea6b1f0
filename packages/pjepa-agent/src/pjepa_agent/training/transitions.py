"""The transitions that a run trains on: read from its directory or collected, and checked against its configuration."""

import dataclasses
import functools
import logging
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from bisim_theory import TransitionDataset, read_transitions, write_transitions
from bisim_theory.console import counted
from bisim_theory.data.auxiliary_functions import stored_bins
from bisim_theory.data.left_out import describe_labels_left_out

from pjepa_agent.auxiliary import Auxiliary, same_values
from pjepa_agent.compute.processes import Processes
from pjepa_agent.config.presets import WORLD
from pjepa_agent.config.schema import CollectionConfig, Config
from pjepa_agent.envs.registry import make_domain
from pjepa_agent.evaluation.before_training import describe_counting, describe_relation
from pjepa_agent.runs.directory import RunDirectory, RunError
from pjepa_agent.runs.fingerprint import fingerprint

logger = logging.getLogger("pjepa_agent")

COPIED = 1 << 31
"""Most bytes of frames of a dataset that are copied into a run."""

LARGE, USUAL = 128, 64
"""Largest side of an image of which nothing is said, and the side that is proposed for larger ones."""

OF_ENVIRONMENTS = ("target", "transitions", "max_episode_steps", "action_repeat", "environments")
"""Settings of collection that have no meaning for a dataset."""

FINGERPRINTED = 256
"""Transitions whose observations the fingerprint of p is taken of."""


def prepare_transitions(
    run: RunDirectory, config: Config, processes: Processes, collect_data: Callable[[], TransitionDataset]
) -> tuple[TransitionDataset, Callable[[], None] | None]:
    """Read or collect the run's transitions.

    Returns:
        The transitions and, if they are newly collected, a function that writes them. A run that ends before it is done
        collects the very same ones again.
    """
    if run.transitions.is_file() and processes.size == 1:  # several collect anew, since they standardise p together
        data = read_transitions(run.transitions)
        _check_origin(run, config, data)
        if data.observation is None and config.collection.dataset:
            data = collect_data()  # the frames stayed where they were
            _check_dataset(run, config, data)
            return data, None
        _check_dataset(run, config, data)
        run.keep_bins(stored_bins(data))  # a run that was killed between the two files
        _check_auxiliary(run, config, data)
        return data, None
    if config.collection.dataset:
        _say_what_is_ignored(config.collection)
    else:
        logger.info("collecting %s%s", counted(config.collection.transitions, "transition"), _large(run, config))
    data = collect_data()
    for sentence in describe_labels_left_out(data.metadata):
        logger.info("no labels: %s", sentence)
    _check_dataset(run, config, data)
    run.keep_bins(stored_bins(data))
    if config.counting:
        return data, functools.partial(_describe_and_write, run, data)
    logger.info("%s", describe_relation(data))
    return data, functools.partial(write_transitions, run.transitions, _without_many_frames(run, data))


def _say_what_is_ignored(collection: CollectionConfig) -> None:
    """Log the settings of an environment that are other than the default and change nothing of a dataset."""
    changed = [
        f"collection.{name}={getattr(collection, name)}"
        for name in OF_ENVIRONMENTS
        if getattr(collection, name) != getattr(WORLD, name)
    ]
    if changed:
        said = "is of an environment and changes" if len(changed) == 1 else "are of an environment and change"
        logger.warning("%s: %s nothing here; all of the dataset is used, as it was recorded", ", ".join(changed), said)


def _large(run: RunDirectory, config: Config) -> str:
    """Say how much more than usual images of another world are, where no size is set; else nothing."""
    shape = run.read_spec().observation_shape
    if config.counting or config.collection.size or len(shape) != 3 or max(shape[:2]) <= LARGE:
        return ""
    times = shape[0] * shape[1] / USUAL**2
    gigabytes = config.collection.transitions * math.prod(shape) / 1e9
    return (
        f", whose images of {shape[0]} x {shape[1]} are {gigabytes:.2g} GB in all and have {times:.0f} times the "
        f"pixels of {USUAL} x {USUAL} to train on; collection.size={USUAL} resizes them"
    )


def _describe_and_write(run: RunDirectory, data: TransitionDataset) -> None:
    """Say what the relation says of the counting world's transitions, and write them, while the first updates run."""
    logger.info("%s", describe_counting(data, online=False))
    write_transitions(run.transitions, data)


def _without_many_frames(run: RunDirectory, data: TransitionDataset) -> TransitionDataset:
    """Leave frames in the file that they are in, where they are too many to be copied into the run."""
    frames = data.observation
    assert frames is not None
    if isinstance(frames, np.ndarray) or math.prod(frames.shape) * frames.dtype.itemsize <= COPIED:
        return data
    logger.info("%s: leaves out the observations, which stay in %s", run.transitions, data.metadata.get("dataset"))
    return dataclasses.replace(data, observation=None, size=data.frames)


def _check_origin(run: RunDirectory, config: Config, data: TransitionDataset) -> None:
    """Raise `RunError` if the transitions are of another world, which the run's measures do not fit."""
    kind = "dataset" if config.collection.dataset else "environment"
    found, wanted = data.metadata.get(kind), getattr(config.collection, kind)
    if found != wanted:
        raise RunError(
            f"{run.transitions}: holds transitions of {found or f'an unnamed {kind}'}, this run needs those of "
            f"{wanted}; restore the run's own file, or begin a new run"
        )


def auxiliary_fingerprint(config: Config) -> dict[str, Any] | None:
    """Compute the fingerprint of a function of the user's, on a few observations that the seed fixes."""
    if ":" not in config.objective.auxiliary or not config.counting:
        return None  # of another world the stored transitions tell
    few = make_domain(dataclasses.replace(config.collection, transitions=FINGERPRINTED)).collect(config.seed)
    assert few.observation is not None
    return fingerprint(few, Auxiliary(config)(few.observation, few.labels))


def _check_auxiliary(run: RunDirectory, config: Config, data: TransitionDataset) -> None:
    """Raise `RunError` if a function of the user's has other values than when the run began."""
    name = config.objective.auxiliary
    if ":" not in name or data.observation is None:
        return
    bare = dataclasses.replace(
        data, auxiliary=None, observation_auxiliary=None, observation_auxiliary_known=None, size=data.frames
    )
    function = Auxiliary(config, bins=run.read_spec().auxiliary_bins or None)
    if not same_values(function.attach(bare), data):
        raise RunError(
            f"{run.transitions}: auxiliary: holds other values than {name} now has, so the function has changed since "
            "the run began; restore it, or begin a new run"
        )


def _check_dataset(run: RunDirectory, config: Config, data: TransitionDataset) -> None:
    """Raise `RunError` unless the configured model can be trained on the data."""
    rows, spec = (len(data),), run.read_spec()
    dim = config.objective.auxiliary_values
    p = "auxiliary" if config.counting else "observation_auxiliary"
    found_p, of_p = getattr(data, p), len(data) if config.counting else data.frames
    shapes: dict[str, tuple[tuple[int, ...] | None, tuple[int, ...]]] = {
        "observation": (
            None if data.observation is None else data.observation.shape,
            (data.frames, *spec.observation_shape),
        ),
        "action_value": (None if data.action_value is None else data.action_value.shape, (*rows, spec.action_dim)),
        p: (None if found_p is None else found_p.shape, (of_p, dim) if dim else (of_p,)),
    }
    if config.network.control_heads:
        for name in ("reward", "terminated"):
            value = getattr(data, name)
            shapes[name] = (None if value is None else value.shape, rows)
    for name, (found, expected) in shapes.items():
        if found != expected:
            what = "is missing" if found is None else f"is {found}"
            raise RunError(f"{run.transitions}: {name}: {what}, this run needs {expected}")
