"""Cells around nuclei: expanded as scikit-image does, and measured as objects of their own."""

import re
import sys

import numpy as np
import pytest
from skimage.segmentation import expand_labels

from fieldwork import objects
from fieldwork.detection import cells
from outlined import squares

SIDE = 120
CENTRES = [(30, 30), (30, 62), (80, 40), (85, 95)]  # the first two cells touch


@pytest.mark.parametrize("distance", [0.5, 1, 1.5, 3, 7.3, 12, 22, 22.9, 40])
def test_nuclei_are_expanded_as_by_scikit_image_also_where_pixels_are_equally_near(distance):
    random = np.random.default_rng(7)
    grown = 0
    for _ in range(40):
        shape, share = random.integers(1, 70, 2), random.choice([0, 0.003, 0.03, 0.5, 1])
        labels = np.where(random.random(shape) < share, random.integers(1, 50, shape), 0).astype(np.int32)
        before = labels.copy()
        expanded = cells.expand_nuclei(labels, distance)
        np.testing.assert_array_equal(expanded, expand_labels(labels, distance))
        np.testing.assert_array_equal(labels, before)
        assert expanded.dtype == np.int32
        grown += (expanded != labels).sum()
    assert (grown > 1000) == (distance >= 1)


def test_a_large_field_in_strips_is_expanded_likewise():
    labels = np.zeros((700, 1100), np.int32)
    labels[::37, ::41] = np.arange(1, labels[::37, ::41].size + 1).reshape(labels[::37, ::41].shape)
    np.testing.assert_array_equal(cells.expand_nuclei(labels, 20), expand_labels(labels, 20))


def test_cells_and_cytoplasm_are_measured_as_the_objects_that_they_are():
    nuclei = squares(12).astype(np.int32)
    image = np.random.default_rng(1).integers(0, 60000, nuclei.shape).astype(np.uint16)
    expanded = expand_labels(nuclei, 2)
    measured = cells.measure_cells(nuclei, expanded, {"Actin": image})
    assert list(measured) == [
        name for prefix in ("Cells", "Cytoplasm") for name in objects.columns_of(["Actin"], prefix=prefix)
    ]
    for number in range(12):
        cell, cytoplasm = expanded == number + 1, (expanded == number + 1) & (nuclei == 0)
        assert measured["Cells_AreaShape_Area"][number] == cell.sum() == cytoplasm.sum() + 25
        assert measured["Cytoplasm_AreaShape_Area"][number] == cytoplasm.sum()
        for prefix, mask in {"Cells": cell, "Cytoplasm": cytoplasm}.items():
            mean = measured[f"{prefix}_Intensity_MeanIntensity_Actin"][number]
            assert mean == pytest.approx(image[mask].mean() / 65535, rel=1e-12)


def test_a_cell_without_cytoplasm_has_none_to_measure_and_others_keep_their_rows():
    nuclei = squares(3).astype(np.int32)
    expanded = expand_labels(nuclei, 1)
    expanded[expanded == 2] = 0
    expanded[nuclei == 2] = 2
    measured = cells.measure_cells(nuclei, expanded, {})
    np.testing.assert_array_equal(measured["Cells_AreaShape_Area"], [45, 25, 45])  # no corner is nearer than 1.4 px
    np.testing.assert_array_equal(measured["Cytoplasm_AreaShape_Area"], [20, np.nan, 20])
    assert all(len(values) == 3 for values in measured.values())
    empty = cells.measure_cells(np.zeros((5, 6), np.int32), np.zeros((5, 6), np.int32), {})
    assert len(empty) == 2 * len(objects.columns_of([])) and all(len(values) == 0 for values in empty.values())


def planted_cells(kind=np.uint16, *, noise=20, seed=3):
    """Return labels of nuclei, an image of cells in another stain, and labels of these."""
    rows, columns = np.mgrid[:SIDE, :SIDE]
    away = np.array([np.hypot(rows - y, columns - x) for y, x in CENTRES])
    nearest = away.argmin(axis=0) + 1
    nuclei, truth = (np.where(away.min(axis=0) <= radius, nearest, 0).astype(np.int32) for radius in (6, 16))
    signal = 500 + 3000 * (away.min(axis=0) <= 16) * (1 - away.min(axis=0) / 40)
    image = np.random.default_rng(seed).normal(signal, noise)
    return (
        nuclei,
        (image / 65535 if kind == np.float32 else image / (16 if kind == np.uint8 else 1)).astype(kind),
        truth,
    )


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.int32, np.float32, np.float64])
def test_cells_are_what_is_bright_around_their_nucleus_and_touching_ones_are_parted(kind):
    nuclei, image, truth = planted_cells(kind)
    found = cells.flood_cells(nuclei, image)
    assert found.dtype == np.int32 and (found[nuclei > 0] == nuclei[nuclei > 0]).all()
    for number in range(1, 5):
        both = ((found == number) & (truth == number)).sum()
        assert both / ((found == number) | (truth == number)).sum() > 0.9, number


