"""A whole run: collect, train, and leave everything in the run directory."""

import dataclasses
import functools
import logging
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import torch
from bisim_theory import TransitionDataset, read_transitions, write_transitions
from bisim_theory.files import write_json

from pjepa_agent.auxiliary import Auxiliary
from pjepa_agent.collection.policy import collect
from pjepa_agent.collection.replay import OnlineReplay
from pjepa_agent.compute.processes import SINGLE_PROCESS, Processes
from pjepa_agent.config.schema import SCALAR_AUXILIARIES, Config
from pjepa_agent.evaluation.held_out import compare_with_untrained
from pjepa_agent.evaluation.theorem import write_run_representation
from pjepa_agent.runs.directory import RunDirectory, RunError
from pjepa_agent.runs.loggers import WandbMode, make_logger
from pjepa_agent.runs.metrics import ACCURACY
from pjepa_agent.runs.progress import TrainingProgress
from pjepa_agent.runs.provenance import record_start
from pjepa_agent.training.trainer import Training, collect_dataset, metadata

logger = logging.getLogger("pjepa_agent")


def choose_device(name: torch.device | str) -> torch.device:
    """The device for ``auto``, ``cpu`` or ``cuda``; raises `RunError` where there is no such device."""
    if isinstance(name, torch.device):
        return name
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda":
        if not torch.cuda.is_available():
            raise RunError("--device cuda: PyTorch finds no CUDA device here; use --device cpu or auto")
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device(name)


def prepare(config: Config) -> Config:
    """The configuration with the number of values that its auxiliary function turns out to have.

    The function is applied to a few observations: one that cannot be used is refused before anything is written.

    Raises:
        ConfigError: there is no such function, it fails, or its values cannot be learnt.
    """
    auxiliary = Auxiliary(config)
    few = collect(dataclasses.replace(config.collection, transitions=8), config.seed)
    assert few.observation is not None
    values = auxiliary(few.observation, few.labels)
    if config.objective.auxiliary in SCALAR_AUXILIARIES:
        return config
    dim = 0 if values.ndim == 1 else values.shape[1]
    return dataclasses.replace(config, objective=dataclasses.replace(config.objective, auxiliary_dim=dim))


def train_run(
    run: RunDirectory,
    config: Config,
    device: torch.device | str = "auto",
    wandb: WandbMode = "disabled",
    should_stop: Callable[[], bool] = lambda: False,
    processes: Processes = SINGLE_PROCESS,
    collected: Callable[[], TransitionDataset] | None = None,
) -> dict[str, Any]:
    """Begin or continue a run and finish it.

    Args:
        run: a directory with ``config.json``, from `RunDirectory.create` or `RunDirectory.open`.
        config: what to train.
        device: ``auto``, ``cpu`` or ``cuda``.
        wandb: ``disabled``, ``offline`` or ``online``.
        should_stop: asked after each update.
        processes: the processes that train this run together; each has to call this.
        collected: returns this process's transitions, if they are being collected already.

    Returns:
        What ``report.json`` then holds, and nothing where this process is not the one that writes it.

    Raises:
        RunError: the run is finished already, or something in it cannot be used.
        ConfigError: the auxiliary function cannot be used.
        TrainingError: a loss is no longer finite.
        Interrupted: `should_stop` said so; the run can be continued.
    """
    processes.local_batch_size(config.optimization.batch_size)
    data = functools.partial(collect_dataset, config, processes, collected)
    if not processes.is_main:
        _follow(run, config, choose_device(device), should_stop, processes, data)
        return {}
    with run.exclusive():
        return _lead(run, config, choose_device(device), wandb, should_stop, processes, data)


def _follow(
    run: RunDirectory,
    config: Config,
    device: torch.device,
    should_stop: Callable[[], bool],
    processes: Processes,
    data: Callable[[], TransitionDataset],
) -> None:
    """Train as a rank that writes nothing."""
    transitions = None if config.collection.online else data()
    Training(config, run, transitions, device, processes).train(should_stop=should_stop)


