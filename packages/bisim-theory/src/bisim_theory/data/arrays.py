"""Conversion of arrays, tensors and lists to NumPy arrays, in which no digit is lost."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from bisim_theory.data.transitions import Frames

BYTES_READ = 1 << 31
"""Most bytes of frames that a function of the user's is given as one array."""

NARROW = ("bfloat16", "float8_", "float6_", "float4_")
"""Beginnings of the names of floating-point types that NumPy lacks; float32 has all their numbers."""


def to_numpy(value: Any) -> NDArray[Any]:
    """Convert numbers of NumPy, PyTorch or another library to an array that NumPy can compute with.

    A tensor is detached and copied off its device, and a type of `NARROW` becomes float32. A long double becomes
    float64 if that holds every number exactly.

    Raises:
        ValueError: the value is no array of numbers, is masked in places, or would lose digits; the message says which.
    """
    try:
        array = np.asarray(_plain(value))
    except (ValueError, TypeError, RuntimeError, BufferError) as error:
        raise ValueError(f"is no array ({' '.join(str(error).split())})") from None
    if np.ma.is_masked(value):
        raise ValueError("is masked in places; leave out what is masked, or fill it in")
    if array.dtype.name.startswith(NARROW):
        return array.astype(np.float32)
    return _as_double(array) if array.dtype.kind == "f" and array.dtype.itemsize > 8 else array


def is_tensor(value: Any) -> bool:
    """Return whether a value is a tensor of PyTorch, which need not be installed."""
    return callable(getattr(value, "detach", None)) and callable(getattr(value, "cpu", None))


def _plain(value: Any) -> Any:
    """Return a value whose tensors, in lists too, are ones that NumPy takes."""
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value] if any(map(_has_tensors, value[:1])) else value
    if not is_tensor(value):
        return value
    value = value.detach().cpu()
    return value.float() if str(value.dtype).removeprefix("torch.").startswith(NARROW) else value


def _has_tensors(value: Any) -> bool:
    return any(map(_has_tensors, value[:1])) if isinstance(value, list | tuple) else is_tensor(value)


def _as_double(array: NDArray[Any]) -> NDArray[np.float64]:
    with np.errstate(over="ignore", under="ignore"):
        double = array.astype(np.float64)
    lost = (double != array) & ~np.isnan(array)
    if lost.any():
        row = np.argwhere(lost)[0]
        where = f"row {row[0]}" if len(row) else "its number"
        raise ValueError(f"{where} has more digits than float64; round it, as astype(numpy.float64) does")
    return double


def in_memory(frames: "Frames") -> "Frames":
    """Return frames as an array, unless they are more than `BYTES_READ`, of which a file is read as it is indexed."""
    size = frames.dtype.itemsize * int(np.prod([int(n) for n in frames.shape], dtype=object))
    return frames if isinstance(frames, np.ndarray) or size > BYTES_READ else frames[: frames.shape[0]]
