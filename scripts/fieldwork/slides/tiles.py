"""One tile of a slide: its nuclei, tissue, focus and colour."""

import math
from collections.abc import Callable
from typing import NamedTuple

import cv2
import numpy as np

from fieldwork import DeviceFailed, InputError, nuclei
from fieldwork.gpu import client
from fieldwork.slides import channels as slide_channels
from fieldwork.slides.channels import Channels
from fieldwork.surroundings.unread import failure_of
from fieldwork.tissue.samples import Block, lines_in_mask, squares_of, tissue_px

LARGEST_HALO_PX = 1152  # as the network needs around nuclei of 128 px; such a tile is read with 9 times its pixels


class Tile(Block):
    """A square of a slide whose side the configuration states, a row of its table."""

    __slots__ = ()

    def __str__(self):
        return f"tile at row {self.row}, column {self.column} ({self.height} x {self.width} px)"


class MeasuredTile(NamedTuple):
    """One measured tile, or why it could not be measured (`error`). If it was not read, focus and colour are None."""

    tile: Tile
    coordinates: np.ndarray = np.empty((0, 2), int)  # level-0 row and column, in order of rows, then columns
    peaks: np.ndarray = np.empty(0)
    tissue: float | None = None
    focus: float | None = None
    colour: tuple[float, float, float] | tuple[None, None, None] = (None, None, None)
    error: str = ""
    outlined: int = 0  # nuclei with outlines whose centroids lie in the tile

    @property
    def count(self) -> int:
        """The number of nuclei."""
        return len(self.coordinates) + self.outlined


def tiles_of(shape: tuple[int, int], *, tile: int) -> list[Tile]:
    """Cut a slide into square tiles; those at the lower and right borders are smaller.

    Parameters
    ----------
    shape : (int, int)
        Height and width of level 0.
    tile : int
        Side of a tile, in pixels.

    Returns
    -------
    list of Tile
        Row by row.
    """
    return [Tile(*square) for square in squares_of(shape, side=tile)]


def detection_px(settings: dict, mpp: tuple[float, float] | None) -> dict:
    """Return the arguments of `nuclei.detect_nuclei` for a slide.

    Parameters
    ----------
    settings : dict
        ``sigma_um`` and ``min_distance_um``, for slides that state their pixel size; ``sigma`` and ``min_distance``
        in pixels, for those that don't; ``threshold``, in the unit of `channels.peaks_image`.
    mpp : (float, float) or None
        Micrometres per pixel, vertically and horizontally; they are averaged.

    Returns
    -------
    dict
        ``sigma`` in pixels, ``min_distance`` in whole pixels, at least 1, and ``threshold_abs``.

    Raises
    ------
    InputError
        Micrometres become so many pixels that the halo would be wider than `LARGEST_HALO_PX`.
    """
    sigma, min_distance = settings["sigma"], settings["min_distance"]
    if mpp:
        um = float(sum(mpp)) / 2
        sigma, min_distance = settings["sigma_um"] / um, settings["min_distance_um"] / um
    detection = {"sigma": sigma, "min_distance": max(1, round(min_distance)), "threshold_abs": settings["threshold"]}
    if mpp and (halo := halo_of(detection)) > LARGEST_HALO_PX:
        raise InputError(
            f"at {um:.3g} \xb5m a pixel, sigma_um and min_distance_um of slide.nuclei are {sigma:.0f} and "
            f"{min_distance:.0f} px, and tiles need a margin of {halo} px; expected at most {LARGEST_HALO_PX}. "
            "Is the pixel size right? Column mpp of the sheet of slides sets it"
        )
    return detection


def halo_of(detection: dict) -> int:
    """Return the width of the margin with which a tile is read.

    Parameters
    ----------
    detection : dict
        From `detection_px`.

    Returns
    -------
    int
        Pixels: the Gaussian's radius, for intensities as on the whole slide; `min_distance` for the square in which
        a peak is the highest; 3 times that for equally high neighbours, so that one of less than 2 `min_distance`
        is seen whole (see `measure_tile`).
    """
    return _radius(detection) + 4 * detection["min_distance"]


