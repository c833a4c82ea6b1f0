"""Losses that PyTorch's compiler has made C++ of, with the compiler of the machine."""

import torch
from support.trainings import check_compiled


def test_what_is_compiled_computes_the_same(tmp_path):
    torch.set_num_threads(1)
    check_compiled(tmp_path)
