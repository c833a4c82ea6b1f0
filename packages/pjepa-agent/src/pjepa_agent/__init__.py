"""P-JEPA: encoder, latent dynamics and an auxiliary head, trained jointly with TorchRL and TensorDict."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pjepa_agent.runs.checkpoint import load

__all__ = ["load"]


def __getattr__(name: str) -> Any:
    # PyTorch takes seconds to import, and `pjepa-train --help` need not wait for it.
    if name == "load":
        from pjepa_agent.runs.checkpoint import load

        return load
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
