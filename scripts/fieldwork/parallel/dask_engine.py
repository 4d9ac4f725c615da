"""A job's frames on Dask workers: in processes or threads of the job, or at a scheduler that runs already."""

import asyncio
import logging
import os
import pickle
import socket
import sys
import tempfile
import time
import uuid
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import cloudpickle
import dask
import distributed

from fieldwork import InputError, WorkerDied
from fieldwork.parallel import mapping

BATCH = 0.2  # s of work in a task: a task costs the scheduler and the network some 5 ms
CONNECTING = 5  # s until a scheduler has answered
WITHOUT_WORKERS = 60  # s that a cluster may have none: batch systems and nannies start them again

log = logging.getLogger(__name__)


def map_frames(function, frames, *, where, workers, in_the_pool):
    """Apply a function to every frame in Dask and give the results in the order of the frames.

    Parameters
    ----------
    function, frames
        As for `parallel.map_frames`.
    where : str
        ``processes`` or ``threads``, which end with the work, or a scheduler's address.
    workers : int
        How many processes or threads.
    in_the_pool : callable
        Takes the function and frames on which several workers died, and gives their results: our own pool can
        tell which frame it was, and how it ended.

    Yields
    ------
    object
        The result of each frame.
    """
    with _connection(where, workers) as client:
        work = _task(function)
        batches = mapping.Batches(len(frames))
        running = {}  # future -> its batch
        size, spent, answered = 1, 0, 0
        without_since = None  # when workers were first missed
        while batches.following < len(frames):
            with _lost_scheduler(where):
                threads = sum(client.nthreads().values())
                if threads:
                    without_since = None
                elif without_since is None:
                    without_since = time.monotonic()
                    log.warning(
                        "the Dask scheduler at %s has no workers; waiting %d s for some", where, WITHOUT_WORKERS
                    )
                elif time.monotonic() - without_since > WITHOUT_WORKERS:
                    raise (WorkerDied if answered else InputError)(
                        f"the Dask scheduler at {where} has had no workers for {WITHOUT_WORKERS} s; start some with "
                        f"`dask worker {where}` and run again"
                    )
                # Two batches a thread: one to work on and one at hand.
                while len(running) < 2 * threads and (batch := batches.take(size, 16 * size * threads)):
                    future = client.submit(work, pickle.dumps([frames[index] for index in batch]), pure=False)
                    running[future] = batch
                done = _done(running)
                answers = [(running.pop(future), _answer(future, where)) for future in done]
            for batch, answer in answers:
                if answer is None:
                    crashed = [frames[index] for index in batch]
                    log.warning("Dask's workers died on a batch of %d frames; it is tried in the pool.", len(batch))
                    batches.put(batch, list(in_the_pool(function, crashed)))
                    continue
                seconds, results = answer
                batches.put(batch, results)
                spent += seconds
                answered += len(results)
                # Towards the end batches get shorter, so that no worker is left alone with a long one.
                each = max(spent / answered, 1e-6)
                fair = len(batches.ahead) / (4 * threads) if threads else 1
                size = max(1, int(min(BATCH / each, max(fair, BATCH / 10 / each))))
            yield from batches.due()


def threads_at(address):
    """Count the threads of the workers of a running scheduler."""
    with _connection(address, 0) as client:
        return sum(client.nthreads().values())


