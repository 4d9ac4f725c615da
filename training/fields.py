"""Read annotated fields, and calibrate them as the workflow would."""

import functools
import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from fieldwork.segmentation import calibrate, sampling
from fieldwork.slides import blocks, channels, ground, overview
from fieldwork.slides import calibration as slide_calibration
from fieldwork.tissue.samples import sample_of
from training.scores import consecutive

SERIAL = {"engine": "serial", "dask": "processes", "workers": 1}
MOST_PARTS = 3  # of a single nucleus; more are a mask, in which nuclei have no numbers
RING_PX = 1.0  # of the nuclei of stained fields, in which nothing is measured


class Slide(NamedTuple):
    """A field of stained tissue, as a slide."""

    picture: np.ndarray  # (rows, columns, 3) uint8
    tissue: np.ndarray  # mask, bool
    detection: blocks.Detection


class Field(NamedTuple):
    """An annotated field."""

    name: str
    image: np.ndarray  # (rows, columns) uint8 or uint16: bright nuclei on a dark ground
    labels: np.ndarray  # (rows, columns) int32: nuclei 1..n; 0 is ground
    diameter: float  # of a typical nucleus in px, by calibration
    contrast: float  # in the image's unit
    slide: Slide | None = None  # of stained tissue, whose density is the image

    @property
    def is_stained(self) -> bool:
        """True for stained tissue."""
        return self.slide is not None


def fields_in(folder: Path) -> Iterator[Field]:
    """Yield the fields of a folder, by name, in which a typical nucleus is seen; print the others' names.

    Parameters
    ----------
    folder : Path
        Has ``images/*.png`` (grey, or 8-bit colours: stained tissue on a bright ground), and ``labels/*.png`` of the
        same names and sizes (one channel; 0 is ground).

    Raises
    ------
    SystemExit
        One line: a file is missing, or is not as it is expected.
    """
    paths, without = sorted((folder / "images").glob("*.png")), []
    if not paths:
        raise SystemExit(f"{folder}: no images/*.png; expected images/*.png, and labels/*.png of the same names")
    for path in paths:
        image, labels = _read(path), _labels(folder / "labels" / path.name)
        if labels.shape != image.shape[:2]:
            sizes = " x ".join(map(str, labels.shape)), " x ".join(map(str, image.shape[:2]))
            raise SystemExit(f"{folder / 'labels' / path.name}: {sizes[0]} px; expected {sizes[1]} px, as {path} has")
        field = _grey_field(path, image, labels) if image.ndim == 2 else _stained_field(path, image, labels)
        if field is None:
            without.append(path.name)
        else:
            yield field
    if without:
        print(
            f"{folder}: no typical nucleus is seen in {len(without)} images, which are left out: {', '.join(without)}"
        )


def digest_of(fields: Iterable[Field]) -> str:
    """Return a digest of what fields are, and of how they were calibrated."""
    digest = hashlib.sha256()
    for field in fields:
        digest.update(repr((field.name, field.image.shape, field.diameter, field.contrast)).encode())
        digest.update(np.ascontiguousarray(field.image).data)
        digest.update(np.ascontiguousarray(field.labels).data)
    return digest.hexdigest()[:12]


def _read(path):
    """Return an image: (rows, columns) grey, or (rows, columns, 3) red, green and blue, uint8."""
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if image is None:
        raise SystemExit(f"{path}: no image that OpenCV reads; expected a PNG file")
    if image.ndim == 2:
        return image
    colours = image[..., 2::-1]
    if (colours == colours[..., :1]).all():  # grey, saved as colours
        return np.ascontiguousarray(colours[..., 0])
    if image.dtype != np.uint8:
        raise SystemExit(f"{path}: colours of {image.dtype.itemsize * 8} bits; expected 8 bits, or grey")
    return np.ascontiguousarray(colours)


def _labels(path):
    """Return labels as (rows, columns) int32, 1..n."""
    if not path.is_file():
        raise SystemExit(f"{path} does not exist; expected the labels of the image of this name")
    labels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if labels is None or labels.ndim != 2:
        reason = "no image that OpenCV reads" if labels is None else "colours"
        raise SystemExit(f"{path}: {reason}; expected a PNG file of one channel: 0 is ground, and nuclei 1, 2 ...")
    labels = consecutive(labels).astype(np.int32)
    parts = cv2.connectedComponents((labels > 0).astype(np.uint8))[0] - 1
    if labels.max() == 1 and parts > MOST_PARTS:
        raise SystemExit(f"{path}: {parts} parts have the same number; expected another one for each nucleus")
    return labels


def _grey_field(path, image, labels):
    """Return a field in grey; None where no typical nucleus is seen."""
    typical = calibrate([image])
    if typical.diameter is None or typical.contrast is None:
        return None
    return Field(path.stem, image, labels, typical.diameter, typical.contrast)


def _stained_field(path, picture, labels):
    """Return a field in colours, whose image is the density in which nuclei are bright; None likewise."""
    shape, read = picture.shape[:2], functools.partial(part_of, picture)
    squares = overview.Overview(shape, factor=overview.factor_of(None))
    squares.add(0, 0, *shape, overview.packed_sums(picture, 0, 0, factor=squares.factor))
    facts = {"mpp": None, "failed_tiles": [], "fluorescence": False, "fluorescence_stated": False}
    tissue, decided = ground.describe(squares, facts | {"nuclei_channel": None}, None, read)
    slide = channels.channels_of(facts | decided)
    if not slide.is_stained:
        raise SystemExit(f"{path}: colours on a dark ground; expected the nuclei's channel in grey, or stained tissue")
    tiles = sample_of(shape, tissue, decided["tissue_factor"])
    readings = (slide_calibration.measure_tile(tile, read(*tile), channels=slide, mpp=None) for tile in tiles)
    sampled = sampling.take(readings, usual_form=slide_calibration.usual_form)
    typical, used = slide_calibration.calibrate(sampled, None), [reading.source for reading in sampled.used]
    levels = slide_calibration.levels_of(used, typical, read=lambda tile: read(*tile), channels=slide, **SERIAL)
    if levels is None:
        return None
    detection = blocks.Detection(shape, slide, typical, levels, RING_PX, {}, decided["tissue_factor"])
    image = channels.nuclei_image(picture, slide)
    return Field(path.stem, image, labels, typical.diameter, typical.contrast, Slide(picture, tissue, detection))


def part_of(picture: np.ndarray, row: int, column: int, height: int, width: int) -> np.ndarray:
    """Return a part of a picture."""
    return picture[row : row + height, column : column + width]
