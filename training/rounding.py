"""Round the weights of a convolution to integers over a power of two."""

import numpy as np

from fieldwork.segmentation.model_form import HIGHEST_LEVEL, LARGEST_SUM, LARGEST_WEIGHT

MOST_BITS = 20  # of the power of two that a weight is over


def as_integers(weights: np.ndarray, bias: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the weights and the bias of a convolution in integers whose sums are exact, and what these are times.

    Parameters
    ----------
    weights : (outputs, inputs, side, side) float64 array
    bias : (outputs,) float64 array

    Returns
    -------
    weights : array likewise, int8
        From -64 to 64.
    scales : (outputs,) float32 array
        Powers of two.
    bias : (outputs,) int32 array

    Raises
    ------
    ValueError
        They are not finite: the training diverged.
    """
    if not (np.isfinite(weights).all() and np.isfinite(bias).all()):
        raise ValueError("weights that are no finite numbers: the training diverged")
    largest = np.maximum(np.abs(weights).max(axis=(1, 2, 3)), 2.0**-MOST_BITS)
    bits = np.minimum(np.floor(np.log2(LARGEST_WEIGHT / largest)), MOST_BITS)
    while True:
        whole = np.rint(weights * 2.0 ** bits[:, None, None, None])
        added = np.rint(bias * 2.0**bits)
        is_too_large = np.abs(whole).sum(axis=(1, 2, 3)) * HIGHEST_LEVEL + np.abs(added) >= LARGEST_SUM
        if not is_too_large.any():
            return whole.astype(np.int8), (2.0**-bits).astype(np.float32), added.astype(np.int32)
        bits -= is_too_large
