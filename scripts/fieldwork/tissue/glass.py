"""The colour of a slide's glass, and how much light everything else on it absorbs."""

import functools
from collections.abc import Iterator
from typing import NamedTuple

import cv2
import numpy as np

cv2.setNumThreads(1)  # parallelism is processes

BLACK_LEVEL = 30  # of the brightest channel: darker than any stain, where a scanner left the picture black
WHITE_LEVEL = 254.5  # of the darkest channel: where a scanner or a converter filled in what it did not scan

FLAT_LEVELS = (1.5, 4)  # standard deviation in 3 x 3 squares: glass has 0.1 to 0.5 grey levels, tissue 4 and more
DARKEST_GLASS = 0.25  # mean optical density; the glass of dim cameras has 0.1
GREY_GLASS = 0.045  # difference of two channels' optical densities; tinted glass of real slides has 0.02
YELLOW_GLASS = 0.15  # the same in the light of a warm lamp, which lacks blue: no stain lets red and green through alike
SMALLEST_GLASS = 0.003  # share of the slide
MODE_STEP = 0.0025  # optical density: bins of the search for the bright mode
NOISE_RANGE = 0.03  # optical density around the mode: squares whose noise is that of the glass
MODE_SHARE = 0.015  # of the flat squares: a smaller number of brighter ones is no glass
BRIGHTER, BRIGHTER_SHARE = 0.015, 0.03  # optical density, share: squares that glass cannot be darker than
FARTHEST_FILL = 0.05  # optical density of glass beside filled-in white
UNEVEN_LIGHT = 0.003  # standard deviation of the glass's optical density; scanners have 0.001 to 0.002
SMOOTH_LIGHT = 0.5  # of it: what a parabola may leave
LEAST_FITTED, MOST_FITTED = 100, 20000  # squares
SMALLEST_TILE = 4  # squares: a smaller black rectangle may be anything
STAIRS = 0.3  # corners for every straight piece of an outline: tiles have 0 to 0.1, a disc has 1

BAND_ROWS = 256

# Optical density of 16 times a mean grey level.
DENSITIES = (-np.log10(np.maximum(np.arange(255 * 16 + 1) / 16, 1) / 255)).astype(np.float32)


def brightest(means: np.ndarray) -> np.ndarray:
    """Return the highest of the channels' values of every pixel."""
    return functools.reduce(np.maximum, np.moveaxis(means, -1, 0))  # 4 times as fast as the axis's maximum


def darkest(means: np.ndarray) -> np.ndarray:
    """Return the lowest of the channels' values of every pixel."""
    return functools.reduce(np.minimum, np.moveaxis(means, -1, 0))


def bands(picture: np.ndarray) -> Iterator[slice]:
    """Yield the rows of a picture in bands: an overview may have 16 million squares, whose densities take memory."""
    yield from (slice(row, row + BAND_ROWS) for row in range(0, len(picture), BAND_ROWS))


class Glass(NamedTuple):
    """The glass of a slide."""

    colour: tuple[float, float, float]  # grey levels of red, green, blue
    noise: float  # standard deviation of a square's optical density in a channel
    slopes: np.ndarray | None = None  # (6, 3): of uneven light, see `ground_of`


def optical_densities(means: np.ndarray) -> np.ndarray:
    """Return base-10 optical densities relative to 255.

    Parameters
    ----------
    means : (..., channels) float32 array
        Mean grey levels, 0 to 255.
    """
    densities = np.empty(means.shape, np.float32)
    for rows in bands(means):
        densities[rows] = DENSITIES[np.rint(means[rows] * 16).astype(np.int16)]
    return densities


