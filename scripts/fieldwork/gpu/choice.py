"""Tell whether this machine has a GPU to be used, and whether a job should take it. Loads no NumPy."""

import importlib.util
import subprocess
import sys

from fieldwork import InputError

# Estimated, as no GPU has been measured yet (docs/performance.md): what `auto` goes by.
START = 3.0  # s until CuPy is imported, CUDA initialised and its kernels are compiled

SAVED = 0.01  # s of a core that a frame of 1.3 megapixels takes less

GPU_ANSWER_S = 120  # s that the GPU's process may take to start, or to answer

INSTALL = "install the packages of envs/gpu.lock (docs/dependencies.md), or set device: auto, which does without"


def missing():
    """Say why there is no GPU to be used; an empty text where there is one.

    Returns
    -------
    str
        In a line. Where CuPy is installed, it is asked in a process of its own, as one that used CUDA must not fork.
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


def check(device, *, pool, source):
    """Tell whether there is a GPU to be used, for the whole run.

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
        False where it is not wanted.

    Raises
    ------
    InputError
        It is to be a GPU, and there is none, or workers are on other machines.
    """
    if device == "cpu":
        return False
    if device == "gpu" and pool["engine"] == "dask" and "://" in pool["dask"]:
        raise InputError(
            f"{source}: device: gpu is one of this machine, but the workers are those of {pool['dask']}; "
            "set pool.engine: pool, or device: cpu"
        )
    found = missing()
    if device == "gpu" and found:
        raise InputError(f"{source}: device: gpu, but {found}; {INSTALL}")
    return not found


def wanted(device, *, frames, workers, megapixels=1.3):
    """Tell whether a job should take a GPU: if it must, or it saves twice the time that its start takes.

    Parameters
    ----------
    device : {'auto', 'cpu', 'gpu'}
    frames, workers : int
    megapixels : float
        Of one frame.
    """
    saved = frames * SAVED * megapixels / 1.3 / workers
    return device == "gpu" or device == "auto" and saved > 2 * START
