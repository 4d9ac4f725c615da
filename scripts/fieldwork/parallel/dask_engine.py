"""A job's frames on Dask workers: in processes or threads of the job, or at a scheduler that runs already."""

import asyncio
import logging
import os
import pickle
import shlex
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import dask
import distributed

from fieldwork import InputError, WorkerDied
from fieldwork.inputs import functions
from fieldwork.parallel.batches import Batches
from fieldwork.parallel.dask_worker import DASK_BATCH_S, LIBRARY, Call, Job, digest_of_library, work_on
from fieldwork.surroundings import temporary

CONNECT_S = 5  # s until a scheduler has answered
SILENT_S = 15  # without an answer of a scheduler; then the log says so
GIVEN_UP_S = 100  # without an answer; then the work ends
WITHOUT_WORKERS_S = 60  # s that a cluster may have none: batch systems and nannies start them again
SHARED_RANDOM = (
    "Dask's workers have up to %d threads each, which share the state of NumPy's and Python's random numbers: if a "
    "function of your own draws some, its results change from run to run. Workers of one thread, or engine: pool, give "
    "the same in every run"
)

log = logging.getLogger(__name__)


def map_frames(
    function: Callable[[Any], Any],
    frames: Sequence,
    *,
    where: str,
    workers: int,
    in_the_pool: Callable[[Callable, list], Iterator],
) -> Iterator:
    """Apply a function to every frame in Dask and yield the results in the order of the frames.

    Parameters
    ----------
    function, frames
        As for `mapping.map_frames`; the function is picklable.
    where : str
        ``processes`` or ``threads``, which end with the work, or a scheduler's address.
    workers : int
        How many processes or threads.
    in_the_pool : callable
        Takes the function and frames on which several workers died, yields their results: the pool can tell which
        frame it was, and how the worker ended.

    Yields
    ------
    object
        The result of each frame.

    Raises
    ------
    InputError
        No scheduler answers, or its workers cannot do the work: there are none, or one has another copy of the library.
    WorkerDied
        The scheduler, or all of its workers, went away during the work, or it does not answer any more.
    """
    with _connection(where, workers) as client:
        most_threads = max(_threads(client, where).values(), default=1)
        if most_threads > 1 and functions.own_folders:
            log.warning(SHARED_RANDOM, most_threads)
        job = _job_of(function, where)
        batches = Batches(len(frames))
        running = {}  # future -> its batch
        size, spent, answered = 1, 0, 0
        without_since = None  # when workers were first missed
        while batches.following < len(frames):
            with _lost_scheduler(where):
                threads = sum(_threads(client, where).values())
                if threads:
                    without_since = None
                elif without_since is None:
                    without_since = time.monotonic()
                    log.warning(
                        "the Dask scheduler at %s has no workers; waiting %d s for some", where, WITHOUT_WORKERS_S
                    )
                elif time.monotonic() - without_since > WITHOUT_WORKERS_S:
                    raise (WorkerDied if answered else InputError)(
                        f"the Dask scheduler at {where} has had no workers for {WITHOUT_WORKERS_S} s; start some with "
                        f"`{_start_worker(where)}` and run again"
                    )
                # Two batches a thread: one to work on and one at hand.
                while len(running) < 2 * threads and (batch := batches.take(size, 16 * size * threads)):
                    task = pickle.dumps(Call(work_on, job, pickle.dumps([frames[index] for index in batch])))
                    running[client.submit(pickle.loads, task, pure=False)] = batch
                done = _done(running)
                answers = [(running.pop(future), _answer(future, client, where)) for future in done]
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
                frame_s = max(spent / answered, 1e-6)
                fair = len(batches.ahead) / (4 * threads) if threads else 1
                size = max(1, int(min(DASK_BATCH_S / frame_s, max(fair, DASK_BATCH_S / 10 / frame_s))))
            yield from batches.due()


def _job_of(function, where):
    """Describe a job to workers. Those of its own cluster share its modules: these cannot be another project's."""
    own_folders = tuple(functions.own_folders) if "://" in where else ()
    return Job(uuid.uuid4().hex, digest_of_library(), os.getcwd(), own_folders, pickle.dumps(function))


