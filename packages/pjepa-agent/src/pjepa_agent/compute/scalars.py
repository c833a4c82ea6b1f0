"""Numbers that the host sets and the device reads."""

import torch
from torch import Tensor


class Scalar:
    """Hold a number as a tensor of shape () on the device.

    A captured graph reads the number there at every replay. A Python number would stay what it was at the capture, and
    nothing would say so.

    Args:
        device: of the tensor.
        dtype: of the tensor.
    """

    def __init__(self, device: torch.device, dtype: torch.dtype = torch.float32) -> None:
        self.tensor: Tensor = torch.zeros((), device=device, dtype=dtype)
        self._value: float | None = None

    def set(self, value: float) -> None:
        """Write a number to the device, unless it is there already."""
        if value != self._value:
            self.tensor.fill_(value)
            self._value = value
