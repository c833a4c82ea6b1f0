"""One run from end to end: collect, train, evaluate, and write everything into the run directory."""

import dataclasses
import functools
import logging
import math
import time
from collections.abc import Callable
from typing import Any

import torch
from bisim_theory import TransitionDataset, write_transitions
from bisim_theory.console import counted
from bisim_theory.data.imported import describe_error
from bisim_theory.files import write_json

from pjepa_agent.auxiliary import Auxiliary, same_values
from pjepa_agent.collection.acting import ActingReplay
from pjepa_agent.collection.dataset import collect_dataset, metadata
from pjepa_agent.collection.disk_frames import as_trained
from pjepa_agent.collection.replay import OnlineReplay
from pjepa_agent.compute.graph import check_graph
from pjepa_agent.compute.processes import SINGLE_PROCESS, Processes
from pjepa_agent.compute.turns import Steps, finish
from pjepa_agent.config.fields import DEVICES, ConfigError, is_device
from pjepa_agent.config.schema import SCALAR_AUXILIARIES, Config
from pjepa_agent.envs.registry import make_domain
from pjepa_agent.evaluation.before_training import describe_counting, describe_relation
from pjepa_agent.evaluation.held_out import compare_with_untrained
from pjepa_agent.evaluation.held_out_episodes import HeldOutEpisodes, make_held_out
from pjepa_agent.evaluation.theorem import write_run_representation
from pjepa_agent.networks.encoders import EncoderFactory, check_networks
from pjepa_agent.planning.acting import check_acting
from pjepa_agent.runs.background import BackgroundWrite
from pjepa_agent.runs.directory import RunDirectory, RunError
from pjepa_agent.runs.loggers import WandbMode, make_logger
from pjepa_agent.runs.metrics import ACCURACY
from pjepa_agent.runs.progress import TrainingProgress
from pjepa_agent.runs.provenance import record_start
from pjepa_agent.training import Trainer
from pjepa_agent.training.requirements import check_data, check_given_codes, check_objective
from pjepa_agent.training.transitions import auxiliary_fingerprint, prepare_transitions

logger = logging.getLogger("pjepa_agent")

FEW = 8
"""Transitions on which it is tried whether p can be used."""

SYMBOLS = {"dynamics": "T", "head": "P"}
"""The parts of a world model beside E, as messages name them."""


def choose_device(name: torch.device | str) -> torch.device:
    """Return the device of a name, and make a GPU of a given number the current one.

    Args:
        name: ``auto``, ``cpu``, ``cuda``, ``cuda:1`` and the like, or a device.

    Raises:
        RunError: there is no such device here, or several processes would share it.
    """
    if isinstance(name, torch.device) and name.type != "cuda":
        return name
    name = str(name)
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    kind, _, number = name.partition(":")
    if not is_device(name):
        raise RunError(f"--device {name}: must be {DEVICES}")
    if kind == "cpu":
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise RunError(f"--device {name}: PyTorch finds no CUDA device here; use --device cpu or auto")
    if number:
        _choose_gpu(name, int(number))
    return torch.device("cuda", torch.cuda.current_device())


def _choose_gpu(name: str, number: int) -> None:
    """Make a GPU the current one, which CUDA graphs and kernels that are compiled are of."""
    found = torch.cuda.device_count()
    if number >= found:
        numbers = "cuda:0" if found == 1 else f"cuda:0 to cuda:{found - 1}"
        raise RunError(f"--device {name}: PyTorch finds {numbers} here")
    if number == torch.cuda.current_device():
        return
    if torch.distributed.is_initialized() and torch.distributed.get_world_size() > 1:
        raise RunError(f"--device {name}: several processes train, each on a GPU of its own; use --device cuda")
    torch.cuda.set_device(number)