@contextmanager
def _connection(where, workers):
    """Start or find a cluster, and leave nothing of it behind."""
    # What its workers, connections and garbage collections go through is no news for a job's log.
    for name in ("distributed", "distributed.client", "distributed.gc"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    if "://" in where:
        client = _client_of(where)
        try:
            yield client
        finally:
            client.close(timeout=1)
        return
    processes = where == "processes"
    with (
        tempfile.TemporaryDirectory(prefix="fieldwork-dask-", ignore_cleanup_errors=True) as folder,
        dask.config.set(
            {
                "distributed.scheduler.allowed-failures": 1,  # a worker's death; the second one is the batch's fault
                "distributed.worker.profile.enabled": False,  # its samples cost 5 %
                "temporary-directory": folder,
            }
        ),
        distributed.LocalCluster(
            n_workers=workers if processes else 1,
            threads_per_worker=1 if processes else workers,
            processes=processes,
            protocol="tcp",  # for threads it would choose one that serves its metrics to the whole network
            host="127.0.0.1",
            dashboard_address=None,
            scheduler_kwargs={"dashboard_address": "127.0.0.1:0"},  # its metrics would take port 8787
            memory_limit=None,
            silence_logs=logging.CRITICAL,
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


def _client_of(address):
    """Connect to a running scheduler."""

    async def hello():
        async with distributed.rpc(address) as scheduler:
            await scheduler.identity()

    try:
        # First, and not only by Client: that waits for ever where something else listens, such as the dashboard.
        asyncio.run(asyncio.wait_for(hello(), CONNECTING))
        return distributed.Client(address, timeout=CONNECTING)
    except (OSError, ValueError, ImportError) as error:
        raise InputError(
            f"no Dask scheduler answers at {address} ({error or f'nothing within {CONNECTING} s'}); start one with "
            "`dask scheduler` and workers with `dask worker ADDRESS`, or use engine: pool"
        ) from error


@contextmanager
def _lost_scheduler(where):
    """Say in one line that the scheduler is gone."""
    try:
        yield
    except (OSError, distributed.client.FuturesCancelledError, distributed.client.FutureCancelledError) as error:
        raise WorkerDied(
            f"the connection to the Dask scheduler at {where} was lost ({error}); see that it runs, and run again"
        ) from error


def _done(running):
    """Wait a second at most for batches that are done."""
    if not running:
        time.sleep(0.1)
        return []
    try:
        return distributed.wait(list(running), timeout=1, return_when="FIRST_COMPLETED").done
    except TimeoutError:
        return []


def _answer(future, where):
    """Give what `work_on` gave, or None where the batch's workers died."""
    error = future.exception()
    if isinstance(error, distributed.scheduler.KilledWorker):
        return None
    if error is not None:
        raise InputError(
            f"a Dask worker ({where}) cannot begin: {type(error).__name__}: {error}; it must have the same packages, "
            "and find the same files under the same paths"
        ) from error
    return pickle.loads(future.result(timeout=WITHOUT_WORKERS))


def _is_ours(path):
    """Tell code of the workflow and its user from what came with Python or was installed: workers have that."""
    roots = {os.path.join(root, "") for root in (sys.prefix, sys.base_prefix)}
    return not path.startswith(tuple(roots)) and not {"site-packages", "dist-packages"} & set(Path(path).parts)


def _task(function):
    """Make the function that Dask's workers call, in other folders and without our code on their path."""
    pickled = cloudpickle.dumps(function)
    job = uuid.uuid4().hex
    home = socket.gethostname(), os.getpid()
    here = os.getcwd()
    folders = [folder for folder in map(os.path.abspath, sys.path) if _is_ours(folder)]

    def work(batch):  # a function within a function is sent by value: nothing of ours need be there
        import importlib
        import os
        import socket
        import sys
        import threading
        from contextlib import contextmanager, nullcontext
        from types import SimpleNamespace

        from distributed import get_worker

        def is_of_a_job(module, folders):
            """Tell whether a module, or a package without a file, is from these folders, and not an installed one."""
            places = [str(place) for place in (getattr(module, "__file__", None), *getattr(module, "__path__", []))]
            ours, installed = (
                tuple(os.path.join(root, "") for root in roots) for roots in (folders, {sys.prefix, sys.base_prefix})
            )
            # An environment may lie in one of our folders.
            return any(
                place.startswith(ours) and not place.startswith(installed) and "-packages" + os.sep not in place
                for place in places
            )

        @contextmanager
        def settled():
            """Make this worker our job's: its folder, its code. A worker's threads in another job end theirs first."""
            new = SimpleNamespace(change=threading.Condition(), job=None, inside=0, path=list(sys.path), folders=set())
            state = vars(get_worker()).setdefault("fieldwork", new)
            with state.change:
                state.change.wait_for(lambda: state.job == job or not state.inside)
                if state.job != job:
                    # A worker outlives jobs: what it imported for another one may be of another version or project.
                    state.folders.update(folders)
                    for name in [name for name, module in sys.modules.items() if is_of_a_job(module, state.folders)]:
                        del sys.modules[name]
                    importlib.invalidate_caches()
                    sys.path[:] = [*folders, *(folder for folder in state.path if folder not in folders)]
                    os.chdir(here)
                    state.job = job
                state.inside += 1
            try:
                yield
            finally:
                with state.change:
                    state.inside -= 1
                    state.change.notify_all()

        is_here = (socket.gethostname(), os.getpid()) == home  # in a thread of the job
        try:
            with nullcontext() if is_here else settled():
                from fieldwork.parallel import dask_engine

                return dask_engine.work_on(pickled, batch)
        except SystemExit as error:  # Dask would never answer
            raise RuntimeError(f"it was ended by SystemExit: {error}") from error

    return work


def work_on(pickled, batch):
    """Apply a pickled function to pickled frames, in a worker.

    Returns
    -------
    bytes
        Pickled: the seconds that it took, and what `parallel.work_through` gave.
    """
    function, frames = pickle.loads(pickled), pickle.loads(batch)
    begun = time.perf_counter()
    results = mapping.work_through(function, frames, SimpleNamespace(), seconds=2 * BATCH)
    seconds = time.perf_counter() - begun
    try:
        return pickle.dumps((seconds, results))
    except Exception as error:  # whatever pickle says of a result that cannot be sent
        return pickle.dumps((seconds, mapping.unsendable(error)))
