"""The channel of a slide in which nuclei are looked for, and the channels in which they are measured."""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

from fieldwork import optical_densities
from fieldwork.segmentation import pixels

cv2.setNumThreads(1)  # parallelism is processes

STAINED = ("he", "hdab")  # modalities with haematoxylin in the nuclei
# Of the densities of red, green and blue, where nuclei have haematoxylin: eosin and DAB have none. Chosen by annotated
# colour fields, a slide whose nuclei were counted, and immunohistochemistry, against unmixed haematoxylin, the mean and
# single colours. More green lets strongly stained cytoplasm through; less blurs nuclei on violet ground.
NUCLEI_WEIGHTS = (1.0, 0.15, -0.6)
# Strong DAB in nuclei hides their haematoxylin: nuclei of either are dense here. Brown cytoplasm is denser here, too,
# so that these weights are for slides that are not brown in most places.
BROWN_NUCLEI_WEIGHTS = (1.0, 0.15, -0.2)
BROWN_EVERYWHERE = 0.4  # of the tissue's squares: epithelium with DAB in its cytoplasm has 0.65, brown nuclei 0 to 0.03
STRIP_ROWS = 256  # of which densities are computed at once
STEPS_PER_DENSITY = 4096  # of the images in which nuclei are looked for: whole numbers, of which sums are exact
TEXTURE_BLURS = 2  # by `pixels.WIDE`: sigma is 2 px, of the image on which a stained slide is calibrated


class Channels(NamedTuple):
    """What a slide's colours or planes are."""

    modality: str  # he | hdab | brightfield | fluorescence
    names: tuple[str, ...] = ()  # of a fluorescence slide's planes
    nuclei: str | None = None  # of these, the DNA stain's; None: the brightest one of every pixel
    glass: tuple[float, ...] | None = None  # its red, green and blue in brightfield; None: not known, white
    brown: float = 0.0  # share of the tissue's squares that are brown

    @property
    def is_stained(self) -> bool:
        """True in brightfield, where nuclei absorb light."""
        return self.modality != "fluorescence"

    @property
    def weights(self) -> tuple[float, float, float] | None:
        """Of red, green and blue, in whose density nuclei are looked for; None for the mean, and in fluorescence."""
        if self.modality not in STAINED:
            return None
        has_brown_nuclei = self.modality == "hdab" and self.brown < BROWN_EVERYWHERE
        return BROWN_NUCLEI_WEIGHTS if has_brown_nuclei else NUCLEI_WEIGHTS

    @property
    def detected(self) -> str:
        """What nuclei are looked for in, for messages and tables."""
        if self.weights:
            return "density, {:g} red {:+g} green {:+g} blue".format(*self.weights)
        if self.is_stained:
            return "mean density"
        return self.nuclei or "the brightest channel"

    @property
    def measured(self) -> list[str]:
        """Names of the channels in which nuclei are measured."""
        if self.is_stained:
            return list(optical_densities.STAINS) if self.modality in STAINED else ["Density"]
        return list(self.names)


def channels_of(facts: dict) -> Channels:
    """Return what the colours of a slide are, by the content of its ``slide.json``."""
    modality = facts.get("modality") or ("fluorescence" if facts["fluorescence"] else "he")
    names = tuple(facts.get("channels") or ("Red", "Green", "Blue"))
    glass = tuple(facts["glass"]) if facts.get("glass") else None
    return Channels(modality, names, facts.get("nuclei_channel"), glass, facts.get("brown") or 0.0)


def nuclei_image(image: np.ndarray, channels: Channels) -> np.ndarray:
    """Return the image in which the nuclei of a slide are bright.

    Where nuclei have haematoxylin, that is the density of red with shares of those of green and blue: less noisy than
    unmixed haematoxylin. The mean density of all colours, which finds a quarter too many in H&E (fibres, red cells), is
    for all else.

    Parameters
    ----------
    image : (h, w, channels) array
        Of the slide: uint8 colours in brightfield.
    channels : Channels

    Returns
    -------
    (h, w) array of uint8 or uint16
        In brightfield optical density, in steps of 1 / `STEPS_PER_DENSITY`; in fluorescence the DNA stain's channel, or
        the largest of all: scanners save a DNA stain alone in blue.
    """
    if not channels.is_stained:
        if channels.nuclei is not None:
            return np.ascontiguousarray(image[..., channels.names.index(channels.nuclei)])
        return image.max(axis=-1)
    steps = np.empty(image.shape[:2], np.uint16)
    for row in range(0, len(image), STRIP_ROWS):  # densities as a whole take several images' memory
        density = _density(image[row : row + STRIP_ROWS], channels)
        np.rint(density * np.float32(STEPS_PER_DENSITY), out=steps[row : row + STRIP_ROWS], casting="unsafe")
    return steps


def _density(image, channels):
    if channels.weights:
        return optical_densities.weighted_density(image, channels.weights, channels.glass)
    return optical_densities.mean_density(image, channels.glass)


def peaks_image(image: np.ndarray, channels: Channels) -> np.ndarray:
    """Return the image in which peaks are looked for: in brightfield haematoxylin, else `nuclei_image`."""
    return optical_densities.haematoxylin(image) if channels.is_stained else nuclei_image(image, channels)


def blurred(image: np.ndarray) -> np.ndarray:
    """Return an image of densities, (h, w) uint16, blurred so that chromatin and the scanner's noise are no blobs."""
    image = np.minimum(image, pixels.BRIGHTEST)
    for _ in range(TEXTURE_BLURS):
        image = np.rint(pixels.blurred(image, pixels.WIDE) * np.float32(1 / pixels.KERNEL_SUM)).astype(np.uint16)
    return image


def measured_images(image: np.ndarray, channels: Channels) -> dict[str, np.ndarray]:
    """Return the channels in which the nuclei of a slide are measured.

    Parameters
    ----------
    image, channels
        As for `nuclei_image`.

    Returns
    -------
    dict of str to (h, w) array
        In brightfield optical densities, base 10, as float32: of the stains, or mean ones. In fluorescence the planes.
    """
    if channels.modality in STAINED:
        return optical_densities.stain_densities(image, channels.glass)
    if channels.is_stained:
        return {"Density": optical_densities.mean_density(image, channels.glass)}
    return {name: np.ascontiguousarray(image[..., index]) for index, name in enumerate(channels.names)}


def positive_threshold(channels: Channels, threshold: float) -> dict[str, float]:
    """Return the channel in which nuclei may be positive, with its threshold; empty where there is none."""
    return {"DAB": threshold} if channels.modality == "hdab" else {}


def shown(image: np.ndarray, channels: Channels) -> np.ndarray:
    """Return what a picture shows of a slide's pixels: its colours, or in fluorescence the nuclei's channel."""
    return image if channels.is_stained else nuclei_image(image, channels)


def mean_mpp(mpp: Sequence[float] | None) -> float | None:
    """Return the mean of the height and the width of a pixel in micrometres; None where they are not known."""
    return float(sum(mpp)) / 2 if mpp else None
