"""bfloat16 where it is faster, float32 where it is not."""

import functools
from collections.abc import Mapping

import torch


@functools.cache
def has_bfloat16(device_type: str) -> bool:
    """Whether a kind of device computes in bfloat16; a processor that does not emulates it, eight times slower.

    Args:
        device_type: ``cpu`` or ``cuda``.
    """
    if device_type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    # Named avx512_bf16 and amx_bf16 on x86, and likewise elsewhere. Older versions of PyTorch cannot be asked.
    capabilities: Mapping[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    return any("bf16" in name and there is True for name, there in capabilities.items())


def autocast(device_type: str, wanted: bool) -> torch.autocast:
    """Compute in bfloat16 within this context, if that is wanted and the device has it.

    Args:
        device_type: ``cpu`` or ``cuda``.
        wanted: what the configuration says, `OptimizationConfig.autocast`.
    """
    return torch.autocast(device_type, torch.bfloat16, enabled=wanted and has_bfloat16(device_type))
