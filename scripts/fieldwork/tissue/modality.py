"""What a slide's channels are: he, hdab, another stain in brightfield, or fluorescence."""

from typing import NamedTuple

import cv2
import numpy as np

from fieldwork.tissue import glass

# Grey levels of what is not black.
BRIGHT_MEDIAN = 100  # of the brightest channel: dark brown tissue without any glass has 150
BRIGHT_TOP = 100  # of the darkest channel, its 95th percentile: pale stroma has 180; light of one colour has 0
BRIGHT_RIM = 100  # beside the black: frames end at glass or tissue, the light of nuclei fades
FRAME_SHARE = 0.02  # of the picture: less black may be ink, or dark stains

FAINTEST_DYE = 0.05  # optical density by which a dye is told: its hue is uncertain below
PINK_SHARE, BROWN_SHARE = 0.25, 0.01  # of the tissue: eosin is nearly everywhere, DAB may be in few nuclei
# Of single pixels. Brown nuclei with haematoxylin absorb green nearly as much as blue; AEC with haematoxylin absorbs
# less blue. H&E slides have up to 0.002 of such pixels, slides of which every tenth nucleus is brown 0.01.
FAINTEST_DAB, DAB_SHARE = 0.25, 0.005

# Of fluorescence in red, green and blue.
SIGNAL_PERCENTILES = (10, 99.5)  # of a colour's squares: its signal is what lies between, above the tissue's own light
LEAST_SIGNAL = 0.1  # of the strongest colour's signal; JPEG and filters leak 0.01 to 0.02 of it into others
SAME_LIGHT = 0.95  # correlation of pixels: a picture of one channel in cyan, orange or grey


def light_of(means: np.ndarray, valid: np.ndarray, *, is_picture: bool = True) -> tuple[bool, str]:
    """Decide whether a picture is of fluorescence, and name the reason.

    Parameters
    ----------
    means : (h, w, channels) array
        Grey levels, 0 to 255, of pixels of any size.
    valid : (h, w) bool array
        Pixels that could be read.
    is_picture : bool
        Neighbours in the array are neighbours on the slide.

    Returns
    -------
    bool
        True for bright tissue on a dark ground. In brightfield there may be black too, even most of the picture: frames
        around what was scanned. What is not black there is bright in all channels, and ends at the black abruptly.
    str
    """
    brightest, darkest = glass.brightest(means), glass.darkest(means)
    black = valid & (brightest < glass.BLACK_LEVEL)
    rest = valid & ~black
    share = np.count_nonzero(black) / max(np.count_nonzero(valid), 1)
    if not rest.any():
        return bool(black.any()), "all of it is black" if black.any() else "none of it could be decoded"
    middle, top = np.median(brightest[rest]), np.percentile(darkest[rest], 95)
    ground = f"{share:.0%} of it is black; of the rest, the middle has a brightest channel of {middle:.0f}"
    if middle < BRIGHT_MEDIAN:
        return True, ground
    if share >= FRAME_SHARE:
        if top < BRIGHT_TOP:
            return True, f"{ground}, and not all channels are bright ({top:.0f})"
        rim = rest & _around(black, 3) & ~_around(black, 1)
        if is_picture and rim.any() and np.median(brightest[rim]) < BRIGHT_RIM:
            return True, f"{ground}, and it fades to {np.median(brightest[rim]):.0f} beside the black"
    return False, ground


def _around(mask, steps):
    return cv2.dilate(mask.astype(np.uint8), np.ones((3, 3), np.uint8), iterations=steps) > 0


def signals_of(pixels: np.ndarray) -> list[int]:
    """Return which colours of a fluorescence picture show signals of their own, the strongest first.

    Parameters
    ----------
    pixels : (n, 3) array
        Grey levels of tissue, red, green, blue: means of some pixels each, as noise is no signal.

    Returns
    -------
    list of int
        Numbers of colours, 0 to 2. One that shows the same light as a stronger one is left out.
    """
    low, high = np.percentile(pixels, SIGNAL_PERCENTILES, axis=0) if len(pixels) else np.zeros((2, 3))
    signals, own = high - low, []
    for colour in np.argsort(-signals, kind="stable").tolist():
        if signals[colour] <= 0 or signals[colour] < LEAST_SIGNAL * signals.max():
            break
        values = pixels[:, colour]
        if all(np.corrcoef(values, pixels[:, other])[0, 1] < SAME_LIGHT for other in own):
            own.append(colour)
    return own


class Hues(NamedTuple):
    """Shares of the tissue of a brightfield slide."""

    pink: float  # squares
    brown: float  # squares
    dab: float = 0.0  # pixels, of a sample


def hues_of(means: np.ndarray, tissue: np.ndarray, colour: tuple[float, float, float]) -> Hues:
    """Return how much of the tissue of a brightfield slide is pink and brown, by its squares.

    Parameters
    ----------
    means : (h, w, 3) float32 array
        Red, green, blue, 0 to 255, of squares of a nucleus's size.
    tissue : (h, w) bool array
    colour : (float, float, float)
        Grey levels of the glass.
    """
    pink = brown = 0
    for rows in glass.bands(means):
        red, green, blue = _densities(means[rows][tissue[rows]], colour)
        pink += np.count_nonzero((green > 1.3 * red) & (green > 1.15 * blue) & (green > FAINTEST_DYE))
        is_brown = (blue > 1.1 * green) & (green > 1.05 * red) & (red > 0.3 * green) & (blue > 2 * FAINTEST_DYE)
        brown += np.count_nonzero(is_brown)
    size = max(np.count_nonzero(tissue), 1)
    return Hues(pink / size, brown / size)


def have_dab(pixels: np.ndarray, colour: tuple[float, float, float]) -> np.ndarray:
    """Return True for pixels that are brown, (h, w), also in nuclei with haematoxylin; squares mix these with blue.

    Parameters
    ----------
    pixels : (h, w, 3) uint8 array
        Red, green, blue.
    colour : (float, float, float)
        Grey levels of the glass.
    """
    levels = np.arange(256, dtype=np.uint8)[:, None].repeat(3, axis=1)
    red, green, blue = np.moveaxis(cv2.LUT(pixels, _densities(levels, colour).T[None]), -1, 0)
    return (blue > 0.93 * green) & (green > 1.25 * red) & (red > 0.3 * green) & (blue > FAINTEST_DAB)


def _densities(levels, colour):
    densities = glass.optical_densities(levels.astype(np.float32, copy=False))
    return np.moveaxis(densities - glass.optical_densities(np.array(colour, np.float32)), -1, 0)


def stain_of(hues: Hues) -> tuple[str, str]:
    """Decide how the tissue of a brightfield slide is stained.

    Returns
    -------
    {'he', 'hdab', 'brightfield'}
        ``he``: a quarter of the tissue is pink, as by eosin. ``hdab``: a hundredth of the squares or 0.5 % of the
        pixels are brown, as by DAB, and it is not mostly pink. Otherwise ``brightfield``.
    str
        The reason, in words.

    Notes
    -----
    Eosin absorbs green most, DAB blue (Ruifrok & Johnston, Anal. Quant. Cytol. Histol. 23, 2001). AEC and erythrocytes
    absorb hardly any red.
    """
    reason = f"{hues.pink:.1%} of the tissue is pink, {hues.brown:.1%} brown, and {hues.dab:.1%} of its pixels"
    if hues.pink >= PINK_SHARE and hues.pink > 2 * max(hues.brown, hues.dab):
        return "he", reason
    is_brown = hues.brown >= BROWN_SHARE or hues.dab >= DAB_SHARE
    return "hdab" if is_brown else "brightfield", reason