def measure_tile(
    tile: Tile,
    *,
    read: Callable,
    shape: tuple[int, int],
    mask: np.ndarray,
    factor: float,
    channels: Channels,
    detection: dict,
    halo: int,
    device: client.Cpu | client.Gpu = client.CPU,
) -> MeasuredTile:
    """Find the nuclei in one tile and measure its focus and colour.

    Parameters
    ----------
    tile : Tile
    read : callable
        ``read(row, column, height, width)`` returns (height, width, 3) uint8 pixels of level 0.
    shape : (int, int)
        Height and width of level 0.
    mask : (h, w) bool array
        Tissue: pixel (i, j) covers level-0 pixels from (i, j) * factor on; the last ones reach to the border.
    factor : float
        Level-0 pixels per pixel of the mask.
    channels : channels.Channels
    detection : dict
        Keyword arguments of `nuclei.detect_nuclei`.
    halo : int
        From `halo_of`.
    device : client.Cpu or client.Gpu
        From `gpu.client.open_device`.

    Returns
    -------
    MeasuredTile
        A tile without tissue is not read. ``focus`` is the variance of the Laplacian of the grey tile (Pech-Pacheco
        et al., ICPR 2000, https://doi.org/10.1109/ICPR.2000.903548; LAP4 in Pertuz et al., Pattern Recognition 46,
        2013), ``colour`` its mean red, green and blue, ``tissue`` the part that the mask says is tissue.

    Notes
    -----
    Nuclei do not depend on the tiles: they are those that `detect_nuclei` finds in the whole slide at once, at pixels
    of tissue, without those on plateaus (saturated or painted areas) wider than `halo`. Of equally high neighbours
    scikit-image keeps one in every `min_distance` px, counted from the plateau's first pixel, however far that is: a
    grid of points, and none of them a nucleus. So a tile with neighbours of equal height is read again with
    twice the halo, which tells narrow plateaus, seen whole, from wide ones.
    """
    fraction = tissue_px(tile, mask, factor) / (tile.height * tile.width)
    if fraction == 0:
        return MeasuredTile(tile, tissue=fraction)
    try:
        core, image, origin = _read(tile, read, shape, halo)
        channel = device.haematoxylin(image) if channels.is_stained else slide_channels.peaks_image(image, channels)
        level = _is_flat_somewhere(channel, detection)
        if not level:
            coordinates = device.detect_nuclei(channel, **detection)
            peaks = _peaks(coordinates, channel, detection)
            level = _are_some_level(coordinates, peaks, 3 * detection["min_distance"])
        if level:
            _, image, origin = _read(tile, read, shape, 2 * halo)
            channel = slide_channels.peaks_image(image, channels)
            coordinates = _without_wide_plateaus(channel, detection, halo)
            peaks = _peaks(coordinates, channel, detection)
    except DeviceFailed:
        raise
    except Exception as error:  # damaged bytes make decoders raise anything, as in `frames`
        return MeasuredTile(tile, tissue=fraction, error=failure_of(error))
    within = coordinates + origin - (tile.row, tile.column)
    kept = ((within >= 0) & (within < (tile.height, tile.width))).all(axis=1)
    rows, columns = lines_in_mask(tile, mask, factor)
    kept[kept] = mask[rows[within[kept, 0]], columns[within[kept, 1]]]
    order = np.flatnonzero(kept)[np.lexsort(within[kept].T[::-1])]
    return MeasuredTile(
        tile, coordinates=coordinates[order] + origin, peaks=peaks[order], tissue=fraction, **_appearance(core)
    )


def _appearance(core):
    """Return the focus and the colour of a tile's pixels; of other than RGB the focus of the brightest channel."""
    if core.shape[2] != 3 or core.dtype != np.uint8:
        return {"focus": float(cv2.Laplacian(core.max(axis=-1), cv2.CV_32F).var(dtype=np.float64))}
    grey = cv2.cvtColor(core, cv2.COLOR_RGB2GRAY)
    colour = tuple(core.mean(axis=(0, 1), dtype=np.float64).tolist())
    return {"focus": float(cv2.Laplacian(grey, cv2.CV_16S).var()), "colour": colour}


def look_at_tile(tile: Tile, *, read: Callable, mask: np.ndarray, factor: float) -> MeasuredTile:
    """Measure the focus and the colour of a tile with tissue, without looking for nuclei.

    Parameters
    ----------
    tile, read, mask, factor
        As for `measure_tile`, whose columns these are.
    """
    fraction = tissue_px(tile, mask, factor) / (tile.height * tile.width)
    if fraction == 0:
        return MeasuredTile(tile, tissue=fraction)
    try:
        return MeasuredTile(tile, tissue=fraction, **_appearance(read(*tile)))
    except Exception as error:  # damaged bytes make decoders raise anything, as in `frames`
        return MeasuredTile(tile, tissue=fraction, error=failure_of(error))


def failed_tile(tile: Tile, reason: str) -> MeasuredTile:
    """Return the failed result of a tile that could not be measured."""
    return MeasuredTile(tile, error=reason)


