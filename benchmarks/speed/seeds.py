"""Measure what several seeds at once cost: encoders by themselves, on streams and stacked, and updates in turn.

Command: ``uv run python -m benchmarks.speed.seeds``, on a CPU or a GPU. *Stacked* encoders are one, whose parameters
have an axis of seeds that `torch.func.vmap` maps over. All ways take turns in each round; take their ratios.
"""

import argparse
import copy
import dataclasses
import functools
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from pjepa_agent.compute import graph
from pjepa_agent.compute.precision import autocast
from pjepa_agent.compute.turns import Steps, take_turns
from pjepa_agent.config.presets import PRESETS, make_config
from pjepa_agent.config.schema import Config
from pjepa_agent.envs.counting import SPEC
from pjepa_agent.networks.encoders import make_encoder
from pjepa_agent.run import choose_device
from pjepa_agent.runs.directory import RunDirectory
from pjepa_agent.runs.interruption import quiet_libraries
from pjepa_agent.training import Trainer
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from benchmarks.speed.throughput import small, updating, wait
from benchmarks.tables import markdown

IN_ORDER, STREAMS, STACKED = "one after the other", "each on a stream", "stacked"

Work = Callable[[], object]

MOST_IDLE = 10_000
"""Turns for which a training waits until all others are warm."""


def encoders(config: Config, number: int, device: torch.device) -> list[nn.Module]:
    """Make the encoders of several seeds."""
    made = []
    for seed in range(number):
        torch.manual_seed(seed)
        made.append(make_encoder(config, SPEC, None).to(device))
    return made


def gradients(encoder: nn.Module, images: Tensor) -> tuple[Tensor, ...]:
    """Return the gradients of the mean square of the embeddings of images (B, H, W, C)."""
    loss = encoder(images).float().square().mean()
    return torch.autograd.grad(loss, list(encoder.parameters()))


class Stacked:
    """Several encoders as one, with an axis of seeds before those of each parameter.

    Args:
        encoders: of one configuration.
    """

    def __init__(self, encoders: Sequence[nn.Module]) -> None:
        self.parameters, self.buffers = stack_module_state(list(encoders))
        self._form = copy.deepcopy(encoders[0])
        for layer in self._form.modules():
            if isinstance(layer, nn.ReLU):
                layer.inplace = False
            if hasattr(layer, "_format"):
                layer._format = torch.contiguous_format  # with an axis more there is no other

    def gradients(self, images: Tensor) -> dict[str, Tensor]:
        """Return what `gradients` does for each encoder, stacked; images (N, B, H, W, C)."""

        def embed(parameters: Mapping[str, Tensor], buffers: Mapping[str, Tensor], seen: Tensor) -> Any:
            return functional_call(self._form, (parameters, buffers), (seen,))

        embedding = vmap(embed)(self.parameters, self.buffers, images)
        loss = embedding.float().square().flatten(1).mean(1).sum()
        return dict(zip(self.parameters, torch.autograd.grad(loss, list(self.parameters.values())), strict=True))


def ways(config: Config, number: int, device: torch.device) -> dict[str, Work]:
    """Return what gives the device the forward and backward passes of several encoders, by how it does.

    On CUDA each piece of work is the replay of a graph, so that the host is no part of the time.
    """
    each = encoders(config, number, device)
    stacked = Stacked(each)
    batch = config.optimization.batch_size
    images = torch.randint(0, 256, (number, batch, *SPEC.observation_shape), dtype=torch.uint8, device=device)

    def in_precision(function: Callable[..., object], *arguments: object) -> object:
        with autocast(device.type, config.optimization.autocast):
            return function(*arguments)

    single = [
        replayed(functools.partial(in_precision, gradients, encoder, seen), device)
        for encoder, seen in zip(each, images, strict=True)
    ]
    found: dict[str, Work] = {IN_ORDER: lambda: [work() for work in single]}
    if device.type == "cuda":
        streams = [torch.cuda.Stream(device) for _ in single]
        found[STREAMS] = functools.partial(on_streams, streams, single)
    found[STACKED] = replayed(functools.partial(in_precision, stacked.gradients, images), device)
    return found


