"""Colours as people with a colour vision deficiency see them, and how far apart they are then."""

import numpy as np
from matplotlib.colors import to_rgb

SIMULATED = {
    "none": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
    "no colours": np.tile([0.2126, 0.7152, 0.0722], (3, 1)),  # as on a grey print
}
"""Matrices on linear RGB: Machado, Oliveira and Fernandes (2009), severity 1."""

TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def as_seen(colors, vision):
    """Linear RGB (n, 3) of colours that Matplotlib knows, as seen with `vision`."""
    encoded = np.array([to_rgb(color) for color in colors])
    linear = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    return np.clip(linear @ np.array(SIMULATED[vision]).T, 0, 1)


def lab(colors, vision):
    """CIE L*a*b* (n, 3) of colours, of which the first is the lightness."""
    xyz = as_seen(colors, vision) @ TO_XYZ.T / TO_XYZ.sum(1)
    root = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz * (29 / 6) ** 2 / 3 + 4 / 29)
    return np.stack([116 * root[:, 1] - 16, 500 * (root[:, 0] - root[:, 1]), 200 * (root[:, 1] - root[:, 2])], 1)


def nearest(colors, vision):
    """The smallest difference of two of the colours, CIE 1976: about 2 is just seen, 10 at a glance."""
    found = lab(colors, vision)
    differences = np.linalg.norm(found[:, None] - found, axis=-1)
    return differences[~np.eye(len(found), dtype=bool)].min()