def prepare(config: Config, encoder: EncoderFactory | None = None) -> Config:
    """Set the number of values that the auxiliary function has.

    The function, and an encoder and an objective of the user's, are applied to a few transitions, so that what cannot
    be used is refused before anything is written.

    Args:
        config: of a run.
        encoder: makes E, where the configuration does not name it.

    Raises:
        ConfigError: there is no such function, it fails, its values cannot be learnt, or a network or the objective
            cannot be made.
        DatasetError: the dataset or the environment cannot be used.
    """
    domain = make_domain(dataclasses.replace(config.collection, transitions=FEW))
    few = domain.collect(config.seed)
    few = _attach_twice(config, few)
    shape = few.auxiliary_shape
    assert few.observation is not None
    check_networks(config, domain.spec, torch.from_numpy(as_trained(few.observation[:FEW])), encoder)
    if config.objective.auxiliary not in SCALAR_AUXILIARIES:
        dim = shape[0] if shape else 0
        config = dataclasses.replace(config, objective=dataclasses.replace(config.objective, auxiliary_dim=dim))
    check_objective(config, domain.spec, few, encoder)
    check_given_codes(config, domain.spec, few)
    check_acting(config, domain.spec)
    if config.collection.dataset:
        check_data(config, domain.spec, few)  # all of it is here
    return config


def _attach_twice(config: Config, few: TransitionDataset) -> TransitionDataset:
    """Attach p, and raise `ConfigError` where it has other values when it is asked again for the same observations."""
    once, again = (Auxiliary(config).attach(few) for _ in range(2))
    if not same_values(once, again):
        raise ConfigError(
            f"auxiliary {config.objective.auxiliary}: has other values when asked again of the same observations; p is "
            "a function of the observation, so seed in it what is random"
        )
    return once


def collect_run(
    run: RunDirectory, config: Config, prefetched: Callable[[], TransitionDataset] | None = None
) -> TransitionDataset:
    """Collect the transitions of a run, say what Theorem 3 says of them, and write them. Train nothing.

    `train_run` then goes on as with any run that was stopped.

    Args:
        run: a directory with ``config.json``, from `RunDirectory.create`.
        config: of the run, which collects before it trains.
        prefetched: returns the transitions, if they are being collected already.

    Raises:
        ConfigError: the world, the auxiliary function or the label to measure with cannot be used.
        DatasetError: the transitions lack what the objective needs.
    """
    with run.exclusive():
        data, write = prepare_transitions(
            run, config, SINGLE_PROCESS, lambda: collect_dataset(config, SINGLE_PROCESS, prefetched, run.read_spec())
        )
        spec = run.read_spec()
        check_data(config, spec, data)
        if not config.counting:  # of which whole episodes are held out, perhaps too few
            make_held_out(config, spec, Auxiliary.as_trained(config, spec.auxiliary_bins, data), run.held_out)
        if write is not None:
            write()
        record_start(run, config, torch.device("cpu"), auxiliary_fingerprint(config))
    return data


def train_run(
    run: RunDirectory,
    config: Config,
    device: torch.device | str | None = None,
    wandb: WandbMode = "disabled",
    should_stop: Callable[[], bool] = lambda: False,
    processes: Processes = SINGLE_PROCESS,
    prefetched: Callable[[], TransitionDataset] | None = None,
    encoder: EncoderFactory | None = None,
    given: TransitionDataset | None = None,
    results: bool = True,
) -> dict[str, Any]:
    """Start a run, or continue it, and finish it.

    Args:
        run: a directory with ``config.json``, from `RunDirectory.create` or `RunDirectory.open`.
        config: what to train.
        device: ``auto``, ``cpu``, ``cuda``, or ``cuda:1`` and the like; None takes that of the configuration.
        wandb: ``disabled``, ``offline`` or ``online``.
        should_stop: asked after each update.
        processes: the processes that train this run together; each has to call this.
        prefetched: returns this process's transitions, if they are being collected already.
        encoder: makes E, where the configuration does not name it.
        given: the transitions to train on, with p, where the configuration does not name them.
        results: write the transitions, their representation, figures and the report, not the trained states alone.

    Returns:
        What ``report.json`` then holds; nothing without results, and on any but the main process.

    Raises:
        RunError: the run is finished already, or something in it cannot be used.
        ConfigError: the auxiliary function cannot be used.
        TrainingError: a loss is no longer finite.
        Interrupted: `should_stop` said so; the run can be continued.
    """
    return finish(
        train_in_steps(
            run, config, device, wandb, should_stop, processes, prefetched, encoder, given, results, progress_bar=True
        )
    )


