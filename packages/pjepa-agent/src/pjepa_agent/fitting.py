"""Train a model from a script or a notebook, on data, with a function p and an encoder that are objects there."""

import contextlib
import dataclasses
import json
import logging
import os
import signal
import sys
import tempfile
import threading
import warnings
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from bisim_theory import DatasetError, TransitionDataset, read_transitions
from bisim_theory.data.auxiliary import Values, stored_values, with_auxiliary
from bisim_theory.data.auxiliary_functions import apply_function, returned_values
from numpy.typing import ArrayLike
from torch import nn

from pjepa_agent.auxiliary import Auxiliary
from pjepa_agent.collection.dataset import metadata
from pjepa_agent.collection.disk_frames import as_trained
from pjepa_agent.config.fields import ConfigError
from pjepa_agent.config.presets import make_config
from pjepa_agent.config.schema import COUNTING, GIVEN, Config
from pjepa_agent.envs.base import Function, Spec
from pjepa_agent.envs.dataset import DatasetDomain
from pjepa_agent.envs.registry import make_domain
from pjepa_agent.envs.splits import hold_out
from pjepa_agent.model import PJEPA
from pjepa_agent.networks.encoders import EncoderFactory, check_networks, find_encoder, find_width
from pjepa_agent.run import FEW, choose_device, prepare, train_run
from pjepa_agent.runs.checkpoint import load
from pjepa_agent.runs.directory import RunDirectory, RunError
from pjepa_agent.runs.interruption import collected_signals, quiet_libraries
from pjepa_agent.training import Interrupted
from pjepa_agent.training.requirements import check_data, check_objective

logger = logging.getLogger("pjepa_agent")

Data = TransitionDataset | str | os.PathLike[str]
"""Transitions, or a path in any format that bisim-check reads."""

MOST_NAMED = 4
"""Most fields that a message names."""

STORED = "auxiliary"
"""Name of a p that stands in the data, as one that is given as an object does."""


def fit(
    data: Data,
    auxiliary: str | ArrayLike | Function | None = None,
    encoder: nn.Module | EncoderFactory | str | None = None,
    held_out: float | Data | None = None,
    run: str | os.PathLike[str] | None = None,
    *,
    settings: Config | Mapping[str, Any] | Iterable[str] = (),
    updates: int | None = None,
    seed: int | None = None,
    device: str | torch.device | None = None,
) -> PJEPA:
    """Train a model on data, and return it in its best state.

    Examples:
        >>> model = fit(data, auxiliary="reward", encoder=my_module, run="runs/mine")     # doctest: +SKIP
        >>> z = model.encode(data.observation[:10])                                       # doctest: +SKIP

    Progress is a bar on a terminal, and elsewhere, as in a notebook, a line per evaluation of the logger
    ``pjepa_agent``, on standard error unless logging shows it already. To silence it, set the level of that logger.

    Args:
        data: transitions with observations, or a path in any format that bisim-check reads.
        auxiliary: p. A name as ``pjepa-train --auxiliary`` takes it; (F,) or (F, k) numbers, a row an observation of
            `data`; or a function from observations (F, ...) and a dictionary of labels to these, called with all of
            them. None takes that of `settings`, by default the reward.
        encoder: E. A module from observations, (B, H, W, C) uint8 or (B, k) float32, to embeddings (B, d), of which a
            copy is trained; ``module:function``, or a function that is called with the `Spec` and the width of an
            embedding and returns such a module. None takes that of `settings`, by default one that fits the world.
        held_out: share of the episodes that are kept for measuring, or other data to measure with. None takes that of
            `settings`, by default a fifth.
        run: directory for the run, as pjepa-train leaves it. An unfinished run in it, of the same settings and data,
            goes on. Without one, only the model is left: the directory is a temporary one and removed.
        settings: fields of ``config.json``, as ``{"optimization.batch_size": 64}`` or ``["section.field=value"]``; or a
            whole configuration, whose world is replaced by `data`. The width of an embedding is that of a module.
        updates: optimisation steps, in place of the settings'.
        seed: of initialisation and sampling, in place of the settings'. PyTorch's own random stream stays as it was.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1`` and the like, in place of the settings'.

    Raises:
        ConfigError: a setting, p or the encoder cannot be used.
        DatasetError: the data cannot be used.
        RunError: the directory is used, or holds another run.
        TrainingError: a loss is no longer finite.
        KeyboardInterrupt: Ctrl-C; the state is saved first, if `run` is given.
        SystemExit: SIGTERM or SIGHUP, with `run` given, and the status of pjepa-train, once the state is saved.
    """
    settings = settings if isinstance(settings, Config) else _as_overrides(settings)
    name, make = (None, None) if encoder is None else find_encoder(encoder)
    config = _configure(settings, data, auxiliary, name, held_out, updates, seed)
    any_width = isinstance(encoder, nn.Module) and not _sets_width(settings)
    with _shown(), torch.random.fork_rng(range(torch.cuda.device_count())), tempfile.TemporaryDirectory() as temporary:
        quiet_libraries()
        on = choose_device(config.compute.device if device is None else device)
        parts = _prepare(config, data, auxiliary, held_out, make, any_width)
        path = Path(temporary) / "run" if run is None else Path(run)
        begins = not (path / "config.json").exists()
        directory = _begin(path, parts)
        try:
            _train(directory, parts, on, make, kept=run is not None)
        except Exception:
            if begins:
                directory.discard()
            raise
        return load(directory.path, on, "best" if directory.best.is_file() else "last", make)


