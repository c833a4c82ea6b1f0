"""Datasets that were read, compared element by element with what was recorded."""

import numpy as np
from bisim_theory.data.transitions import chunks


def frames_of(data, ids=None):
    frames = np.concatenate(list(chunks(data.observation, 5)))
    return frames if ids is None else frames[ids]


def check(data, recorded, discrete=True):
    """Check that every step is as it was recorded, in order."""

    def steps(name, rows=slice(None)):
        return np.concatenate([episode[name][rows] for episode in recorded])

    np.testing.assert_array_equal(frames_of(data, data.source), steps("observation", slice(-1)))
    np.testing.assert_array_equal(frames_of(data, data.successor), steps("observation", slice(1, None)))
    if discrete:
        np.testing.assert_array_equal(data.action, steps("action"))
        assert data.action_value is None
    else:
        np.testing.assert_array_equal(data.action_value, steps("action"))
    np.testing.assert_allclose(data.reward, steps("reward"), rtol=1e-6)
    np.testing.assert_array_equal(data.terminated, steps("terminated"))
    np.testing.assert_array_equal(data.truncated, steps("truncated"))
    number = np.repeat(np.arange(len(recorded)), [len(episode["action"]) for episode in recorded])
    np.testing.assert_array_equal(np.unique(data.episode, return_inverse=True)[1].reshape(-1), number)
    assert data.auxiliary is None
    assert data.frames == sum(len(episode["observation"]) for episode in recorded)
    first = np.unique(number, return_index=True)[1]
    assert not set(data.source[first]) & set(data.successor)  # no step leads to the first frame of an episode
    inside = np.delete(np.arange(len(data)), first)
    np.testing.assert_array_equal(data.source[inside], data.successor[inside - 1])  # an occurrence has one id


def check_label(recorded, data, name):
    """Check a label at the ids of sources and successors."""
    label = data.labels[name]
    before = np.concatenate([episode["count"][:-1] for episode in recorded])
    after = np.concatenate([episode["count"][1:] for episode in recorded])
    np.testing.assert_array_equal(label[data.source], before)
    np.testing.assert_array_equal(label[data.successor], after)