def train_in_steps(
    run: RunDirectory,
    config: Config,
    device: torch.device | str | None = None,
    wandb: WandbMode = "disabled",
    should_stop: Callable[[], bool] = lambda: False,
    processes: Processes = SINGLE_PROCESS,
    prefetched: Callable[[], TransitionDataset] | None = None,
    encoder: EncoderFactory | None = None,
    given: TransitionDataset | None = None,
    results: bool = True,
    progress_bar: bool = False,
) -> Steps[dict[str, Any]]:
    """Do what `train_run` does, a step an update, so that others can train in turn; see `compute.turns`.

    Progress is shown by log lines alone, unless there is to be a bar.
    """
    processes.local_batch_size(config.optimization.batch_size)
    if config.optimization.frozen_batch_size:
        processes.local_batch_size(config.optimization.frozen_batch_size, "frozen_batch_size")
    device = choose_device(config.compute.device if device is None else device)
    check_graph(config.compute, device, processes)
    spec = run.read_spec()

    def collect_data() -> TransitionDataset:
        return collect_dataset(config, processes, prefetched, spec) if given is None else given

    if not processes.is_main:
        _run_other_process(run, config, device, should_stop, processes, collect_data, encoder)
        return {}
    with run.exclusive():
        return (
            yield from _run_main_process(
                run, config, device, wandb, should_stop, processes, collect_data, encoder, results, progress_bar
            )
        )


def _run_other_process(
    run: RunDirectory,
    config: Config,
    device: torch.device,
    should_stop: Callable[[], bool],
    processes: Processes,
    collect_data: Callable[[], TransitionDataset],
    encoder: EncoderFactory | None,
) -> None:
    """Train as a process that writes nothing."""
    data = None if config.collection.while_training else collect_data()
    Trainer(config, run, data, device, processes, encoder).train(should_stop=should_stop)


def _run_main_process(
    run: RunDirectory,
    config: Config,
    device: torch.device,
    wandb: WandbMode,
    should_stop: Callable[[], bool],
    processes: Processes,
    collect_data: Callable[[], TransitionDataset],
    encoder: EncoderFactory | None,
    results: bool,
    progress_bar: bool,
) -> Steps[dict[str, Any]]:
    """Train, evaluate, and write everything in the run directory, a step an update."""
    started = time.perf_counter()
    if run.report.exists():
        raise RunError(f"{run.path}: is finished; its numbers are in {run.report}")
    # The logger first, since it can refuse.
    with make_logger(wandb, run, config) as wandb_logger, BackgroundWrite() as background:
        data, write = None, None
        if not config.collection.while_training:
            data, write = prepare_transitions(run, config, processes, collect_data)
            check_data(config, run.read_spec(), data)
        write = write if results else None
        trainer = Trainer(config, run, data, device, processes, encoder)
        _say_what_is_detached(config, trainer)
        record_start(run, config, device, auxiliary_fingerprint(config))
        say = None
        if results and isinstance(trainer.replay, OnlineReplay | ActingReplay) and not trainer.update:
            say = functools.partial(_describe_online, trainer.replay.latest, config)
        seconds_before = trainer.state.seconds
        updates = config.optimization.updates
        with TrainingProgress(updates, trainer.update, config.best_column, bar=progress_bar) as progress:

            def on_update(update: int) -> None:
                progress.update(update)
                if (task := write or say) is not None:
                    background.start_or_poll(task)

            def on_metrics(row: dict[str, float]) -> None:
                progress.metrics(row)
                wandb_logger.log(row)

            yield from trainer.updates(on_update, on_metrics, should_stop)
        if not results:
            return {}
        if write is not None:
            background.finish(write)
        if data is None:
            data = _write_recent(run, config, trainer)
        # All of it before wandb is waited for, which may be away.
        _write_results(run, data, trainer)
        logger.info("measuring the held-out observations, and those of the untrained encoder")
        held_out = compare_with_untrained(trainer.held_out, trainer.evaluated, encoder)
        report = _report(config, trainer, seconds_before + time.perf_counter() - started, held_out)
        write_json(run.report, report)
    return report