class _Parts(NamedTuple):
    """Hold what a run begins with.

    Attributes:
        config: of the run.
        spec: shapes of its world.
        training, held_out: transitions with p; None where the configuration names all data.
    """

    config: Config
    spec: Spec
    training: TransitionDataset | None = None
    held_out: TransitionDataset | None = None


def _is_path(data: object) -> bool:
    return isinstance(data, str | os.PathLike)


def _configure(
    settings: Config | list[str],
    data: Data,
    auxiliary: Any,
    encoder: str | None,
    held_out: Any,
    updates: int | None,
    seed: int | None,
) -> Config:
    """Make the configuration. What no name leads to has the names `GIVEN` and `STORED` in it."""
    named_p = auxiliary is None or isinstance(auxiliary, str)
    named_data = _is_path(data) and named_p and (held_out is None or isinstance(held_out, float | int))
    dataset = os.fspath(data) if named_data and not isinstance(data, TransitionDataset) else GIVEN
    if isinstance(settings, Config):
        config = settings if not settings.counting else _of_another_world(settings)
    else:
        config = make_config(dataset=GIVEN).override(settings)
    collection = dataclasses.replace(config.collection, dataset=dataset, environment=COUNTING, arguments={})
    if isinstance(held_out, float | int):
        collection = dataclasses.replace(collection, held_out=held_out)
    objective, network = config.objective, config.network
    if auxiliary is not None:
        objective = dataclasses.replace(objective, auxiliary=auxiliary if named_p else STORED)
    if encoder is not None:
        network = dataclasses.replace(network, encoder=encoder)
    optimization = config.optimization
    if updates is not None:
        optimization = dataclasses.replace(optimization, updates=updates)
    return dataclasses.replace(
        config,
        seed=config.seed if seed is None else seed,
        collection=collection,
        network=network,
        objective=objective,
        optimization=optimization,
    )


def _of_another_world(config: Config) -> Config:
    """Take collection from the defaults of other worlds, in place of that of the counting world."""
    return dataclasses.replace(config, collection=make_config(config.preset, dataset=GIVEN).collection)


def _as_overrides(settings: Mapping[str, Any] | Iterable[str]) -> list[str]:
    if isinstance(settings, str):
        return [settings]
    if not isinstance(settings, Mapping):
        return list(settings)
    try:
        return [f"{name}={json.dumps(value)}" for name, value in settings.items()]
    except (TypeError, ValueError) as error:
        raise ConfigError(f"settings: hold what is no number, text or list ({error})") from None


def _prepare(
    config: Config,
    data: Data,
    auxiliary: Any,
    held_out: Any,
    make: EncoderFactory | None,
    any_width: bool,
) -> _Parts:
    """Read the data, attach p, and check that the networks can be made, before anything is written.

    With `any_width` embeddings are as wide as the encoder makes them.
    """
    named = config.collection.dataset != GIVEN
    domain = make_domain(config.collection) if named else _domain(config, data, auxiliary)
    spec = domain.spec
    if any_width and make is not None:
        width = find_width(make, spec, config.network.latent_dim)
        config = dataclasses.replace(config, network=dataclasses.replace(config.network, latent_dim=width))
    if named:
        return _Parts(prepare(config, make), spec)
    assert isinstance(domain, DatasetDomain)
    function = Auxiliary(config)
    training, measured = _split(config, domain, spec, auxiliary, held_out)
    training = function.attach(training)
    shape = training.auxiliary_shape
    objective = dataclasses.replace(config.objective, auxiliary_dim=shape[0] if shape else 0)
    config = dataclasses.replace(config, objective=objective)
    assert training.observation is not None
    check_networks(config, spec, torch.from_numpy(as_trained(training.observation[:FEW])), make)
    check_objective(config, spec, training, make)
    check_data(config, spec, training)
    said = metadata(config, function)
    training = dataclasses.replace(training, metadata={**training.metadata, **said}, size=training.frames)
    return _Parts(config, spec, training, function.attach(measured))


def _sets_width(settings: Config | list[str]) -> bool:
    return isinstance(settings, Config) or any(each.startswith("network.latent_dim=") for each in settings)


def _domain(config: Config, data: Data, auxiliary: Any, codes: list[int] | None = None) -> DatasetDomain:
    """Return the world of some data, with p attached if it was given as an object."""
    if isinstance(data, TransitionDataset):
        return DatasetDomain(config.collection, _with_given(data, auxiliary), codes)
    collection = dataclasses.replace(config.collection, dataset=os.fspath(data))
    domain = DatasetDomain(collection)
    return DatasetDomain(collection, _with_given(domain.read(), auxiliary), codes)


