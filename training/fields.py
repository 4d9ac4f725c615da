"""Read annotated fields, and calibrate them as the workflow would."""

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from fieldwork.segmentation import calibrate, sampling
from fieldwork.slides import calibration as slide_calibration
from fieldwork.slides import channels, ground, overview
from fieldwork.tissue.samples import sample_of


class Field(NamedTuple):
    """An annotated field."""

    name: str
    is_stained: bool
    image: np.ndarray  # (rows, columns) uint8 or uint16: bright nuclei on a dark ground
    labels: np.ndarray  # (rows, columns) int32: nuclei 1..n; 0 is ground
    diameter: float  # of a typical nucleus in px, by calibration
    contrast: float  # in the image's unit
    picture: np.ndarray  # as it was read


def fields_in(folder: Path) -> Iterator[Field]:
    """Yield the fields of a folder, by name, that can be calibrated.

    Parameters
    ----------
    folder : Path
        Has ``images/*.png`` (grey, or in colour: stained tissue on a bright ground) and ``labels/*.png`` (uint16).
    """
    for path in sorted((folder / "images").glob("*.png")):
        image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        labels = cv2.imread(str(folder / "labels" / path.name), cv2.IMREAD_UNCHANGED)
        if image is None or labels is None:
            raise SystemExit(f"{path} and its labels: no images that OpenCV reads")
        is_stained = image.ndim == 3
        picture = cv2.cvtColor(image[..., :3], cv2.COLOR_BGR2RGB) if is_stained else image
        values, typical = stained(picture) if is_stained else (image, calibrate([image]))
        if typical is not None and typical.diameter is not None:
            labels = labels.astype(np.int32)
            yield Field(path.stem, is_stained, values, labels, typical.diameter, typical.contrast, picture)


def stained(image: np.ndarray):
    """Return the image of densities in which nuclei are bright, (rows, columns) uint16, and its calibration or None."""
    shape = image.shape[:2]
    picture = overview.Overview(shape, factor=overview.factor_of(None))
    picture.add(0, 0, *shape, overview.packed_sums(image, 0, 0, factor=picture.factor))
    facts = {"mpp": None, "failed_tiles": [], "fluorescence": False, "fluorescence_stated": False}
    facts |= {"nuclei_channel": None}
    read = functools.partial(_part, image)
    mask, decided = ground.describe(picture, facts, None, read)
    slide = channels.channels_of(facts | decided)
    tiles = sample_of(shape, mask, decided["tissue_factor"])
    readings = (slide_calibration.measure_tile(tile, read(*tile), channels=slide, mpp=None) for tile in tiles)
    sampled = sampling.take(readings, usual_form=slide_calibration.usual_form)
    return channels.nuclei_image(image, slide), slide_calibration.calibrate(sampled, None)


def _part(image, row, column, height, width):
    return image[row : row + height, column : column + width]