def replayed(function: Work, device: torch.device) -> Work:
    """Return a function that gives the device the same work: on CUDA the replay of a graph."""
    stream = graph.side_stream(device)
    for _ in range(graph.WARM_UP):
        graph.on_stream(stream, function)
    if stream is None:
        return function
    captured, result = graph.capture(function, [], stream)
    return functools.partial(_replay, captured, function, result)


def _replay(captured: graph.Graph, *_: object) -> None:
    """Replay a graph, beside what it reads and writes, which has to be kept."""
    captured.replay()


def on_streams(streams: Sequence[torch.cuda.Stream], works: Sequence[Work]) -> None:
    """Give each work to a stream of its own, after what the current one has and before what comes on it."""
    current = torch.cuda.current_stream()
    for stream, work in zip(streams, works, strict=True):
        stream.wait_stream(current)
        with torch.cuda.stream(stream):
            work()
    for stream in streams:
        current.wait_stream(stream)


def milliseconds(found: Mapping[str, Work], rounds: int, repeats: int, device: torch.device) -> dict[str, list[float]]:
    """Measure the milliseconds of each way in each round; the first round warms up."""
    times: dict[str, list[float]] = {name: [] for name in found}
    for round_ in range(rounds + 1):
        for name, work in found.items():
            wait(device)
            started = time.perf_counter()
            for _ in range(repeats):
                work()
            wait(device)
            if round_:
                times[name].append(1e3 * (time.perf_counter() - started) / repeats)
    return times


class Clock:
    """Time several works in turn from when all of them are warm until the last has done its updates."""

    def __init__(self, number: int) -> None:
        self.number, self.warm = number, 0
        self.started, self.ended = 0.0, 0.0


def timed(config: Config, device: torch.device, warm_up: int, updates: int, clock: Clock) -> Steps[None]:
    """Do the updates of one training, a step each, once all trainings are warm."""
    with tempfile.TemporaryDirectory() as folder:
        step = updating(Trainer(config, RunDirectory.create(Path(folder) / "run", config), None, device))
        for _ in range(warm_up):
            step()
            yield
        clock.warm += 1
        for _ in range(MOST_IDLE):
            if clock.warm == clock.number:
                break
            yield
        else:
            raise RuntimeError(f"{clock.number} seeds: there is no memory for all of them")
        if not clock.started:
            wait(device)
            clock.started = time.perf_counter()
        for _ in range(updates):
            step()
            yield
        if device.type == "cuda":
            torch.cuda.current_stream(device).synchronize()
        clock.ended = time.perf_counter()


def rate_in_turn(config: Config, number: int, device: torch.device, warm_up: int, updates: int) -> float:
    """Return the updates per second of several seeds together, as ``--seeds`` trains them on a GPU."""
    clock = Clock(number)
    works = [
        (seed, functools.partial(timed, dataclasses.replace(config, seed=seed), device, warm_up, updates, clock))
        for seed in range(number)
    ]
    for ended in take_turns(works, device, number):
        if ended.error is not None:
            raise ended.error
    return number * updates / (clock.ended - clock.started)


def make_parser() -> argparse.ArgumentParser:
    """Return the options of the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", choices=PRESETS, default="laptop", help="(default: %(default)s)")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="cpu or cuda")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 4], help="how many at once (default: 1 2 4)")
    parser.add_argument("--rounds", type=int, default=5, help="after the one that warms up (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=5, help="passes or updates a round (default: %(default)s)")
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.FIELD=VALUE", help="set a field")
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print the table."""
    options = make_parser().parse_args(arguments)
    quiet_libraries()
    device = choose_device(options.device)
    config = make_config(options.preset).override(options.set)
    # Batch statistics of a batch in bfloat16 cannot be mapped over.
    config = config.override(["optimization.autocast=false"]) if config.network.normalization == "batch" else config
    header, rows = [IN_ORDER, *([STREAMS] if device.type == "cuda" else []), STACKED], []
    for number in options.seeds:
        times = milliseconds(ways(config, number, device), options.rounds, options.repeats, device)
        rate = rate_in_turn(small(config), number, device, 6, options.rounds * options.repeats)
        cells = [f"{statistics.median(times[name]) / number:.1f}" for name in header]
        rows.append([str(number), *cells, f"{rate:.1f}"])
    print(markdown(["seeds", *(f"ms an encoder, {name}" for name in header), "updates/s in turn"], rows))


if __name__ == "__main__":
    main()
