"""A capture on the CPU that repeats what a CUDA graph does: the very operations, on the very tensors."""

import contextlib

import torch
from pjepa_agent.compute import graph, random
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

WAITS = {
    torch.ops.aten._local_scalar_dense.default,
    torch.ops.aten.nonzero.default,
    torch.ops.aten._unique2.default,
    torch.ops.aten.masked_select.default,
}
"""Operations whose result, or its shape, the host waits for: CUDA refuses to capture them."""


class Recording(TorchDispatchMode):
    """Record operations below autograd, so those of the backward pass and of the optimiser too.

    Unlike a CUDA graph's they are done while they are recorded; `take_back` undoes what they wrote.
    """

    current = None

    def __init__(self):
        super().__init__()
        self.calls, self.written = [], []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func in WAITS:
            raise RuntimeError("operation not permitted when stream is capturing\nas CUDA says")
        for argument, value in zip(func._schema.arguments, args, strict=False):
            writes = argument.alias_info is not None and argument.alias_info.is_write
            if writes or argument.name.startswith("running_"):  # of a batch normalisation, which does not say so
                self.written += [(each, each.detach().clone()) for each in tree_leaves(value) if each is not None]
        result = func(*args, **kwargs)
        self.calls.append((func, args, kwargs, result))
        return result

    def note(self, action):
        """Do something on the host at this place of every replay, as the driver changes the state of a generator."""
        action()
        self.calls.append((action, (), {}, None))

    @torch.no_grad()
    def take_back(self):
        for tensor, value in reversed(self.written):
            tensor.copy_(value)
        self.written.clear()

    @torch.no_grad()
    def replay(self):
        for func, args, kwargs, result in self.calls:
            again = func(*args, **kwargs)
            for old, new in zip(tree_leaves(result), tree_leaves(again), strict=True):
                if isinstance(old, torch.Tensor) and old.data_ptr() != new.data_ptr():
                    old.copy_(new)


def capture(function, generators, stream):
    """Capture as `pjepa_agent.compute.graph.capture` does."""
    Recording.current = Recording()
    try:
        with Recording.current:
            result = function()
    finally:
        Recording.current.take_back()
    return Recording.current, result


@contextlib.contextmanager
def drawing_from(generator):
    """Draw from another generator than the CPU's own, as `pjepa_agent.compute.random.drawing_from` does for CUDA."""
    own = []

    def begin():
        own.append(torch.get_rng_state())
        torch.set_rng_state(generator.get_state())

    def end():
        generator.set_state(torch.get_rng_state())
        torch.set_rng_state(own.pop())

    Recording.current.note(begin)
    yield
    Recording.current.note(end)


def emulate(monkeypatch):
    """Let updates be captured on the CPU."""
    monkeypatch.setattr(graph, "capture", capture)
    monkeypatch.setattr(random, "drawing_from", drawing_from)