def glass_of(means: np.ndarray, valid: np.ndarray) -> Glass | None:
    """Find a slide's glass: the brightest mode of flat, nearly grey squares.

    Parameters
    ----------
    means : (h, w, 3) float32 array
        Mean colours of squares of 4 to 32 µm, red, green, blue.
    valid : (h, w) bool array
        Squares that count.

    Returns
    -------
    Glass or None
        None where there is no glass in the picture.

    Notes
    -----
    Squares of exact white with straight outlines beside other glass were filled in, not scanned, and are no glass.
    """
    bright, flat = _candidates(means, valid)
    least = _least(valid)
    if np.count_nonzero(flat) < least:
        return None
    density = np.empty(valid.shape, np.float32)
    for rows in bands(means):
        density[rows] = _mean(optical_densities(means[rows]))
    white = darkest(means) >= WHITE_LEVEL
    scanned = flat & ~white
    mode = _mode(density, flat)
    if np.count_nonzero(flat & white) >= least and np.count_nonzero(scanned) >= least:
        mode = _mode(density, scanned)
        if density[mode].mean() > FARTHEST_FILL or not _has_straight_outlines(white):
            mode = flat & white
    level = density[mode].mean()
    brighter = bright & (density < level - BRIGHTER) & (~white | (level > FARTHEST_FILL))
    if np.count_nonzero(brighter) >= BRIGHTER_SHARE * np.count_nonzero(valid):
        mode = _mode(density, brighter)  # flat tissue, and so little glass that it is nowhere flat
    colour = tuple(float(np.median(means[..., channel][mode])) for channel in range(3))
    noise = _noise(means, flat & _near(density, density[mode].mean(), NOISE_RANGE))
    return Glass(colour, noise, _slopes(means, flat, mode, optical_densities(np.array(colour, np.float32))))


def _slopes(means, flat, mode, level):
    """Fit uneven light to the glass; None where it is even, or not smooth.

    Light changes from square to square by less than tissue does at its border. So the glass is what is flat and
    connected to squares of the mode.
    """
    _, pieces = cv2.connectedComponents(flat.astype(np.uint8), connectivity=8)
    is_glass = np.zeros(pieces.max() + 1, bool)
    is_glass[pieces[mode]] = True
    ground = flat & is_glass[pieces]
    rows, columns = np.nonzero(ground)
    step = len(rows) // MOST_FITTED + 1
    rows, columns = rows[::step], columns[::step]
    if len(rows) < LEAST_FITTED:
        return None
    rises = optical_densities(means[rows, columns]).astype(np.float64) - level
    basis = _basis(rows, columns, flat.shape)
    slopes = np.linalg.lstsq(basis, rises, rcond=None)[0]
    before, after = rises.std(), (rises - basis @ slopes).std()
    return slopes if before > UNEVEN_LIGHT and after < SMOOTH_LIGHT * before else None


def _basis(rows, columns, shape):
    """Return 1 and the first and second powers of positions from -1 to 1 in a picture: a (n, 6) array."""
    v, u = ((2 * place + 1) / side - 1 for place, side in zip((rows, columns), shape, strict=True))
    return np.stack([np.ones(len(u)), u, v, u * u, u * v, v * v], axis=1)


def ground_of(glass: Glass, shape: tuple[int, int], channel: int, rows: slice = slice(None)) -> np.ndarray | np.float32:
    """Return the optical density of the glass in a channel: a number, or where the light is uneven an image.

    Parameters
    ----------
    glass : Glass
    shape : (int, int)
        Of the whole picture.
    channel : int
    rows : slice
        Those of the picture to return.
    """
    level = optical_densities(np.array(glass.colour, np.float32))[channel]
    if glass.slopes is None:
        return level
    slopes = glass.slopes[:, channel]
    v, u = (((2 * np.arange(side) + 1) / side - 1).astype(np.float32) for side in shape)
    v = v[rows, None]
    constant, *powers = slopes.astype(np.float32)
    return level + constant + powers[0] * u + powers[1] * v + powers[2] * u * u + powers[3] * u * v + powers[4] * v * v


def _noise(means, among):
    """Return the standard deviation of squares' optical densities, by the differences of neighbours."""
    pairs = among[:, 1:] & among[:, :-1]
    if not pairs.any():
        return 0.0
    medians, differences = [], np.empty(np.count_nonzero(pairs), np.float32)
    for channel in range(means.shape[-1]):
        count = 0
        for rows in bands(means):
            density = optical_densities(means[rows, :, channel])
            part = (density[:, 1:] - density[:, :-1])[pairs[rows]]
            differences[count : count + len(part)] = abs(part)
            count += len(part)
        medians.append(np.median(differences, overwrite_input=True))
    return float(max(medians)) / 0.6745 / 2**0.5


def _least(valid):
    """Return the least number of squares of glass."""
    return max(4, SMALLEST_GLASS * np.count_nonzero(valid))


def _mean(densities):
    return sum(np.moveaxis(densities, -1, 0)) / np.float32(densities.shape[-1])


