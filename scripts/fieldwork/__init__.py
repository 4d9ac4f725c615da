"""Fieldwork's library: from image files to tables. Imports nothing from Snakemake."""

import os

# Parallelism here is processes, one thread each: a BLAS or OpenMP pool inside every worker would only fight the
# others for the same cores. These must be set before NumPy is first imported; Snakemake sets them to the job's threads.
for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS"):
    os.environ[_variable] = "1"


class InputError(ValueError):
    """What the user gave cannot be used; the message names the place, what was found, what is expected."""


class WorkerDied(RuntimeError):
    """A worker process ended before it gave its frame's result; the message names the frame."""
