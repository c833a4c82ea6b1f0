"""Draw the gallery of the documentation, four shapes in rows and nine counts in columns.

Run it with ``uv run python examples/draw_gallery.py docs/figures/gallery.png``.
"""

import sys

import counting_env
import numpy as np
from counting_env.drawing import SHAPES
from PIL import Image

COLORS = ((225, 90, 70), (90, 200, 110), (95, 140, 225), (225, 190, 70))
FRAME, ENLARGED = 2, 2


def main(path: str) -> None:
    """Draw the gallery and write it to `path`."""
    env = counting_env.CountingEnv()
    env.reset(seed=0)
    rows = []
    for shape, color in zip(SHAPES, COLORS, strict=True):
        options = {"shape": shape, "color": color}
        images = [env.reset(options=options | {"count": count})[0] for count in range(9)]
        rows.append(
            np.concatenate([np.pad(i, ((0, FRAME), (0, FRAME), (0, 0)), constant_values=90) for i in images], 1)
        )
    gallery = np.concatenate(rows)[:-FRAME, :-FRAME]
    Image.fromarray(gallery.repeat(ENLARGED, 0).repeat(ENLARGED, 1)).save(path)


if __name__ == "__main__":
    main(sys.argv[1])
