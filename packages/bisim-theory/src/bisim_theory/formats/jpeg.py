"""Images that a dataset keeps JPEG-coded."""

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bisim_theory.console import install_extra
from bisim_theory.data.transitions import DatasetError
from bisim_theory.formats.frames import LazyFrames
from bisim_theory.formats.hdf5_arrays import Hdf5File, check_own
from bisim_theory.formats.limits import damaged, shown


class EncodedImages(LazyFrames):
    """JPEG files in an array of HDF5, one for each image, decoded on access.

    Args:
        file: the file.
        name: the path of the array, of (F, B) bytes or of (F,) files of different lengths.
        shape: [H, W, C] of an image.

    Raises:
        DatasetError: the array holds something else.
    """

    def __init__(self, file: Hdf5File, name: str, shape: list[Any]) -> None:
        self.path, self.name, self._file = file.path, name, file
        dataset = file.node(name)
        check_own(file.path, name, dataset)
        if not _is_bytes(file, dataset):
            raise DatasetError(f"{self.path}: {name}: must hold JPEG files, is {shown(str(dataset.dtype))}")
        if not all(type(n) is int and 0 < n < 1 << 16 for n in shape) or len(shape) != 3 or shape[2] not in (1, 3):
            raise DatasetError(f"{self.path}: {name}: holds images {shown(shape)}, must be (H, W, 1 or 3)")
        self.shape = (int(dataset.shape[0]), *shape)
        self.dtype = np.dtype(np.uint8)

    @staticmethod
    def holds(file: Hdf5File, name: str, shape: list[Any]) -> bool:
        """Return whether an array holds files and not images of a shape."""
        dataset = file.node(name)
        return hasattr(dataset, "chunks") and _is_bytes(file, dataset) and list(dataset.shape[1:]) != shape

    def read_range(self, start: int, stop: int) -> NDArray[Any]:
        """Decode the images of a range."""
        try:
            files = self._file.node(self.name)[start:stop]
            images = np.empty((stop - start, *self.shape[1:]), np.uint8)
            for image, content in zip(images, files, strict=True):
                image[...] = _decode(bytes(content), *self.shape[1:])
        except ImportError:
            raise DatasetError(
                f"{self.path}: {self.name}: is JPEG-coded, and decoding it needs the extra html: "
                f"{install_extra('html')}"
            ) from None
        except (DatasetError, MemoryError):
            raise
        except Exception as error:
            raise damaged(f"{self.path}: {self.name}", error) from None
        return images


def _is_bytes(file: Hdf5File, dataset: Any) -> bool:
    files = file.lengths_vary(dataset)
    return dataset.shape is not None and (
        (len(dataset.shape) == 1 and files) or (len(dataset.shape) == 2 and dataset.dtype == np.uint8)
    )


def _decode(content: bytes, height: int, width: int, channels: int) -> NDArray[Any]:
    from PIL import Image

    with Image.open(io.BytesIO(content), formats=("JPEG",)) as image:
        if image.size != (width, height):  # before anything is decoded
            raise ValueError(f"an image has {image.size[0]} x {image.size[1]} pixels, not {width} x {height}")
        return np.asarray(image.convert("L" if channels == 1 else "RGB")).reshape(height, width, channels)
