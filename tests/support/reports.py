"""Reports of small datasets, and pages that are read back."""

import re
from html.parser import HTMLParser

import numpy as np
from bisim_theory import Representation, TransitionDataset
from bisim_theory.report.html import to_html

VOID = {"meta", "img"}


class PageReader(HTMLParser):
    """Collect elements and text; fail unless every element is closed where it should be."""

    def __init__(self, page):
        super().__init__()
        self.open, self.elements, self.words, self.headings = [], [], [], []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not {"style", "svg"} & set(self.open):
            self.words.append(data)
        if self.open[-1:] == ["h2"]:
            self.headings.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


def chains(length=5, copies=4, **fields):
    """Counters that go down to 0, where p is 1: an observation of `count` k is told from others after k steps."""
    count = np.tile(np.arange(length)[::-1], copies)
    source = np.arange(len(count))
    successor = np.where(count > 0, source + 1, source)
    given = {"observation": frames(len(count)), "labels": {"count": count}} | fields
    return TransitionDataset(source, np.ones(len(count), int), successor, (count == 0).astype(float), **given)


def frames(number, side=4, channels=3):
    return np.random.default_rng(0).integers(0, 256, (number, side, side, channels), dtype=np.uint8)


def model(data, scale=1.0, noise=0.0, error=1.0):
    rng = np.random.default_rng(1)
    count = data.labels["count"] if "count" in data.labels else np.arange(data.frames)
    embedding = scale * (count[:, None] + 0.01 * rng.random((data.frames, 2)))
    return Representation(embedding, embedding[data.successor] + noise, data.p + 0.1 * error * rng.random(len(data)))


def read_page(report, title="runs/one"):
    text = to_html(report, title)
    reader = PageReader(text)
    outside = [value for _, attributes in reader.elements for value in attributes.values() if "//" in (value or "")]
    assert all(value.startswith("data:image/png;base64,") for value in outside)
    assert "http" not in text
    assert "url(" not in text.replace("url(#", "")
    assert not reader.all("script")
    assert not reader.all("link")
    assert all(image["src"].startswith("data:") and image["alt"] for image in reader.all("img"))
    assert all(svg["aria-label"] for svg in reader.all("svg"))
    names = [attributes["id"] for _, attributes in reader.elements if "id" in attributes]
    assert len(names) == len(set(names))
    referred = set(re.findall(r'(?:url\(#|href="#)([^")]+)', text))
    assert referred <= set(names)
    assert len(text) < 3_000_000
    return reader
