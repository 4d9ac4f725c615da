"""Find the nuclei in a working copy of an image by a small convolutional network, whose arithmetic is exact.

The network sees how far pixels lie above their ground. Of every pixel it says whether it lies in a nucleus, and how
deep: the distance to the nucleus's edge over the largest one in that nucleus. Nuclei are the basins of depth.

Weights are integers over a power of two, and what a layer passes on are integers from 0 to 255: every machine and every
number of threads gives the same bits (`model_form` checks that no sum is too large for it).
"""

import functools
import math
import os
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from fieldwork import InputError
from fieldwork.segmentation import basins, pixels
from fieldwork.segmentation.objects import Objects, Scale, highest, least_area

BUILT_IN = Path(__file__).with_name("network.onnx")
SQUARE_PX = 4  # side of the squares of pixels that are the channels of the network's input, and of its answer
ROW = np.uint32  # the four pixels of a row of such a square
MULTIPLE_PX = 16  # of a working copy: blocks begin at multiples of it, as the coarsest layer has pixels of this size
HALO_PX = 128  # 87 that an answer depends on, and some more for the rest of its nucleus
LEVELS_PER_UNIT = 64  # of the logarithm that the network sees, and of what its layers pass on
BRIGHTNESS = 4  # in the logarithm: of intensities over the contrast of a typical nucleus
MIDDLE, NO_DEPTH = 128, 3  # of an answer from 0 to 255: a pixel at the edge of a nucleus, and one on the ground
SURE, SURE_OF_DIM = 148, 172  # answers in the middle of a nucleus, below which it is none: 78 % and 94 % nucleus
DIM = 30  # of what the network sees there: a nucleus of 0.15 of the typical contrast, as corners of light have, too
LOGIT_STEPS, DEPTH_STEPS = 16, 250  # of an answer, per unit; a depth of 1 is the middle of a nucleus
MARGIN_STEPS = 2**12  # of a margin, per step of an answer
SPLIT_DEPTH = 0.2  # of the saddle between two nuclei, below the lower one's middle


