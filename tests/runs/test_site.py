"""docs/ as a site: `make docs` builds it without a warning, its links lead somewhere, and it loads nothing."""

import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from workspace import REPOSITORY

LOADED = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src"}


class Page(HTMLParser):
    """The ids of a page, its links, and what a browser loads for it."""

    def __init__(self, path):
        super().__init__()
        self.ids, self.links, self.loaded = set(), [], []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.ids |= {values[name] for name in ("id", "name") if values.get(name)}
        if tag == "a" and values.get("href"):
            self.links.append(values["href"])
        if tag in LOADED and values.get(LOADED[tag]):
            self.loaded.append(values[LOADED[tag]])


def broken(site):
    """List the links of a site, and what it loads, that lead to no file, no part of a page, or out of the site."""
    pages = {path.resolve(): Page(path) for path in Path(site).rglob("*.html")}
    missing = []
    for path, page in pages.items():
        for address in page.links + page.loaded:
            url = urlsplit(address)
            if url.scheme or url.netloc:
                missing += [(path.name, address)] * (address in page.loaded and url.scheme != "data")
                continue
            target = (path.parent / unquote(url.path)).resolve() if url.path else path
            exists = target.is_file() and (not url.fragment or target not in pages)
            exists |= target in pages and unquote(url.fragment) in pages[target].ids
            missing += [(path.name, address)] * (not exists)
    return missing


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Build the site as `make docs` does."""
    (line,) = [line for line in (REPOSITORY / "Makefile").read_text().splitlines() if "-m sphinx" in line]
    *options, source, _ = line.partition("-m sphinx ")[2].split()
    site = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", *options, "-d", str(site / "doctrees"), source, str(site / "html")]
    process = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=300)
    assert process.returncode == 0 and not process.stderr and "-W" in options, process.stderr
    return site / "html"


def test_every_link_leads_to_a_part_of_the_site(site):
    assert broken(site) == []
    assert len(list(site.glob("*.html"))) > 25


def test_every_page_is_in_the_contents_and_has_the_text_of_its_file(site):
    contents = (site / "index.html").read_text(encoding="utf-8")
    for page in REPOSITORY.glob("docs/*.md"):
        assert page.stem == "index" or f'href="{page.stem}.html"' in contents, page.name
    assert "calibrate_with" in (site / "sheets.html").read_text(encoding="utf-8")  # config/README.md
    assert "Where things live" in (site / "contributing.html").read_text(encoding="utf-8")  # CONTRIBUTING.md
    library = (site / "api.html").read_text(encoding="utf-8")
    for name in ("calibrate", "segment_nuclei", "measure_objects", "detect_nuclei", "map_frames"):
        assert f".{name}" in library and "Returns" in library


def test_broken_links_and_what_is_loaded_from_elsewhere_are_noticed(tmp_path):
    (tmp_path / "a.html").write_text(
        '<a href="b.html"></a><a href="#here"></a><a href="#gone"></a><p id="here"></p><a href="https://x.org/y"></a>'
        '<a href="a.html#here"></a><script src="https://cdn.org/x.js"></script><a href="a%20b.txt"></a>'
    )
    (tmp_path / "a b.txt").write_text("")
    assert broken(tmp_path) == [("a.html", "b.html"), ("a.html", "#gone"), ("a.html", "https://cdn.org/x.js")]
