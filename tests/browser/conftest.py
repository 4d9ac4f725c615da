"""The results that tests of the viewer look at, and the page in Chromium."""

import pytest
import viewed

from browser import chromium


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A server of results: a folder with images and results, and the server's process and port."""
    folder = tmp_path_factory.mktemp("view")
    viewed.write_site(folder)
    with viewed.served(folder) as served:
        yield served


@pytest.fixture
def browse(site, tmp_path):
    """Open the page and call an async function of a Viewer and a Site on it."""

    def act(steps, hash=""):
        async def with_site(page):
            await steps(page, site)

        page = open_page(f"http://127.0.0.1:{site.port}/{hash}", with_site)
        assert page.complaints == []
        assert page.addresses
        for address in page.addresses:
            assert address.startswith((f"http://127.0.0.1:{site.port}/", "data:", "blob:")), address

    with chromium(tmp_path / "profile", page=viewed.Viewer) as open_page:
        yield act


@pytest.fixture
def cells(site):
    """Cells of the plate with label images, as large as its nuclei."""
    with viewed.with_cells(site):
        yield


@pytest.fixture
def compared(site):
    """The page and pictures of all plates together, while a test runs."""
    with viewed.with_screen(site):
        yield
