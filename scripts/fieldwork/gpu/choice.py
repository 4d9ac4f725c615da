"""Whether this machine has a GPU, and whether a job should take it. Loads no NumPy."""

import importlib.util
import subprocess
import sys

from fieldwork import InputError

# `auto` decides by these two, which are estimates: no GPU has been measured yet (docs/performance.md).
GPU_START_S = 3.0  # until CuPy is imported, CUDA initialised and its kernels are compiled
SAVED_S_PER_FRAME = 0.01  # of a core, for a frame of 1.3 megapixels

GPU_ANSWER_S = 120  # that the GPU's process may take to start, or to answer

INSTALL = "install the packages of envs/gpu.lock (docs/dependencies.md), or set device: auto, which does without"


def missing() -> str:
    """Return in one line why there is no GPU to use; an empty text where there is one.

    CuPy, where it is installed, is asked in a process of its own: a process that used CUDA must not fork.
    """
    if importlib.util.find_spec("cupy") is None:
        return "CuPy is not installed"
    code = "import cupy; print(cupy.cuda.runtime.getDeviceCount())"
    try:
        asked = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=GPU_ANSWER_S)
    except subprocess.TimeoutExpired:
        return f"CuPy did not answer within {GPU_ANSWER_S} s"
    if asked.returncode:
        return f"CuPy sees no GPU: {(asked.stderr.strip() or 'it crashed').splitlines()[-1]}"
    return "CuPy sees no GPU" if asked.stdout.split()[-1:] == ["0"] else ""


def check(device: str, *, pool: dict, source: str) -> bool:
    """Check for the whole run whether there is a GPU to use.

    Parameters
    ----------
    device : {'auto', 'cpu', 'gpu'}
    pool : dict
        The configuration's, with ``engine`` and ``dask``.
    source : str
        Where the configuration is from, for the message.

    Returns
    -------
    bool
        False also where the device is 'cpu'.

    Raises
    ------
    InputError
        The device is 'gpu', and there is none, or workers are on other machines.
    """
    if device == "cpu":
        return False
    if device == "gpu" and pool["engine"] == "dask" and "://" in pool["dask"]:
        raise InputError(
            f"{source}: device: gpu is one of this machine, but the workers are those of {pool['dask']}; "
            "set pool.engine: pool, or device: cpu"
        )
    reason = missing()
    if device == "gpu" and reason:
        raise InputError(f"{source}: device: gpu, but {reason}; {INSTALL}")
    return not reason


def pays_off(device: str, *, frames: int, workers: int, megapixels: float = 1.3) -> bool:
    """Return True if a job should take a GPU: it must, or the GPU saves twice the time that its start takes.

    Parameters
    ----------
    device : {'auto', 'cpu', 'gpu'}
    frames, workers : int
    megapixels : float
        Of one frame.
    """
    saved = frames * SAVED_S_PER_FRAME * megapixels / 1.3 / workers
    return device == "gpu" or device == "auto" and saved > 2 * GPU_START_S
