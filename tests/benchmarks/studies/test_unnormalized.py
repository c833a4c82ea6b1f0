"""Measures of encoders without normalisation."""

from types import SimpleNamespace

import numpy as np

from benchmarks.studies import unnormalized


def test_the_darkest_are_those_with_the_darkest_objects():
    """Of ten colours of every count the two darkest are embedded at another's place, and none of the empty ones."""
    counts = np.tile(np.repeat([0, 1, 2], 10), 2)
    color = np.tile(np.arange(10), 6)
    images = np.zeros((60, 4, 4, 3), np.uint8)
    images[counts > 0, 1, 2] = 20 * (color[counts > 0, None] + 1)
    scored = np.arange(60) >= 30
    wrong = scored & (color < 2) & (counts > 0)
    embedding = np.eye(3)[np.where(wrong, (counts + 1) % 3, counts)]
    held_out = SimpleNamespace(images=images, counts=counts, scored=scored)
    assert unnormalized.darkest(held_out, embedding) == 0
    assert unnormalized.darkest(held_out, np.eye(3)[counts]) == 1
