"""Losses that PyTorch's compiler has made C++ of, with the compiler of the machine."""

import pytest
import torch
from support.trainings import check_compiled, losses_of, with_all_parts
from torch._inductor import cpp_builder


def test_what_is_compiled_computes_the_same(tmp_path):
    torch.set_num_threads(1)
    check_compiled(tmp_path)


def forget_compilers():
    """Forget what other tests of this process compiled, and which compiler they found."""
    torch._dynamo.reset()
    torch._inductor.utils.clear_caches()
    for each in vars(cpp_builder).values():
        if hasattr(type(each), "cache_clear"):
            each.cache_clear()


@pytest.mark.parametrize("missing", ["the one that CXX names", "all"])
def test_without_a_compiler_training_goes_on_as_it_is(tmp_path, monkeypatch, caplog, missing):
    torch.set_num_threads(1)
    forget_compilers()
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "cache"))
    if missing == "all":
        monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    config = with_all_parts()
    _, expected = losses_of(config.override(["compute.compile=off"]), tmp_path / "eager", 2)
    compiler = "g++" if missing == "all" else str(tmp_path / "no-such-compiler")
    with torch._inductor.config.patch({"cpp.cxx": (None, compiler)}):
        _, found = losses_of(config.override(["compute.compile=on"]), tmp_path / "not compiled", 2)
    # Not to the bit: where an array begins in memory decides in which order a sum is taken.
    for row, wanted in zip(found, expected, strict=True):
        assert row == pytest.approx(wanted, rel=1e-4, abs=1e-4)
    (said,) = [record.getMessage() for record in caplog.records if record.name == "pjepa_agent"]
    assert said.startswith("compute.compile: the losses cannot be compiled here (No working C++ compiler found")
