"""What a slide's channels are: he, hdab, another stain in brightfield, or fluorescence."""

import cv2
import numpy as np

from fieldwork.tissue import glass

MODALITIES = ("he", "hdab", "brightfield", "fluorescence")

# Grey levels of what is not black.
BRIGHT_MEDIAN = 100  # of the brightest channel: dark brown tissue without any glass has 150
BRIGHT_TOP = 100  # of the darkest channel, its 95th percentile: pale stroma has 180; light of one colour has 0
BRIGHT_RIM = 100  # beside the black: frames end at glass or tissue, the light of nuclei fades
FRAME_SHARE = 0.02  # of the picture: less black may be ink, or dark stains

FAINTEST_DYE = 0.05  # optical density by which a dye is told: its hue is uncertain below
PINK_SHARE, BROWN_SHARE = 0.25, 0.01  # of the tissue: eosin is nearly everywhere, DAB may be in few nuclei


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


def stain_of(means: np.ndarray, tissue: np.ndarray, colour: tuple[float, float, float]) -> tuple[str, str]:
    """Decide how the tissue of a brightfield slide is stained, by the hues of its squares.

    Parameters
    ----------
    means : (h, w, 3) float32 array
        Red, green, blue, 0 to 255, of squares of a nucleus's size.
    tissue : (h, w) bool array
    colour : (float, float, float)
        Grey levels of the glass.

    Returns
    -------
    {'he', 'hdab', 'brightfield'}
        ``he``: a quarter of the tissue is pink, as by eosin. ``hdab``: a hundredth is brown, as by DAB, and it is not
        mostly pink. Otherwise ``brightfield``.
    str
        The reason, in words.

    Notes
    -----
    Eosin absorbs green most, DAB blue (Ruifrok & Johnston, Anal. Quant. Cytol. Histol. 23, 2001). AEC and erythrocytes
    absorb hardly any red.
    """
    densities = glass.optical_densities(means[tissue]) - glass.optical_densities(np.array(colour, np.float32))
    red, green, blue = densities.T
    pink = (green > 1.3 * red) & (green > 1.15 * blue) & (green > FAINTEST_DYE)
    brown = (blue > 1.1 * green) & (green > 1.05 * red) & (red > 0.3 * green) & (blue > 2 * FAINTEST_DYE)
    pinks, browns = (np.count_nonzero(hue) / max(len(densities), 1) for hue in (pink, brown))
    reason = f"{pinks:.1%} of the tissue is pink, {browns:.1%} brown"
    if pinks >= PINK_SHARE and pinks > 2 * browns:
        return "he", reason
    return "hdab" if browns >= BROWN_SHARE else "brightfield", reason
