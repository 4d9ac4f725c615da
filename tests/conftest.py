"""What holds for all tests: who may fork after whom, and the working directories that they run in."""

from fieldwork import processes

processes.prepare()  # as scripts do, before NumPy is imported

import os
import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

import archive_server
from fieldwork.gpu import choice
from fieldwork.inputs import outlining
from workspace import Workspace


def hide_threads_of_xdist():
    """Hide the thread through which a worker of pytest-xdist takes its orders; `map_frames` forks where it sees none.

    A fork is safe beside it: it waits for the next order, and holds no lock that a forked worker takes.
    """
    hidden = sys._current_frames().keys() - {threading.main_thread().ident}
    enumerate_all = threading.enumerate
    threading.enumerate = lambda: [thread for thread in enumerate_all() if thread.ident not in hidden]
    threading.active_count = lambda: len(threading.enumerate())


if "PYTEST_XDIST_WORKER" in os.environ:
    hide_threads_of_xdist()
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # runs keep their compiled modules, as a user's do
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in the background; what tests start would ignore it, too
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items):
    """Skip what needs a GPU where there is none."""
    for_a_gpu = [item for item in items if item.get_closest_marker("gpu")]
    if for_a_gpu and (reason := choice.missing()):
        for item in for_a_gpu:
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(autouse=True, scope="module")
def without_threads_of_libraries(request):
    """End the threads that zarr and Dask started for a module, and check for others: the next module is to fork."""
    yield
    if "zarr" in sys.modules:
        sys.modules["zarr"].core.sync.cleanup_resources()
    if "distributed" in sys.modules:
        utils = sys.modules["distributed"].utils
        utils._offload_executor.shutdown()
        utils._offload_executor = ThreadPoolExecutor(max_workers=1)
    for thread in threading.enumerate():
        if thread is not threading.main_thread():
            thread.join(timeout=10)
            assert not thread.is_alive(), f"{request.module.__name__} leaves the thread {thread.name}"


@pytest.fixture
def workspace(tmp_path):
    """An empty working directory."""
    return Workspace(tmp_path)


@pytest.fixture
def serve():
    """Yield a function that starts a server of an archive; stop all of them in the end."""
    servers = []

    def start(content):
        servers.append(archive_server.Server(content))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture(params=["network", "classical"], scope="module")
def detector(request):
    """Return the name of each detector in turn, which method auto is meanwhile."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(outlining, "AUTO", request.param)
        yield request.param