def _say_what_is_detached(config: Config, trainer: Trainer) -> None:
    """Log which of T and P the objective has not, or does not train the encoder with."""
    if trainer.objective.detached:
        parts = " and ".join(SYMBOLS[name] for name in sorted(trainer.objective.detached))
        name = config.objective.name
        logger.info("%s: learnt on detached embeddings, beside objective %s", parts, name)


def _describe_online(data: TransitionDataset, config: Config) -> None:
    """Say what the relation says of the transitions before the first update, while the first updates run."""
    acts = config.collection.acts
    logger.info("%s", describe_counting(data, True, acts) if config.counting else describe_relation(data, acts))


def _write_recent(run: RunDirectory, config: Config, trainer: Trainer) -> TransitionDataset:
    """Write what the replay buffer holds at the end as the run's transitions."""
    assert isinstance(trainer.replay, OnlineReplay | ActingReplay)
    data = trainer.replay.dataset()
    data = dataclasses.replace(data, metadata={**data.metadata, **metadata(config, trainer.replay.auxiliary)})
    write_transitions(run.transitions, data)
    return data


def _write_results(run: RunDirectory, data: TransitionDataset, trainer: Trainer) -> None:
    logger.info("writing the representation of %s, and the figures", counted(data.frames, "observation"))
    write_run_representation(run, data, trainer.evaluated)
    try:
        _write_figures(run, trainer)
    except OSError:  # a full disk, on which the report would not fit either
        raise
    except Exception as error:  # no picture is worth the report of a finished training
        logger.warning("%s: cannot be drawn (%s); the run is whole without", run.figures, describe_error(error))


def _write_figures(run: RunDirectory, trainer: Trainer) -> None:
    held_out = trainer.held_out  # matplotlib takes a second to import, which the start need not wait for
    if isinstance(held_out, HeldOutEpisodes):
        from pjepa_agent.figures.world import write_world_figures

        write_world_figures(run.figures, held_out, trainer.evaluated, trainer.metrics)
    else:
        from pjepa_agent.figures.run import write_figures

        write_figures(run.figures, *held_out.embed(trainer.evaluated), trainer.metrics)


def _report(config: Config, trainer: Trainer, seconds: float, held_out: dict[str, Any]) -> dict[str, Any]:
    """Collect the numbers of ``report.json``; `seconds` includes collection, probes and figures."""
    accuracy = trainer.metrics.column(ACCURACY)
    best = trainer.metrics.best_row(config.best_column)
    return {
        "seed": config.seed,
        "preset": config.preset,
        "experiment": config.experiment,
        "world": config.collection.dataset or config.collection.environment,
        "objective": config.objective.name,
        "detached": sorted(trainer.objective.detached),
        "auxiliary": config.objective.auxiliary,
        "updates": trainer.update,
        "seconds": round(seconds, 3),
        "nearest_centroid_accuracy": accuracy[-1],
        "best_nearest_centroid_accuracy": best[ACCURACY],
        "best_update": int(best["update"]),
        "untrained_nearest_centroid_accuracy": accuracy[0],
        "within_across_ratio": trainer.metrics.column("eval/within_across_ratio")[-1],
        **_collected(trainer),
        "device": str(trainer.device),
        "held_out": held_out,
    }


def _collected(trainer: Trainer) -> dict[str, float | None]:
    """Return what was collected while training, by bare names; None where no episode has ended."""
    measures = trainer.replay.measures()
    return {
        name.removeprefix("collection/"): value if math.isfinite(value) else None for name, value in measures.items()
    }
