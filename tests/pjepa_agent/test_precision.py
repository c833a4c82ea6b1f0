"""bfloat16 only where a device has it."""

import types

import pytest
import torch
from pjepa_agent.precision import autocast, has_bfloat16


@pytest.fixture(autouse=True)
def _asked_anew():
    has_bfloat16.cache_clear()
    yield
    has_bfloat16.cache_clear()


@pytest.mark.parametrize(
    ("capabilities", "has"),
    [
        ({"avx2": True, "avx512_bf16": False, "amx_bf16": False, "architecture": "x86_64"}, False),
        ({"avx2": True, "avx512_bf16": True, "amx_bf16": False, "architecture": "x86_64"}, True),
        ({"neon": True, "bf16": True, "sve_max_length": 256, "architecture": "arm64"}, True),
        ({}, False),
    ],
)
def test_a_processor_computes_in_bfloat16_where_it_has_it(monkeypatch, capabilities, has):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: types.MappingProxyType(capabilities), raising=False)
    a, b = torch.randn(4, 4), torch.randn(4, 4)
    with autocast("cpu", True):
        assert (a @ b).dtype == (torch.bfloat16 if has else torch.float32)
    with autocast("cpu", False):
        assert (a @ b).dtype == torch.float32