def test_what_is_bright_and_has_no_nucleus_is_no_cell_and_numbers_may_have_gaps():
    nuclei, image, truth = planted_cells()
    nuclei[nuclei == 3], nuclei[nuclei == 4] = 0, 9
    found = cells.flood_cells(nuclei, image)
    assert set(np.unique(found)) == {0, 1, 2, 9} and not found[truth == 3].any()


@pytest.mark.parametrize("image", ["noise", "constant", "black"])
def test_without_cells_in_the_image_a_cell_is_its_nucleus(image):
    nuclei, _, _ = planted_cells()
    images = {"constant": np.full(nuclei.shape, 7, np.uint16), "black": np.zeros(nuclei.shape, np.float32)}
    images["noise"] = np.random.default_rng(0).poisson(120, nuclei.shape).astype(np.uint16)
    np.testing.assert_array_equal(cells.flood_cells(nuclei, images[image]), nuclei)


def test_the_settings_choose_how_cells_are_found_and_a_missing_channel_leaves_none():
    nuclei, image, _ = planted_cells()
    flooded = cells.cells_of(nuclei, {"watershed": "Actin"}, {"Actin": image})
    np.testing.assert_array_equal(flooded, cells.flood_cells(nuclei, image))
    np.testing.assert_array_equal(cells.cells_of(nuclei, {"expand": 4.0}, {}), expand_labels(nuclei, 4))
    assert cells.cells_of(nuclei, {"watershed": "Actin"}, {"DNA": image}) is None


OWN = """
import numpy as np
from skimage.segmentation import expand_labels

def good(nuclei, channels):
    cells = expand_labels(nuclei, 3) * (channels["Actin"] > 0)
    nuclei[:] = 0  # in place, which must not matter
    return cells

def ring(nuclei, channels):
    return (expand_labels(nuclei, 3) * (nuclei == 0)).astype(np.uint8)

def other_numbers(nuclei, channels):
    return np.where(nuclei > 0, 4 - nuclei, 0)

def too_many(nuclei, channels):
    return expand_labels(nuclei, 3) + 1

def fails(nuclei, channels):
    return channels["Tubulin"]

def mask(nuclei, channels):
    return nuclei > 0
"""


@pytest.fixture
def own_module(tmp_path):
    """A folder with a module of the user's that no other test has imported."""
    (tmp_path / "own_cells_page.py").write_text(OWN)
    yield tmp_path
    sys.modules.pop("own_cells_page", None)


def test_cells_by_a_function_of_the_users_have_their_nuclei_in_them(own_module):
    nuclei, images = squares(3).astype(np.int32), {"Actin": np.ones((60, 80), np.uint8)}
    for name in ("good", "ring"):
        found = cells.cells_of(nuclei, {"function": f"own_cells_page.{name}"}, images, folders=[str(own_module)])
        np.testing.assert_array_equal(found, expand_labels(squares(3).astype(np.int32), 3))
        assert found.dtype == np.int32


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("other_numbers", "ValueError: gave cell 3 where nucleus 1 is; expected that a cell has its nucleus's number"),
        ("too_many", "ValueError: gave a cell 4, but there is no such nucleus; expected cells with nuclei's numbers"),
        ("fails", "KeyError: 'Tubulin'"),
        ("mask", "ValueError: gave a mask (bool), in which touching nuclei are one"),
    ],
)
def test_what_is_no_cells_of_these_nuclei_is_refused(own_module, name, reason):
    with pytest.raises(ValueError, match=re.escape(f"own_cells_page.{name} failed: {reason}")):
        cells.cells_of(
            squares(3).astype(np.int32), {"function": f"own_cells_page.{name}"}, {}, folders=[str(own_module)]
        )