def with_undecoded(measured: MeasuredTile, undecoded: list) -> MeasuredTile:
    """Note in a tile's error how much of it could not be decoded when the slide was converted.

    Parameters
    ----------
    measured : MeasuredTile
    undecoded : list of [row, column, height, width, reason]
        Rectangles of level 0 that could not be decoded.
    """
    row, column, height, width = measured.tile
    pixels = sum(
        max(0, min(row + height, y + h) - max(row, y)) * max(0, min(column + width, x + w) - max(column, x))
        for y, x, h, w, _ in undecoded
    )
    if not pixels or measured.error:
        return measured
    return measured._replace(error=f"{pixels / (height * width):.1%} of it could not be decoded and is blank")


def _read(tile, read, shape, halo):
    """Read a tile with its halo, cut at the slide's borders; return its core, all pixels, and their first position."""
    top, left = max(tile.row - halo, 0), max(tile.column - halo, 0)
    bottom, right = min(tile.row + tile.height + halo, shape[0]), min(tile.column + tile.width + halo, shape[1])
    image = read(top, left, bottom - top, right - left)
    core = image[tile.row - top :, tile.column - left :][: tile.height, : tile.width]
    return core, image, np.array([top, left])


def _radius(detection):
    """Return the distance, in pixels, from a smoothed intensity to the farthest pixel that it depends on."""
    return int(nuclei.TRUNCATE * detection["sigma"] + 0.5)


def _peaks(coordinates, channel, detection):
    """Compute smoothed intensities one by one: the last bit of BLAS's sums depends on how many it is given."""
    sigma = detection["sigma"]
    return np.array([nuclei.intensities_at(peak[None], channel, sigma=sigma)[0] for peak in coordinates], np.float64)


def _is_flat_somewhere(channel, detection):
    """Return True if the channel may be flat on a square so wide that its smoothed middle is a plateau."""
    step = _radius(detection) + detection["min_distance"]
    grid = channel[::step, ::step]  # such a square, of 2 step pixels, holds four of these
    corners = np.stack([grid[:-1, :-1], grid[:-1, 1:], grid[1:, :-1], grid[1:, 1:]])
    flat = (corners == corners[0]).all(axis=0) & (corners[0] > detection["threshold_abs"])
    return bool(flat.any()) or channel.min() == channel.max()


def _are_some_level(coordinates, peaks, within):
    """Return True if two peaks at most `within` pixels apart may be equally high."""
    from scipy.spatial import cKDTree  # 0.2 s to import

    pairs = cKDTree(coordinates).query_pairs(within, p=math.inf, output_type="ndarray")
    first, second = peaks[pairs.T]
    return bool(np.any(np.abs(first - second) <= 1e-6 * np.abs(first)))  # float32 smooths to within 3e-7


def _without_wide_plateaus(channel, detection, width):
    """Find nuclei as `nuclei.detect_nuclei` does, in another order, without plateaus over `width` px high or wide.

    scikit-image, which thins out every plateau, would take minutes for one of a million pixels.
    """
    from scipy.ndimage import maximum_filter
    from skimage.filters import gaussian

    spacing = detection["min_distance"]
    smoothed = gaussian(channel, detection["sigma"], preserve_range=True)
    if smoothed.min() == smoothed.max():
        return np.empty((0, 2), int)
    inside = np.zeros(channel.shape, np.uint8)  # without the border that scikit-image excludes
    middle = np.s_[spacing:-spacing, spacing:-spacing]
    inside[middle] = (smoothed == maximum_filter(smoothed, 2 * spacing + 1, mode="nearest"))[middle]
    inside[smoothed <= detection["threshold_abs"]] = 0
    # Of pixels closer than min_distance one must go; drawn as squares of that side less one, they touch.
    side = max(spacing - 1, 1)
    _, labels, boxes, _ = cv2.connectedComponentsWithStats(cv2.dilate(inside, np.ones((side, side))), connectivity=8)
    narrow = boxes[:, [cv2.CC_STAT_WIDTH, cv2.CC_STAT_HEIGHT]].max(axis=1) - side <= width
    kept = {}  # plateau -> its pixels that are not too close to those before them
    for pixel in np.argwhere(inside & narrow[labels]):
        pixels = kept.setdefault(labels[tuple(pixel)], [])
        if all(np.abs(pixel - other).max() >= spacing for other in pixels):
            pixels.append(pixel)
    return np.array([pixel for pixels in kept.values() for pixel in pixels], int).reshape(-1, 2)
