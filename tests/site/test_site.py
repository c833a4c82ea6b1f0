"""The documentation site: it builds without a warning, stays within itself, and can be read without its pictures."""

import shutil
import subprocess
import sys
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

ROOT = Path(__file__).parent.parent.parent
REQUESTED = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src", "video": "src"}
"""Attributes by the element that makes a browser request what they name."""


class Page(HTMLParser):
    """The links, requests, images and anchors of a page."""

    def __init__(self, text):
        super().__init__()
        self.links, self.requests, self.images, self.anchors = [], [], [], Counter()
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        """Collect what a start tag names."""
        found = dict(attributes)
        if "id" in found:
            self.anchors[found["id"]] += 1
        if tag == "a" and found.get("href"):
            self.links.append(found["href"])
        if tag == "img":
            self.images.append(found)
        if tag == "link" and found.get("rel") in ("canonical", "next", "prev", "alternate"):
            return
        if found.get(REQUESTED.get(tag, "")):
            self.requests.append(found[REQUESTED[tag]])


@pytest.fixture(scope="module")
def site():
    """Build the site into `site/`, anew, and return its folder."""
    folder = ROOT / "site"
    shutil.rmtree(folder, ignore_errors=True)
    command = [sys.executable, "-m", "zensical", "build", "--strict", "--clean"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site):
    """Return the pages by their paths."""
    found = {path: Page(path.read_text()) for path in site.rglob("*.html") if path.name != "404.html"}
    assert len(found) >= 20
    return found


def test_every_page_of_the_documents_is_built(pages, site):
    documents = [path.relative_to(ROOT / "docs").with_suffix("") for path in (ROOT / "docs").rglob("*.md")]
    built = {site / path / "index.html" if path.name != "index" else site / "index.html" for path in documents}
    assert built == set(pages)


def test_no_page_requests_anything_from_elsewhere(pages):
    outside = {request for page in pages.values() for request in page.requests if urlsplit(request).netloc}
    assert not outside


def test_every_picture_has_a_text_in_its_place(pages):
    for path, page in pages.items():
        for image in page.images:
            assert image.get("alt", "").strip(), (path, image)


def test_every_link_leads_to_a_page_and_an_anchor(pages, site):
    broken = []
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            exists = target.is_relative_to(site.resolve()) and target.is_file()
            anchors = {"", *pages[target].anchors} if exists and target in pages else {unquote(parts.fragment)}
            if not exists or unquote(parts.fragment) not in anchors:
                broken.append((str(path.relative_to(site)), link))
    assert not broken


def test_every_page_has_one_title(pages):
    for path in pages:
        assert path.read_text().count("<h1") == 1, path