def _candidates(means, valid):
    """Return the squares that may be glass by their colour, and of these the ones that are like their neighbours."""
    bright = valid.copy()
    for rows in bands(means):
        densities = optical_densities(means[rows])
        red, green, blue = np.moveaxis(densities, -1, 0)
        tint = brightest(densities) - darkest(densities)
        warm = (blue >= green) & (abs(green - red) < GREY_GLASS) & (tint < YELLOW_GLASS)
        bright[rows] &= (_mean(densities) < DARKEST_GLASS) & ((tint < GREY_GLASS) | warm)
    spread = np.zeros(valid.shape, np.float32)
    for channel in np.moveaxis(means, -1, 0):
        channel = channel.copy()
        mean = cv2.blur(channel, (3, 3), borderType=cv2.BORDER_REFLECT)
        square = cv2.blur(np.square(channel, out=channel), (3, 3), borderType=cv2.BORDER_REFLECT)
        square -= np.square(mean, out=mean)
        np.maximum(spread, square, out=spread)
    for level in FLAT_LEVELS:  # pixels of coarse slides are no means, and noisier
        flat = bright & (spread < level**2)
        if np.count_nonzero(flat) >= _least(valid):
            break
    return bright, flat


def _mode(density, among):
    """Return the squares around the brightest mode of some."""
    counts = np.zeros(3, int)
    for rows in bands(density):
        more = np.bincount((density[rows][among[rows]] / MODE_STEP).astype(int), minlength=len(counts))
        more[: len(counts)] += counts
        counts = more
    counts, count = np.convolve(counts, [0.5, 1, 1, 1, 0.5], "same"), counts.sum()
    peak = np.flatnonzero(counts >= min(max(MODE_SHARE * count, 4), counts.max()))[0]
    while peak + 1 < len(counts) and counts[peak + 1] > counts[peak]:
        peak += 1
    return among & _near(density, (peak + 0.5) * MODE_STEP, 2 * MODE_STEP)


def _near(density, level, width):
    """Return the squares within a distance of an optical density."""
    near = np.empty(density.shape, bool)
    for rows in bands(density):
        near[rows] = abs(density[rows] - level) < width
    return near


def frames(means: np.ndarray) -> np.ndarray:
    """Find the black around what was scanned: pieces at the picture's border, and black tiles within it.

    Parameters
    ----------
    means : (h, w, 3) float32 array
        Grey levels, 0 to 255.

    Returns
    -------
    (h, w) bool array
    """
    black = (brightest(means) < BLACK_LEVEL).astype(np.uint8)
    count, pieces, stats, _ = cv2.connectedComponentsWithStats(black, connectivity=4)
    is_frame = np.zeros(count, bool)
    for border in (pieces[0], pieces[-1], pieces[:, 0], pieces[:, -1]):
        is_frame[border] = True
    width, height = stats[:, cv2.CC_STAT_WIDTH], stats[:, cv2.CC_STAT_HEIGHT]
    is_frame |= (stats[:, cv2.CC_STAT_AREA] == width * height) & (np.minimum(width, height) >= SMALLEST_TILE)
    is_frame[0] = False
    return is_frame[pieces]


def _has_straight_outlines(mask):
    """Return True if a mask consists of rectangles along the picture's axes, as tiles and frames do."""
    corners = mask[:-1, :-1].astype(np.uint8) + mask[1:, :-1] + mask[:-1, 1:] + mask[1:, 1:]
    straight, stairs = np.count_nonzero(corners == 2), np.count_nonzero((corners == 1) | (corners == 3))
    return stairs <= STAIRS * (straight + 1)


def absorbance(means: np.ndarray, valid: np.ndarray, glass: Glass) -> np.ndarray:
    """Return the distance of every square from the glass in optical density.

    Parameters
    ----------
    means, valid
        As for `glass_of`.
    glass : Glass

    Returns
    -------
    (h, w) float32 array
        Root mean square of the channels' base-10 optical densities above those of the glass; 0 where not valid. Beside
        squares that are not valid it is the smallest of the neighbours'.
    """
    squares = np.zeros(valid.shape, np.float32)
    for channel in range(3):
        density = optical_densities(means[..., channel])
        density -= ground_of(glass, valid.shape, channel)
        squares += np.square(np.maximum(density, 0, out=density), out=density)
    squares /= 3
    distance = np.sqrt(squares, out=squares)
    # Squares beside a frame are partly black: they are as their neighbours inside.
    box = np.ones((3, 3), np.uint8)
    rim = valid & (cv2.dilate((~valid).astype(np.uint8), box) > 0)
    distance[~valid] = np.inf
    distance[rim] = cv2.erode(distance, box)[rim]
    distance[~valid] = 0
    return distance
