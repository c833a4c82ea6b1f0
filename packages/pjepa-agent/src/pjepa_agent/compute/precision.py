"""Compute in bfloat16 where that is faster, in float32 elsewhere."""

import functools
from collections.abc import Mapping

import torch


@functools.cache
def has_bfloat16(device_type: str) -> bool:
    """Tell whether a kind of device has bfloat16 instructions. Emulating them takes eight times as long.

    Args:
        device_type: ``cpu`` or ``cuda``.
    """
    if device_type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    # The capabilities are named avx512_bf16 and amx_bf16 on x86. Older versions of PyTorch have no such function.
    capabilities: Mapping[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    return any("bf16" in name and present is True for name, present in capabilities.items())


def autocast(device_type: str, wanted: bool) -> torch.autocast:
    """Make a context that computes in bfloat16, if that is wanted and the device has it.

    Args:
        device_type: ``cpu`` or ``cuda``.
        wanted: `OptimizationConfig.autocast`.
    """
    return torch.autocast(device_type, torch.bfloat16, enabled=wanted and has_bfloat16(device_type))
