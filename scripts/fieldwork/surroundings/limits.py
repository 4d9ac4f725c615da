"""Whether a run may open the files, and start the processes, that it needs."""

import resource
import threading

from fieldwork import InputError

LEAST_FILES = 32  # open at once in one process
LEAST_PROCESSES = 12  # beside workers: Snakemake's threads, a job with its shell and those of Arrow


def check(*, workers: int) -> None:
    """Check the limits of this process and of its user, before a run fails in the middle of something.

    Parameters
    ----------
    workers : int
        How many processes are to work at once.

    Raises
    ------
    InputError
        Names the limit that is too low.
    """
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files not in (resource.RLIM_INFINITY, max(files, LEAST_FILES)):
        raise InputError(
            f"ulimit -n is {files}, so that no more files are open at once; expected {LEAST_FILES} or more"
        )
    needed, started, end = LEAST_PROCESSES + workers, [], threading.Event()
    try:
        for _ in range(needed):  # threads count as processes do, and the user's others count, too
            thread = threading.Thread(target=end.wait)
            thread.start()
            started.append(thread)
    except RuntimeError:
        raise InputError(
            f"only {len(started)} further processes may be started (ulimit -u, or a limit of the container); expected "
            f"room for {needed}: raise the limit, end other programs, or use fewer --cores"
        ) from None
    finally:
        end.set()
        for thread in started:
            thread.join()