class Model(NamedTuple):
    """A network that was read, ready to run on one thread."""

    session: object  # onnxruntime.InferenceSession

    def run(self, levels: np.ndarray) -> np.ndarray:
        """Return what the network says of levels: nucleus or not, and depth.

        Parameters
        ----------
        levels : (rows, columns) uint8 array
            From `levels_of`.

        Returns
        -------
        (2, rows, columns) uint8 array
            Above `MIDDLE` in nuclei; and `NO_DEPTH`, and `DEPTH_STEPS` more in the middle of a nucleus.
        """
        rows, columns = (-(-side // MULTIPLE_PX) * MULTIPLE_PX // SQUARE_PX for side in levels.shape)
        padded = np.zeros((rows * SQUARE_PX, columns * SQUARE_PX), np.uint8)
        padded[: levels.shape[0], : levels.shape[1]] = levels
        squares = padded.view(ROW).reshape(rows, SQUARE_PX, columns).transpose(0, 2, 1)
        squares = np.ascontiguousarray(squares).view(np.uint8)
        [answer] = self.session.run(None, {"levels": squares[None]})
        answer = answer.view(ROW).reshape(rows, columns, 2, SQUARE_PX).transpose(2, 0, 3, 1)
        answer = np.ascontiguousarray(answer).view(np.uint8).reshape(2, *padded.shape)
        return answer[:, : levels.shape[0], : levels.shape[1]]


def load(path: str | os.PathLike | None = None) -> Model:
    """Read a model, once in a process for as long as its file is the same; the built-in one without a path.

    Raises
    ------
    InputError
        The file cannot be read, or ONNX Runtime finds no model in it.
    """
    path = Path(path or BUILT_IN).absolute()  # a Dask worker works in the folders of several runs
    try:
        status = path.stat()
    except OSError as error:
        raise InputError(f"{path}: the network's model cannot be read: {error.strerror}") from None
    return _read(path, status.st_size, status.st_mtime_ns)


@functools.lru_cache(maxsize=4)
def _read(path, *_):
    """Read the model of a file in this state."""
    import onnxruntime  # large, and it starts threads

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        return Model(onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"]))
    except Exception as error:  # onnxruntime has classes of its own for each fault
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"{path}: no model of the network: {reason}") from None


os.register_at_fork(after_in_child=_read.cache_clear)  # a session is of the process that made it


@functools.cache
def _levels_table():
    """Return the (n,) uint8 levels of steps above the ground: a logarithm; no rounding is a tie."""
    unit = BRIGHTNESS / pixels.TYPICAL
    steps = range(pixels.BRIGHTEST + 1)
    return np.array([min(255, round(LEVELS_PER_UNIT * math.log(1 + unit * step))) for step in steps], np.uint8)


def levels_of(values: np.ndarray, ground: np.ndarray) -> np.ndarray:
    """Return what the network sees of a working copy.

    Parameters
    ----------
    values, ground : (rows, columns) uint16 array
        In steps, of which a typical nucleus has `pixels.TYPICAL` above its ground.

    Returns
    -------
    (rows, columns) uint8 array
    """
    return _levels_table().take(cv2.subtract(values, ground))


def objects_of(values: np.ndarray, ground: np.ndarray, scale: Scale, model: Model) -> Objects:
    """Find the nuclei of a working copy.

    Parameters
    ----------
    values, ground : (rows, columns) uint16 array
        As for `levels_of`.
    scale : Scale
    model : Model

    Returns
    -------
    Objects
    """
    levels = levels_of(values, ground)
    return divided(*model.run(levels), levels, scale)


def divided(nucleus: np.ndarray, depth: np.ndarray, levels: np.ndarray, scale: Scale) -> Objects:
    """Divide the pixels that lie in nuclei into nuclei, which are basins of depth, merged over shallow saddles.

    What is small is none, nor is that whose middle is not surely in a nucleus.

    Parameters
    ----------
    nucleus, depth : (rows, columns) uint8 array
        As `Model.run` returns them.
    levels : (rows, columns) uint8 array
        What the network saw.
    scale : Scale

    Returns
    -------
    Objects
    """
    margin = (nucleus.astype(np.float32) - MIDDLE) * np.float32(MARGIN_STEPS)
    mask = pixels.framed((nucleus > MIDDLE).view(np.uint8))
    inside = np.flatnonzero(mask.ravel().view(bool))  # four times as fast as from uint8
    labels, brightest = np.zeros(mask.shape, np.int32), np.zeros(1, np.int64)
    if len(inside):
        heights = pixels.blurred(depth, pixels.NARROW) + 1
        heights = cv2.copyTo(pixels.framed(heights), mask)
        basin, summits = basins.basins(heights, inside)
        saddles, peaks = basins.saddles(basin, heights, inside), heights.ravel()[summits]
        areas = np.bincount(basin)
        least_depth = SPLIT_DEPTH * DEPTH_STEPS * pixels.KERNEL_SUM
        parts = basins.merged(saddles, peaks.tolist(), areas[1:].tolist(), lambda _: least_depth)
        summits = highest(parts.take(basin), heights.ravel().take(inside), np.searchsorted(inside, summits))
        summits = pixels.unframed_indices(inside[summits], margin.shape[1])
        middles = np.divmod(summits, margin.shape[1])
        is_sure = nucleus[middles] >= np.where(levels[middles] < DIM, SURE_OF_DIM, SURE)
        kept = is_sure & (np.bincount(parts, areas) >= least_area(scale))
        kept[0] = False
        labels.ravel()[inside] = (np.cumsum(kept, dtype=np.int32) * kept).take(parts).take(basin)
        kept[0] = True
        brightest = summits[kept]
    return Objects(np.ascontiguousarray(pixels.unframed(labels)), brightest, margin)
