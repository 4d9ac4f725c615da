"""Pen marks and folds against planted ones."""

import cv2
import numpy as np
import pytest
from skimage import data

from fieldwork.tissue import glass, marks, masks

UM = 8
GLASS = (240, 240, 241)
INKS = {"blue": (30, 60, 170), "green": (20, 120, 70), "teal": (10, 120, 130), "cyan": (20, 140, 200)}
INKS |= {"black": (40, 40, 45), "blacker": (15, 15, 15)}
TISSUES = {
    "H&E": ((226, 160, 190), (110, 70, 140)),
    "haematoxylin and DAB": ((222, 226, 232), (110, 70, 40)),
    "haematoxylin": ((200, 205, 225), (100, 110, 170)),
}


def slide(*, stain="H&E", ink=None, width=8, fold=False, seed=0):
    """Paint a disc of tissue on glass and a line of ink through both; return the image, the disc and the line."""
    rng = np.random.default_rng(seed)
    rows, columns = np.indices((200, 240))
    disc = np.hypot(rows - 100, columns - 120) < 70
    image = np.full((200, 240, 3), GLASS, np.float32)
    stroma, nuclei = TISSUES[stain]
    image[disc] = stroma
    image[disc & (rng.random(disc.shape) < 0.2)] = nuclei
    line = np.zeros(disc.shape, np.uint8)
    cv2.line(line, (20, 30), (180, 150), 1, width)
    line = line > 0
    if fold:
        image[line & disc] = image[line & disc] ** 3 / 241**2  # three layers
    elif ink:
        image[line] = image[line] / 255 * INKS[ink]
    image = cv2.GaussianBlur(image + rng.normal(0, 0.5, image.shape), (0, 0), 0.6)
    return image.clip(0, 255).astype(np.float32), disc, line


def found_in(image):
    return masks.find_tissue(image, np.ones(image.shape[:2], bool), um=UM, fluorescence=False)


@pytest.mark.parametrize("width", [3, 8, 20])
@pytest.mark.parametrize("stain", TISSUES)
@pytest.mark.parametrize("ink", INKS)
def test_pen_marks_are_named_and_are_no_tissue(ink, stain, width):
    image, disc, line = slide(stain=stain, ink=ink, width=width)
    found = found_in(image)
    outlines = 2 * 200 * np.count_nonzero(line) / np.count_nonzero(line)
    assert np.count_nonzero(found.marks & ~line) <= 2 * outlines
    assert np.count_nonzero(line & ~disc & found.mask) <= 0.1 * np.count_nonzero(line)
    assert np.count_nonzero(line & ~found.marks) <= 0.25 * np.count_nonzero(line)
    rest = disc & ~cv2.dilate(line.astype(np.uint8), np.ones((7, 7))).astype(bool)
    assert found.mask[rest].mean() > 0.94


@pytest.mark.parametrize("stain", TISSUES)
def test_tissue_is_no_pen_mark(stain):
    assert not found_in(slide(stain=stain)[0]).marks.any()


def test_known_pictures_have_no_pen_marks():
    image = data.immunohistochemistry()
    everywhere = np.ones(image.shape[:2], bool)
    for side in (1, 4, 16):
        small = cv2.resize(image, (512 // side, 512 // side), interpolation=cv2.INTER_AREA).astype(np.float32)
        assert not marks.pen_marks(small, everywhere[::side, ::side], masks.WHITE, um=0.5 * side).any()


def test_a_slide_that_is_green_all_over_is_stained_green():
    image, disc, _ = slide()
    image[disc] = 60, 160, 110
    found = found_in(image)
    assert not found.marks.any() and found.mask[disc].mean() > 0.98


def test_folds_are_named_and_remain_tissue():
    image, disc, line = slide(fold=True, width=14)
    found = found_in(image)
    folds = marks.folds(image, found.mask, glass.Glass(GLASS, 0), um=UM)
    planted = line & disc
    assert folds[planted].mean() > 0.7 and np.count_nonzero(folds & ~planted) < 0.1 * np.count_nonzero(planted)
    assert found.mask[planted].all() and not found.marks.any()
    assert not marks.folds(slide()[0], disc, glass.Glass(GLASS, 0), um=UM).any()
