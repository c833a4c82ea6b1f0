"""Capture work on a CUDA device as a graph, and find out what a graph would not repeat."""

from collections.abc import Callable, Iterable, Mapping
from typing import Protocol, TypeVar

import torch
from torch import Tensor, nn

from pjepa_agent.compute.processes import Processes
from pjepa_agent.config.fields import ConfigError
from pjepa_agent.config.schema import ComputeConfig

Result = TypeVar("Result")

WARM_UP = 3
"""Calls before a capture: libraries choose their algorithms, and memory is allocated, in the first ones."""


def wants_graph(config: ComputeConfig, device: torch.device, processes: Processes) -> bool:
    """Tell whether updates are to be captured as one graph: where there is CUDA, in a process that trains alone.

    Adam has to be the fused kernel, which skips a step that is not finite without waiting for the device.
    """
    if config.graph == "auto":
        return device.type == "cuda" and processes.size == 1 and config.fast_paths
    return config.graph == "on"


def check_graph(config: ComputeConfig, device: torch.device, processes: Processes) -> None:
    """Raise `ConfigError` where a graph is asked for that there can be none of."""
    if config.graph != "on":
        return
    if device.type != "cuda":
        raise ConfigError(f"compute.graph='on': is for a CUDA device, and this run trains on {device}; leave it auto")
    if processes.size > 1:
        raise ConfigError(
            f"compute.graph='on': is for a process that trains alone, and these are {processes.size}; leave it auto"
        )


class Graph(Protocol):
    """Work that was captured."""

    def replay(self) -> None:
        """Do the work again, on the tensors that it was captured with."""


def capture(
    function: Callable[[], Result], generators: Iterable[torch.Generator], stream: torch.cuda.Stream | None
) -> tuple[Graph, Result]:
    """Capture what a function does on a CUDA device, without doing it.

    Args:
        function: reads and writes tensors of the device, and asks the host for nothing.
        generators: that it draws from, besides the device's own.
        stream: on which it was called before.

    Returns:
        The graph, and what the function returned, whose tensors each replay writes.

    Raises:
        RuntimeError: it cannot be captured. The device's stream and generator are as before.
    """
    current = torch.cuda.current_stream()
    own = torch.cuda.default_generators[torch.cuda.current_device()]
    before = own.get_state()
    graph = torch.cuda.CUDAGraph()
    for generator in generators:
        graph.register_generator_state(generator)
    try:
        # Of this thread: another one may write a file meanwhile.
        with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
            result = function()
    except Exception:
        # A capture that cannot be ended leaves its stream the current one, and the state of the generator in a capture,
        # in which nothing can be drawn.
        torch.cuda.set_stream(current)
        own.graphsafe_set_state(torch.Generator(own.device).graphsafe_get_state())
        own.set_state(before)
        raise
    return graph, result


def side_stream(device: torch.device) -> torch.cuda.Stream | None:
    """Make a stream to warm up and to capture on; None on a CPU."""
    return torch.cuda.Stream(device) if device.type == "cuda" else None


def on_default_stream(device: torch.device) -> bool:
    """Tell whether a CUDA device is given its work on its default stream; False on a CPU."""
    return device.type == "cuda" and torch.cuda.current_stream(device) == torch.cuda.default_stream(device)


def on_stream(stream: torch.cuda.Stream | None, function: Callable[[], Result]) -> Result:
    """Call a function on a stream, after all work of the current stream and before what follows there."""
    if stream is None:
        return function()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        result = function()
    torch.cuda.current_stream().wait_stream(stream)
    return result


def reason_of(error: BaseException) -> str:
    """Return the first line of what went wrong first: to end a capture that has failed raises too."""
    while (earlier := error.__cause__ or error.__context__) is not None:
        error = earlier
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__


HostState = Mapping[str, object]
"""Python values and places of tensors by name, and states of generators."""


def host_state(modules: Iterable[nn.Module]) -> HostState:
    """Return what a call on the host may change and a replay would not: plain attributes, tensors that are replaced.

    Args:
        modules: with their submodules.
    """
    found: dict[str, object] = {}
    for number, root in enumerate(modules):
        for path, module in root.named_modules():
            place = f"{number}.{type(module).__name__}" if not path else f"{number}.{path}"
            for name, value in vars(module).items():
                if name in ("_parameters", "_buffers"):
                    found |= {f"{place}.{key}": _frozen(each) for key, each in value.items()}
                elif not name.startswith("_"):
                    found[f"{place}.{name}"] = _frozen(value)
    return found


def changed_host_state(before: HostState, after: HostState) -> str | None:
    """Name the first attribute that differs; None if none does."""
    names = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    return names[0].partition(".")[2] if names else None


def _frozen(value: object) -> object:
    """Return something equal only if a value is what it was: a number or text, a tensor's place, else the object."""
    if isinstance(value, Tensor):
        return value.data_ptr(), tuple(value.shape)
    if isinstance(value, list | tuple):
        return tuple(_frozen(each) for each in value)
    if isinstance(value, dict):
        return tuple((key, _frozen(each)) for key, each in value.items())
    return value if isinstance(value, int | float | str | type(None)) else id(value)
