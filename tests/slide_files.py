"""Write slides for tests."""

import cv2
import numpy as np
import pytest
import tifffile

from fieldwork.slides import readers
from workspace import DATA

REAL_SLIDES = DATA / "slides"
real = pytest.mark.skipif(not REAL_SLIDES.is_dir(), reason="the real slides are not here")


def picture(height, width, seed=0):
    """Draw smooth colours with a white border, like tissue on glass: a (height, width, 3) uint8 array."""
    rng = np.random.default_rng(seed)
    image = cv2.GaussianBlur(rng.integers(0, 256, (height, width, 3), dtype=np.uint8), (0, 0), 3)
    image = cv2.normalize(image, None, 30, 220, cv2.NORM_MINMAX)
    image[:20] = image[:, :20] = 255
    return image


def write_slide(path, image, **options):
    """Write an image as a tiled TIFF of 0.5 µm per pixel, and return its path."""
    options = {"compression": "deflate", "tile": (64, 64), "photometric": "rgb", **options}
    tifffile.imwrite(path, image, resolution=(20000, 20000), resolutionunit="CENTIMETER", **options)
    return path


def texture(shape=(300, 420, 3), seed=0):
    """Draw a uint8 image that is smooth enough for JPEG, without two equal rows or columns."""
    noise = np.random.default_rng(seed).integers(0, 30, shape)
    rows, columns = np.indices(shape[:2])
    return (noise + np.stack([rows // 2, columns // 3, (rows + columns) // 4][: shape[2]], axis=2)).astype(np.uint8)


def write_pyramid(path, image, *, levels=1, subifds=False, **options):
    """Write a tiled pyramid, as reduced pages or as SubIFDs, and return its levels."""
    pyramid = [np.ascontiguousarray(image[:: 2**level, :: 2**level]) for level in range(levels)]
    options = {"tile": (64, 64), "photometric": "rgb", "metadata": None} | options
    with tifffile.TiffWriter(path) as tif:
        tif.write(pyramid[0], subifds=levels - 1 if subifds else None, **options)
        for pixels in pyramid[1:]:
            tif.write(pixels, subfiletype=1, **options)
    return pyramid


def read_level_0(path, reader):
    """Read all pixels of a slide's level 0."""
    slide = readers.open_slide(path, reader)
    image = slide.read(0, 0, 0, *slide.shapes[0])
    slide.close()
    return image


def leave_out_tiles(path, numbers, level=0):
    """Leave tiles of a page out, as TIFF allows: their offsets and numbers of bytes are 0."""
    with tifffile.TiffFile(path, mode="r+") as tif:
        for code in (324, 325):
            tag = tif.pages[level].tags[code]
            tag.overwrite([0 if number in numbers else value for number, value in enumerate(tag.value)])


def damage_tile(path, how, number=7, level=0):
    """Damage a tile of a page."""
    with tifffile.TiffFile(path, mode="r+") as tif:
        page = tif.pages[level]
        offset, count = page.dataoffsets[number], page.databytecounts[number]
        tag = page.tags[324 if how == "no offset" else 325]
        if how.startswith("no"):
            tag.overwrite([*tag.value[:number], 0, *tag.value[number + 1 :]])
        if how == "short":
            tag.overwrite([*tag.value[:number], count // 2, *tag.value[number + 1 :]])
    with open(path, "r+b") as file:
        if how == "zeros":
            file.seek(offset)
            file.write(bytes(count))
        if how == "half":
            file.seek(offset + count // 2)
            file.write(bytes(count - count // 2))
        if how == "marker":
            file.seek(offset + count // 2)
            file.write(b"\xff\x3f")
        if how == "cut":
            file.truncate(offset + count // 2)