def _start_worker(where):
    """Return the command that starts a worker with this copy of the library."""
    return f"PYTHONPATH={shlex.quote(str(LIBRARY.parent))} dask worker {where}"


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
        temporary.temporary_folder() as folder,
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
        asyncio.run(asyncio.wait_for(hello(), CONNECT_S))
        return distributed.Client(address, timeout=CONNECT_S)
    except (OSError, ValueError, ImportError, TypeError) as error:  # TypeError: tls without certificates
        raise InputError(
            f"no Dask scheduler answers at {address} ({str(error) or f'nothing within {CONNECT_S} s'}); start one with "
            "`dask scheduler` and workers with `dask worker ADDRESS`, or use engine: pool"
        ) from error


@contextmanager
def _lost_scheduler(where):
    """Raise WorkerDied, of one line, where the scheduler is gone."""
    try:
        yield
    except (OSError, distributed.client.FuturesCancelledError, distributed.client.FutureCancelledError) as error:
        raise WorkerDied(
            f"the connection to the Dask scheduler at {where} was lost ({error}); see that it runs, and run again"
        ) from error


def _threads(client, where):
    """Return worker -> its number of threads."""
    return _asked(where, lambda timeout: client.nthreads(callback_timeout=timeout))


def _asked(where, ask):
    """Return the answer of a scheduler, which may be silent for a while: its machine is busy, or it was stopped.

    Parameters
    ----------
    where : str
    ask : callable
        Takes the seconds that it may wait, returns the answer; raises an OSError that is, or comes from, a TimeoutError
        where there is none.

    Raises
    ------
    WorkerDied
        It was silent for `GIVEN_UP_S`.
    """
    begun, timeout = time.monotonic(), SILENT_S
    while True:
        try:
            return ask(timeout)
        except OSError as error:
            if not isinstance(error, TimeoutError) and not isinstance(error.__cause__, TimeoutError):
                raise
        left = begun + GIVEN_UP_S - time.monotonic()
        if left <= 0:
            raise WorkerDied(
                f"the Dask scheduler at {where} has not answered for {GIVEN_UP_S} s; see that it runs, and run again"
            )
        if timeout == SILENT_S:
            log.warning("the Dask scheduler at %s does not answer; waiting %.0f s for it", where, left)
        timeout = left


def _done(running):
    """Wait a second at most for batches that are done."""
    if not running:
        time.sleep(0.1)
        return []
    try:
        return distributed.wait(list(running), timeout=1, return_when="FIRST_COMPLETED").done
    except TimeoutError:
        return []


def _answer(future, client, where):
    """Return the seconds and results that `work_on` sent, or None where the batch's workers died."""
    error = future.exception()
    if isinstance(error, distributed.scheduler.KilledWorker):
        return None
    if error is not None:
        _refuse_other_libraries(client, where)
        if isinstance(error, InputError):
            raise error
        raise InputError(
            f"a Dask worker ({where}) cannot begin: {type(error).__name__}: {error}; it must have the same packages, "
            "and find the same files under the same paths"
        ) from error
    return pickle.loads(_asked(where, lambda timeout: future.result(timeout=timeout)))


def _refuse_other_libraries(client, where):
    """Raise InputError where a worker has no library, or another copy than this process."""
    call = pickle.dumps(Call(digest_of_library))
    digests = _asked(where, lambda timeout: client.run(pickle.loads, call, on_error="return", callback_timeout=timeout))
    for worker, digest in digests.items():
        # An OSError is a lost worker's.
        if digest != digest_of_library() and isinstance(digest, str | ImportError | AttributeError):
            copy = "another copy of Fieldwork" if isinstance(digest, str) else "no copy of Fieldwork"
            raise InputError(
                f"the Dask worker at {worker} has {copy}; it must have that of {LIBRARY.parent}: stop the worker, "
                f"and start it again with `{_start_worker(where)}`"
            )
