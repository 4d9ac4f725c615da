"""What every process of a job needs before it works: one thread, memory that stays, an end when the run ends."""

import ctypes
import os
import signal
import sys

# For BLAS and OpenMP, which read them when NumPy is imported. Work is parallel by processes, and their threads would
# fight for the cores. Snakemake sets these variables to the threads of a job.
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS"), "1")


def prepare() -> None:
    """Prepare this process for work on images: one thread, memory that stays, an end when the run ends.

    Scripts and workers call it first, before NumPy is imported: BLAS reads its number of threads then.

    Raises
    ------
    SystemExit
        The run that started this job is gone.
    """
    _end_with_the_run()
    os.environ.update(ONE_THREAD)
    _keep_freed_memory()


def die_with_parent() -> None:
    """Ask Linux to kill this process when its parent dies, even by SIGKILL."""
    PR_SET_PDEATHSIG = 1  # prctl(2)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def own_working_folder() -> None:
    """Ask Linux that this thread's changes of the working folder move no other thread; a container may refuse it."""
    CLONE_FS = 0x200  # unshare(2), which asks for no rights here
    if sys.platform == "linux":
        ctypes.CDLL(None).unshare(CLONE_FS)


def _end_with_the_run():
    """Ask Linux to kill this process when its run on this machine dies; exit if the run is gone already.

    An orphan would write its tables among those of the next run, which may have another configuration.
    `planning.runs.own_jobs` sets the variable.
    """
    pid, _, node = os.environ.get("FIELDWORK_RUN", "").partition("@")
    if sys.platform != "linux" or node != os.uname().nodename:
        return
    if pid == str(os.getppid()):
        die_with_parent()
    try:
        with open(f"/proc/{pid}/stat") as stream:
            state = stream.read().rpartition(")")[2].split()[0]  # proc(5); Z is a zombie
    except OSError:
        state = "gone"
    if state in ("Z", "X", "gone"):
        sys.exit("the run that started this job is gone")


def _keep_freed_memory():
    """Set glibc to keep freed memory for the next image.

    The kernel clears memory page by page before it returns it: a tenth of the time of converting a slide.
    """
    M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # mallopt(3)
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "mallopt"):
        libc.mallopt(M_MMAP_THRESHOLD, 32 * 2**20)  # the largest that it takes
        libc.mallopt(M_TRIM_THRESHOLD, 2**30)


def release_memory() -> None:
    """Return the freed memory of this process to the kernel, before it needs much in other pieces."""
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
        libc.malloc_trim(0)
