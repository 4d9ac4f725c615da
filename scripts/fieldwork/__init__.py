"""Fieldwork's library: from image files to tables. Imports nothing from Snakemake."""

import ctypes
import os
import signal
import sys

# Parallelism here is processes, one thread each: a BLAS or OpenMP pool inside every worker would only fight the
# others for the same cores. These must be set before NumPy is first imported; Snakemake sets them to the job's threads.
for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS"):
    os.environ[_variable] = "1"


def die_with_parent():
    """Have Linux kill this process when its parent dies, even by SIGKILL."""
    PR_SET_PDEATHSIG = 1  # prctl(2)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _die_with_the_run():
    """Have Linux kill this process, a job of a run on this machine, when the run dies, even by SIGKILL.

    An orphan would write its tables into the next run's, made perhaps with another configuration. This stands here
    to come before the imports that take time; `runs.hold_folder` sets the variable.
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
    """Have glibc keep the memory of images for the next ones.

    It would give it back to the kernel and get it again, cleared, page by page: a tenth of a slide's conversion.
    """
    M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # mallopt(3)
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "mallopt"):
        libc.mallopt(M_MMAP_THRESHOLD, 32 * 2**20)  # the most that it takes
        libc.mallopt(M_TRIM_THRESHOLD, 2**30)


_die_with_the_run()
_keep_freed_memory()


class InputError(ValueError):
    """What the user gave cannot be used; the message names the place, what was found, what is expected."""


class WorkerDied(RuntimeError):
    """A worker process ended before it gave its frame's result; the message names the frame."""


class DeviceFailed(RuntimeError):
    """A GPU was asked for, and there is none or it failed; the message says what to do."""
