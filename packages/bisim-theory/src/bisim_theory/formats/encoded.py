"""Frames that are stored as image files, such as JPEG, and decoded where they are read."""

import hashlib
import io
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from bisim_theory.data.transitions import DatasetError, Ids
from bisim_theory.formats.frames import LazyFrames
from bisim_theory.formats.limits import first_line

LOSSY = "which images are equal, as they are JPEG-coded and equal ones may differ; they are told apart by occurrence"
"""Sentence for the metadata of a dataset with such images."""

_JPEG = b"\xff\xd8\xff"
_MOST_PIXELS = 1 << 26
_AT_ONCE = 256
"""Most encoded images in memory at a time."""


class Blobs(Protocol):
    """A column of encoded images."""

    what: str
    """Name of the file and of the column, for messages."""

    def __len__(self) -> int: ...

    def read(self, start: int, stop: int) -> list[bytes]:
        """Return the images of a range, as they are stored."""


class EncodedFrames(LazyFrames):
    """Images of one size, decoded with Pillow.

    Attributes:
        lossy: True where they are JPEG files, of which equal ones may show what was different, and the reverse.

    Args:
        blobs: the encoded images, at least one.

    Raises:
        DatasetError: the first image is damaged.
        ImportError: Pillow is not installed.
    """

    def __init__(self, blobs: Blobs) -> None:
        import PIL.Image  # noqa: F401 - so that its absence is noticed here

        self._blobs = blobs
        self.dtype = np.dtype(np.uint8)
        first = blobs.read(0, 1)[0]
        self.shape = (len(blobs), *self._decode(0, first).shape)
        self.lossy = first.startswith(_JPEG)

    def read_range(self, start: int, stop: int) -> NDArray[Any]:
        """Decode the images of a range."""
        out = np.empty((stop - start, *self.shape[1:]), np.uint8)
        for begin in range(start, stop, _AT_ONCE):
            for row, blob in enumerate(self._blobs.read(begin, min(begin + _AT_ONCE, stop)), begin):
                image = self._decode(row, blob)
                if image.shape != self.shape[1:]:
                    raise DatasetError(
                        f"{self._blobs.what}: row {row} is an image {image.shape}, row 0 is {self.shape[1:]}"
                    )
                out[row - start] = image
        return out

    def _decode(self, row: int, blob: bytes) -> NDArray[np.uint8]:
        """Decode one image, (H, W, 3), or (H, W, 1) where it is grey."""
        from PIL import Image

        try:
            with Image.open(io.BytesIO(blob), formats=("JPEG", "PNG")) as image:
                if image.width * image.height > _MOST_PIXELS:
                    raise DatasetError(f"{self._blobs.what}: row {row} is an image of {image.width} x {image.height}")
                array = np.asarray(image if image.mode in ("L", "RGB") else image.convert("RGB"))
        except DatasetError:
            raise
        except Exception as error:  # a damaged image can raise almost anything
            raise DatasetError(f"{self._blobs.what}: row {row} is no image ({first_line(error)})") from None
        return array if array.ndim == 3 else array[:, :, None]

    def digests(self, most: int) -> Ids:
        """Compute (B,) ids of the first `most` images, equal where the stored bytes are."""
        first: dict[bytes, int] = {}
        ids = []
        for begin in range(0, min(most, len(self)), _AT_ONCE):
            for blob in self._blobs.read(begin, min(begin + _AT_ONCE, most, len(self))):
                ids.append(first.setdefault(hashlib.blake2b(blob, digest_size=32).digest(), len(first)))
        return np.array(ids, np.int64)