def _with_given(data: TransitionDataset, auxiliary: Any) -> TransitionDataset:
    """Attach a p that was given as an object; one of a name is attached later."""
    if auxiliary is None or isinstance(auxiliary, str):
        return data
    if callable(auxiliary):
        name = getattr(auxiliary, "__name__", type(auxiliary).__name__)
        values = apply_function(data, auxiliary, name)
    else:
        name = "given"
        values = returned_values(name, auxiliary, data.frames)
    if not np.isfinite(values).all():
        raise DatasetError(f"auxiliary {name}: is not finite for observation {np.argwhere(~np.isfinite(values))[0][0]}")
    return with_auxiliary(data, Values(values, np.ones(data.frames, bool)), STORED)


def _split(
    config: Config, domain: DatasetDomain, spec: Spec, auxiliary: Any, held_out: Any
) -> tuple[TransitionDataset, TransitionDataset]:
    """Return transitions to train on and to measure with."""
    data = domain.collect(config.seed)
    if held_out is None or isinstance(held_out, float | int):
        return hold_out(data, config.collection.held_out, config.seed)
    if auxiliary is not None and not isinstance(auxiliary, str) and not callable(auxiliary):
        auxiliary = STORED  # its values are those of the training's observations
    other = _domain(config, held_out, auxiliary, data.metadata.get("one_hot_codes"))
    mine, theirs = ((each.observation_shape, each.observation_dtype, each.action_dim) for each in (spec, other.spec))
    if mine != theirs:
        raise DatasetError(
            f"held_out: has observations {theirs[0]} {theirs[1]} and actions of {theirs[2]} numbers, the data "
            f"{mine[0]} {mine[1]} and {mine[2]}; measure in the same world"
        )
    return data, other.collect(config.seed)


def _begin(path: Path, parts: _Parts) -> RunDirectory:
    """Create the run, or open one that has begun with the same settings and data."""
    if not (path / "config.json").is_file():
        return RunDirectory.create(path, parts.config, parts.spec, parts.held_out)
    directory, stored = RunDirectory.open(path)
    if directory.report.exists():
        raise RunError(f"{path}: is finished; load({str(path)!r}) returns its model, or give another run")
    if stored != parts.config:
        raise RunError(f"{path}: holds a run of other settings ({_differing(stored, parts.config)}); give another run")
    if parts.training is not None:
        _check_same(directory.transitions, parts.training)
    if parts.held_out is not None:
        _check_same(directory.held_out, parts.held_out)
    return directory


def _differing(one: Config, other: Config) -> str:
    """Name the fields in which two configurations differ."""
    found = []
    for section, values in one.to_dict().items():
        others = other.to_dict()[section]
        if isinstance(values, dict):
            found += [f"{section}.{name}" for name in values if values[name] != others[name]]
        elif values != others:
            found.append(section)
    return ", ".join(found if len(found) <= MOST_NAMED else [*found[:MOST_NAMED], "..."])


def _check_same(path: Path, given: TransitionDataset) -> None:
    """Raise `RunError` if a file of the run holds other transitions, or another p, than are given."""
    if not path.is_file():
        return
    stored = read_transitions(path)
    same = len(stored) == len(given) and stored.frames == given.frames
    for name in ("source", "action", "successor"):
        same = same and np.array_equal(getattr(stored, name), getattr(given, name))
    then, now = stored_values(stored), stored_values(given)
    if not (same and np.array_equal(then.known, now.known) and np.array_equal(then.value, now.value)):
        raise RunError(f"{path}: holds other transitions, or another p, than are given; give another run")


def _train(
    directory: RunDirectory, parts: _Parts, device: torch.device, make: EncoderFactory | None, kept: bool
) -> None:
    """Train to the end. A signal to stop saves the state of a run that is kept, and then ends what it would end."""
    with _interruption() if kept else contextlib.nullcontext([]) as received:
        try:
            train_run(
                directory,
                parts.config,
                device,
                should_stop=lambda: bool(received),
                encoder=make,
                given=parts.training,
                results=kept,
            )
        except Interrupted as interrupted:
            said = f"saved after {interrupted.update} updates; the same call goes on with the run {directory.path}"
            if received[0] == signal.SIGINT:
                raise KeyboardInterrupt(said) from None
            logger.warning("%s: %s", signal.Signals(received[0]).name, said)
            raise SystemExit(128 + received[0]) from None


def _interruption() -> contextlib.AbstractContextManager[list[int]]:
    """Collect the signals that stop a training, which only the main thread can."""
    main = threading.current_thread() is threading.main_thread()
    return collected_signals() if main else contextlib.nullcontext([])


@contextlib.contextmanager
def _shown() -> Iterator[None]:
    """Show the log unless it is shown, or its level is set by the user. Filters of warnings are restored."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    quiet = logger.level == logging.NOTSET and not (logger.isEnabledFor(logging.INFO) and logger.hasHandlers())
    propagate = logger.propagate
    if quiet:
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        logger.propagate = False  # other handlers, as of a notebook, would show warnings a second time
    try:
        with warnings.catch_warnings():
            yield
    finally:
        if quiet:
            logger.removeHandler(handler)
            logger.setLevel(logging.NOTSET)
            logger.propagate = propagate
