"""What holds for all tests: who may fork after whom, and the working directories that they run in."""

from fieldwork import processes

processes.prepare()  # as scripts do, before NumPy is imported

import sys

import pytest

from fieldwork.gpu import choice
from workspace import Workspace


def pytest_collection_modifyitems(items):
    """Run the tests of Dask last: it leaves threads, after which no other test could fork. Skip what needs a GPU."""
    items.sort(key=lambda item: item.path.name == "test_dask_engine.py")
    for_a_gpu = [item for item in items if item.get_closest_marker("gpu")]
    if for_a_gpu and (reason := choice.missing()):
        for item in for_a_gpu:
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(autouse=True, scope="module")
def without_zarrs_threads():
    """End the threads that zarr started for a module's tests: after a thread, the next module's cannot fork."""
    yield
    if "zarr" in sys.modules:
        sys.modules["zarr"].core.sync.cleanup_resources()


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    """An empty working directory; its runs keep their compiled modules, as a user's do."""
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
    return Workspace(tmp_path)