def _lead(
    run: RunDirectory,
    config: Config,
    device: torch.device,
    wandb: WandbMode,
    should_stop: Callable[[], bool],
    processes: Processes,
    data: Callable[[], TransitionDataset],
) -> dict[str, Any]:
    begun = time.perf_counter()
    if run.report.exists():
        raise RunError(f"{run.path}: is finished; its numbers are in {run.report}")
    # The logger first, since it can refuse.
    with make_logger(wandb, run, config) as wandb_logger, ThreadPoolExecutor(1) as beside:
        transitions, write = (None, None) if config.collection.online else _dataset(run, config, processes, data)
        writing: Future[None] | None = None
        training = Training(config, run, transitions, device, processes)
        record_start(run, config, device)
        before = training.seconds
        with TrainingProgress(config.optimization.updates, training.update) as progress:

            def on_update(update: int) -> None:
                nonlocal writing
                progress.update(update)
                if write is not None and writing is None:
                    writing = beside.submit(write)
                elif writing is not None and writing.done():
                    writing.result()  # raises what went wrong

            def on_metrics(row: dict[str, float]) -> None:
                progress.metrics(row)
                wandb_logger.log(row)

            training.train(on_update, on_metrics, should_stop)
        if write is not None:
            (writing or beside.submit(write)).result()
        # All of it before wandb is waited for, which may be away.
        if transitions is None:
            transitions = _write_recent(run, config, training)
        _write_results(run, transitions, training)
        logger.info("measuring the held-out observations, beside the untrained encoder")
        held_out = compare_with_untrained(training.held_out, training.evaluated)
        report = _report(config, training, before + time.perf_counter() - begun, held_out)
        write_json(run.report, report)
    return report


def _dataset(
    run: RunDirectory, config: Config, processes: Processes, make_data: Callable[[], TransitionDataset]
) -> tuple[TransitionDataset, Callable[[], None] | None]:
    """The run's transitions and, if they are newly collected, what writes them, while the training goes on.

    A run that ends before they are written collects the very same ones again.
    """
    if run.transitions.is_file() and processes.size == 1:  # several collect anew, since they standardise p together
        data = read_transitions(run.transitions)
        _check_dataset(run, config, data)
        return data, None
    logger.info("collecting %d transitions", config.collection.transitions)
    data = make_data()
    _check_dataset(run, config, data)
    return data, functools.partial(write_transitions, run.transitions, data)


def _write_recent(run: RunDirectory, config: Config, training: Training) -> TransitionDataset:
    """Keep what the buffer holds at the end as the run's transitions."""
    assert isinstance(training.sampler, OnlineReplay)
    data = dataclasses.replace(training.sampler.dataset(), metadata=metadata(config))
    write_transitions(run.transitions, data)
    return data


def _check_dataset(run: RunDirectory, config: Config, data: TransitionDataset) -> None:
    """Raise `RunError` unless the configured model can be trained on the data."""
    rows = (len(data),)
    dim = config.objective.auxiliary_values
    shapes: dict[str, tuple[tuple[int, ...] | None, tuple[int, ...]]] = {
        "observation": (None if data.observation is None else data.observation.shape, (data.frames, 64, 64, 3)),
        "action_value": (None if data.action_value is None else data.action_value.shape, (*rows, 1)),
        "auxiliary": (None if data.auxiliary is None else data.auxiliary.shape, (*rows, dim) if dim else rows),
    }
    if config.network.control_heads:
        for name in ("reward", "terminated"):
            value = getattr(data, name)
            shapes[name] = (None if value is None else value.shape, rows)
    for name, (found, expected) in shapes.items():
        if found != expected:
            what = "is missing" if found is None else f"is {found}"
            raise RunError(f"{run.transitions}: {name}: {what}, this run needs {expected}")


def _write_results(run: RunDirectory, data: TransitionDataset, training: Training) -> None:
    from pjepa_agent.figures.run import write_figures  # matplotlib takes a second, which the start need not wait for

    logger.info("writing the representation of %d observations, and the figures", data.frames)
    write_run_representation(run, data, training.evaluated)
    embedding, counts = training.held_out.embed(training.evaluated)
    write_figures(run.figures, embedding, counts, training.metrics)


def _report(config: Config, training: Training, seconds: float, held_out: dict[str, Any]) -> dict[str, Any]:
    """The numbers that matter; `seconds` is everything from the start, collection, probes and figures included."""
    accuracy = training.metrics.column(ACCURACY)
    best = training.metrics.most_compact
    return {
        "seed": config.seed,
        "preset": config.preset,
        "experiment": config.experiment,
        "auxiliary": config.objective.auxiliary,
        "updates": training.update,
        "seconds": round(seconds, 3),
        "nearest_centroid_accuracy": accuracy[-1],
        "best_nearest_centroid_accuracy": best[ACCURACY],
        "best_update": int(best["update"]),
        "untrained_nearest_centroid_accuracy": accuracy[0],
        "within_across_ratio": training.metrics.column("eval/within_across_ratio")[-1],
        "device": str(training.device),
        "held_out": held_out,
    }
