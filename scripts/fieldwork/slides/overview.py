"""A slide's overview: mean colours of small squares, added up from the pixels of level 0 as blocks are converted."""

import math

import cv2
import numpy as np
from numcodecs import zstd

cv2.setNumThreads(1)  # parallelism is processes

SQUARE_UM = 8  # side of a square, about a nucleus
UNKNOWN_MPP = 0.5  # micrometres a pixel, where the slide does not state them
LARGEST_FACTOR_PX = 1024  # side of a square: sums of 8 bits stay in 32
LARGEST_EXACT_FACTOR_PX = 256  # of 8 bits in float32: 256 ** 2 * 255 is less than 2 ** 24
MOST_SQUARES = 2**24  # 0.6 GB; 33 x 33 mm. Larger slides, or those whose pixel size is wrong, have larger squares


def pixel_um(mpp: tuple[float, float] | None) -> float:
    """Return the side of a square that is as large as a pixel, in µm; `UNKNOWN_MPP` where the pixel size is unknown."""
    return math.sqrt(mpp[0] * mpp[1]) if mpp else UNKNOWN_MPP


def factor_of(mpp: tuple[float, float] | None, shape: tuple[int, int] = (1, 1)) -> int:
    """Return the side of an overview's squares, in pixels of level 0: the whole number nearest to `SQUARE_UM`, or 1.

    It is larger where a slide of this height and width would have more than `MOST_SQUARES`.
    """
    least = math.ceil(math.sqrt(shape[0] * shape[1] / MOST_SQUARES))
    return min(max(1, least, round(SQUARE_UM / pixel_um(mpp))), LARGEST_FACTOR_PX)


def packed_sums(pixels: np.ndarray, y: int, x: int, *, factor: int) -> bytes:
    """Add up a block of level 0 over the squares that it touches.

    Parameters
    ----------
    pixels : (height, width, channels) uint8 or uint16 array
    y, x : int
        Position of its first pixel.
    factor : int
        Side of the squares, in pixels.

    Returns
    -------
    bytes
        For `Overview.add`. A square that lies in several blocks gets a part of its sum from each.
    """
    height, width, channels = pixels.shape
    lines = np.ascontiguousarray(pixels).reshape(height, -1)
    starts = [0, *range(factor - y % factor, height, factor)]
    # Exact: whole numbers in floats. cv2.reduce and a product of matrices are 3 times as fast as NumPy's sums.
    is_small = pixels.dtype == np.uint8 and factor <= LARGEST_EXACT_FACTOR_PX
    depth = cv2.CV_32F if is_small else cv2.CV_64F
    first, count = x % factor, (x % factor + width - 1) // factor + 1
    whole_squares = np.zeros(
        (len(starts), count * factor * channels), np.float32 if depth == cv2.CV_32F else np.float64
    )
    touched = whole_squares[:, first * channels : (first + width) * channels]
    for row, (start, stop) in enumerate(zip(starts, [*starts[1:], height], strict=True)):
        cv2.reduce(lines[start:stop], 0, cv2.REDUCE_SUM, dst=touched[row : row + 1], dtype=depth)
    by_channel = np.kron(np.ones((factor, 1)), np.eye(channels)).astype(whole_squares.dtype)
    sums = whole_squares.reshape(-1, factor * channels) @ by_channel
    return zstd.compress(sums.astype(_type_of_sums(pixels.dtype, factor)), 1)


def _type_of_sums(dtype, factor):
    """Return the smallest type that holds the sums of a square's pixels."""
    return np.uint32 if np.iinfo(dtype).max * factor**2 < 2**32 else np.uint64


class Overview:
    """The sums of a slide's pixels over squares, to which blocks are added in any order.

    Parameters
    ----------
    shape : (int, int)
        Height and width of level 0.
    factor : int
        Side of the squares, in pixels; the last ones are cut by the slide's border.
    channels : int
    dtype : str
        Of the slide's pixels.

    Attributes
    ----------
    sums : (rows, columns, channels) uint32 or uint64 array
    dtype : str
        Of the slide's pixels.
    """

    def __init__(self, shape: tuple[int, int], *, factor: int, channels: int = 3, dtype: str = "uint8") -> None:
        self.shape, self.factor = tuple(shape), factor
        self.dtype = dtype
        self.sums = np.zeros((*(-(-side // factor) for side in shape), channels), _type_of_sums(dtype, factor))

    def add(self, y: int, x: int, height: int, width: int, packed: bytes) -> None:
        """Add a block.

        Parameters
        ----------
        y, x, height, width : int
            The block, in pixels of level 0.
        packed : bytes
            Its `packed_sums`.
        """
        part = self.sums[self._touched(y, height), self._touched(x, width)]
        values = zstd.decompress(packed)
        part += np.frombuffer(values, f"<u{len(values) // part.size}").reshape(part.shape)

    def _touched(self, first, length):
        """Return the rows or columns of squares that pixels from `first` on lie in."""
        return slice(first // self.factor, (first + length - 1) // self.factor + 1)

    def means(self, failed: list) -> tuple[np.ndarray, np.ndarray]:
        """Return the mean of every square, and which squares have one. The sums are lost: the means take their memory.

        Parameters
        ----------
        failed : list of [y, x, height, width, ...]
            Rectangles of level 0 that could not be decoded, and were added as 0. They do not overlap.

        Returns
        -------
        (rows, columns, channels) float32 array
            0 where there is no pixel.
        (rows, columns) bool array
            At least half of the square could be decoded.
        """
        edges = [np.arange(0, side, self.factor, dtype=np.int32) for side in self.shape]  # where squares begin
        full = np.outer(*(np.minimum(self.factor, side - along) for side, along in zip(self.shape, edges, strict=True)))
        counts = full.copy()
        for y, x, height, width, *_ in failed:  # there may be as many as tiles
            spans = self._touched(y, height), self._touched(x, width)
            covered = (
                np.minimum(along[span] + self.factor, first + length) - np.maximum(along[span], first)
                for along, span, first, length in zip(edges, spans, (y, x), (height, width), strict=True)
            )
            counts[spans] -= np.outer(*covered)
        sums, self.sums = self.sums, None
        means = sums.view(np.float32) if sums.itemsize == 4 else np.empty(sums.shape, np.float32)
        for row, count in enumerate(counts):
            means[row] = sums[row] / np.maximum(count, 1)[:, None]
        counts *= 2
        return means, counts >= full
