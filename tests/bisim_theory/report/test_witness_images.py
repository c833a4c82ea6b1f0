import base64
import io

import numpy as np
import pytest
from bisim_theory import DatasetError, Representation, TransitionDataset, analyse
from bisim_theory.data.auxiliary import Values, with_auxiliary
from bisim_theory.report.html import write_page
from bisim_theory.report.witness_images import (
    MAX_FRAMES_SHOWN,
    MAX_SIDE,
    TransitionLookup,
    encode_frames,
    encode_png,
    witness_strips,
)
from PIL import Image
from support.reports import chains, frames, read_page


def test_strips_follow_the_witness_from_both_observations():
    #           0 -a5-> 1 -a7-> 2 (p = 1)          3 -a5-> 4 -a7-> 5 (p = 0); others lead astray
    source, action = [0, 1, 2, 3, 4, 5, 0, 3], [5, 7, 5, 5, 7, 5, 7, 7]
    successor, p = [1, 2, 2, 4, 5, 5, 6, 6], [0, 0, 1, 0, 0, 0, 0, 0]
    data = TransitionDataset(source, action, successor, p, observation=frames(7))
    embedding = np.arange(14.0).reshape(7, 2)
    embedding[3] = embedding[0] + [0.3, 0.4]
    report = analyse(data, Representation(embedding, embedding[data.successor], data.p.astype(float)))
    strip = witness_strips(report)[0]
    assert (strip.x, strip.y, strip.level, strip.witness) == ([0, 1, 2], [3, 4, 5], 3, [5, 7])
    assert strip.complete
    assert strip.distances == pytest.approx([0.5, np.hypot(6, 6), np.hypot(6, 6)])
    assert strip.p == (1, 0)
    reader = read_page(report)
    assert reader.text.count("action 5 \N{RIGHTWARDS ARROW}") >= 2
    pictures = encode_frames(data.observation, range(7))
    shown = [image["src"] for image in reader.all("img")][:6]
    assert shown == [pictures[each] for each in (0, 1, 2, 3, 4, 5)]
    assert [image["alt"] for image in reader.all("img")][2] == "x after 2 actions: observation 2"


def test_a_path_that_leaves_for_a_merged_observation_ends_there():
    # 1 and 2 both follow 0, so they are one; only 2 is seen to go on.
    data = TransitionDataset(
        [0, 0, 2, 3, 4, 5, 6],
        [0, 0, 0, 0, 0, 0, 0],
        [1, 2, 3, 3, 5, 6, 6],
        [0, 0, 0, 1, 0, 0, 0],
        observation=frames(7),
    )
    report = analyse(data, folding=True)
    strip = witness_strips(report)[-1]
    assert strip.level == 3
    assert not strip.complete
    assert [0, 1] in (strip.x, strip.y)
    reader = read_page(report)
    assert "Frames are shown for 1 of 2 actions" in reader.text
    assert "not observed of both" in reader.text


def test_looking_up_an_observation_of_unknown_p():
    data = chains()
    known = np.arange(data.frames) != 5
    lookup = TransitionLookup(
        with_auxiliary(data, Values(np.arange(data.frames) / 4, known)),
    )
    assert lookup.along(0, [1, 1, 2, 1]) == [0, 1, 2]
    assert lookup.p(4) == 1.0
    assert lookup.p(5) is None


class Once:
    """Frames that can be read only in order and without gaps, as from a compressed file."""

    def __init__(self, array):
        self.array, self.shape, self.dtype, self.next = array, array.shape, array.dtype, 0

    def __getitem__(self, rows):
        assert rows.start == self.next
        self.next = rows.stop
        return self.array[rows]


def test_frames_are_read_in_one_pass(monkeypatch):
    monkeypatch.setattr("bisim_theory.data.frames.FRAMES_AT_ONCE", 3)
    array = frames(11)
    stored = Once(array)
    pictures = encode_frames(stored, [7, 0, 7, 4])
    assert pictures == encode_frames(array, [0, 4, 7])
    assert stored.next == 9  # and no further than needed
    assert decoded(pictures[7]).tolist() == array[7].tolist()
    assert encode_frames(Once(array), []) == {}


def decoded(address):
    """What a browser shows."""
    return pixels_of(base64.b64decode(address.removeprefix("data:image/png;base64,")))


def pixels_of(png):
    image = np.array(Image.open(io.BytesIO(png), formats=["PNG"]))
    return image[..., None] if image.ndim == 2 else image


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_small_frames_are_shown_pixel_by_pixel(channels):
    frame = frames(1, channels=channels)[0]
    assert (pixels_of(encode_png(frame)) == frame).all()


@pytest.mark.parametrize(
    ("channels", "metadata", "shown"),
    [
        (1, {}, 1), (2, {}, 1), (3, {}, 3), (4, {}, 4), (4, {"stack": "4 observations"}, 1), (5, {}, 1), (6, {}, 3),
        (12, {"stack": "4 observations"}, 3),
    ],
)  # fmt: skip
def test_of_a_stack_the_newest_image_is_shown_and_that_is_said(channels, metadata, shown):
    images = frames(3, channels=channels)
    data = TransitionDataset([0, 1], [0, 0], [1, 2], [0, 1], observation=images, metadata=metadata)
    assert data.images
    reader = read_page(analyse(data))
    picture = decoded(reader.all("img")[0]["src"])
    np.testing.assert_array_equal(picture, images[0][..., channels - shown :])
    said = f"The last {shown if shown > 1 else 'one'} of {channels} channels"
    assert (said in reader.text) == (shown < channels)


def test_thirteen_channels_are_no_image():
    assert not TransitionDataset([0], [0], [1], [0], observation=frames(2, channels=13)).images


def test_large_frames_are_made_smaller_and_the_page_stays_small():
    image = np.zeros((400, 1000, 3), np.uint8)
    image[:, 500:] = 200
    small = pixels_of(encode_png(image))
    assert max(small.shape) <= MAX_SIDE
    assert set(np.unique(small)) <= {0, 200, *range(1, 200)}
    assert small[:, 0].max() == 0
    assert small[:, -1].min() == 200
    assert pixels_of(encode_png(np.zeros((1, 5000, 1), np.uint8))).shape[0] == 1
    data = chains(length=9, copies=2, observation=frames(18, side=200))
    assert data.frames > MAX_FRAMES_SHOWN
    read_page(analyse(data))


def test_frames_that_cannot_be_read_leave_nothing(tmp_path):
    class Damaged(Once):
        def __getitem__(self, rows):
            if self.next:
                raise DatasetError("observation: is damaged")
            self.next = 1
            return self.array[rows]

    report = analyse(chains(observation=Damaged(np.zeros((20, 4, 4, 3), np.uint8))))
    with pytest.raises(DatasetError, match="damaged"):
        write_page(tmp_path / "p.html", report, "title")
    assert list(tmp_path.iterdir()) == []
