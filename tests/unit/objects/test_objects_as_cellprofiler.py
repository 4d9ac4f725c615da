"""CellProfiler's own example: the nuclei that come out as its own have the values of its table."""

import csv
from importlib.util import find_spec

import numpy as np
import pytest
import tifffile
from scipy import ndimage
from skimage import filters, measure, morphology, segmentation

from fieldwork.objects import columns_of, groups, measure_arrays
from workspace import DATA

EXAMPLE = DATA / "cellprofiler" / "ExampleHuman"
CHANNELS = {"DNA": "AS_09125_050116030001_D03f00d0.tif", "PH3": "AS_09125_050116030001_D03f00d1.tif"}
# The table is of CellProfiler 4.0 or 4.1: Orientation is in radians, ConvexArea is absent, and Solidity is of a
# scikit-image that leaves out pixels on the hull's outline. Of equally bright pixels, it has any one.
DIFFERENT = ("Orientation", "ConvexArea", "Solidity", "Location_MaxIntensity")
COLUMNS = [name for name in columns_of(list(CHANNELS), prefix="") if not any(part in name for part in DIFFERENT)]
pytestmark = pytest.mark.skipif(not EXAMPLE.is_dir(), reason="CellProfiler's example is not here")


def smoothed(image, sigma):
    """Blur, and divide by the blurred field, as CellProfiler does at the border."""
    return ndimage.gaussian_filter(image, sigma, mode="constant") / ndimage.gaussian_filter(
        np.ones_like(image), sigma, mode="constant"
    )


def nuclei_of(image):
    """Find nuclei with the example's recipe."""
    mask = ndimage.binary_fill_holes(smoothed(image, 1) >= filters.threshold_li(image))
    blurred = smoothed(image, 1.5)
    peaks = mask & (ndimage.grey_dilation(blurred, footprint=morphology.disk(4), mode="constant") == blurred)
    seeds, _ = ndimage.label(peaks, np.ones((3, 3)))
    basins = segmentation.watershed(1 - image, seeds, mask=mask, connectivity=np.ones((3, 3)))
    basins = segmentation.clear_border(basins)
    nuclei = np.zeros_like(basins)
    for item in measure.regionprops(basins):
        if 8 <= item.equivalent_diameter_area <= 80:
            nuclei[item.slice][item.image_filled] = item.label
    return nuclei


@pytest.fixture(scope="module")
def pairs():
    """Pair measured rows with those of CellProfiler's table whose nucleus has the same pixels."""
    images = {channel: tifffile.imread(EXAMPLE / name) for channel, name in CHANNELS.items()}
    labels = nuclei_of(images["DNA"] / 255)
    measured = measure_arrays(labels, images)
    if find_spec("cp_measure"):
        measured |= groups.measure_groups(labels, images, ["zernike"])
    with open(EXAMPLE / "Nuclei.csv", newline="") as stream:
        table = list(csv.DictReader(stream))

    def key_of(row, prefix=""):
        whole = [row[f"{prefix}AreaShape_{name}"] for name in ("Area", "BoundingBoxMinimum_X", "BoundingBoxMinimum_Y")]
        centre = [row[f"{prefix}AreaShape_Center_{axis}"] for axis in "XY"]
        return *(int(value) for value in whole), *(round(float(value), 6) for value in centre)

    known = {key_of(row): row for row in table}
    rows = [
        {name: values[number] for name, values in measured.items()} for number in range(len(measured["ObjectNumber"]))
    ]
    return [(row, known[key]) for row in rows if (key := key_of(row, "Nuclei_")) in known]


def test_most_nuclei_come_out_as_those_of_cellprofiler(pairs):
    assert len(pairs) >= 225  # of 289


@pytest.mark.parametrize("column", [name.removeprefix("_") for name in COLUMNS])
def test_nuclei_have_the_values_of_cellprofilers_table(pairs, column):
    measured = [row[f"Nuclei_{column}"] for row, _ in pairs]
    np.testing.assert_allclose(measured, [float(row[column]) for _, row in pairs], rtol=1e-5, atol=1e-9)


@pytest.mark.skipif(not find_spec("cp_measure"), reason="cp-measure is not installed: its parts have no wheels here")
@pytest.mark.parametrize("column", groups.columns_of(["zernike"], []))
def test_nuclei_have_the_zernike_moments_of_cellprofilers_table(pairs, column):
    measured = [row[column] for row, _ in pairs]
    expected = [float(row[column.removeprefix("Nuclei_")]) for _, row in pairs]
    # Whether a pixel on the rim of the smallest circle around a nucleus is in it hangs on the last digit: in one, 2 are
    # out here and 3 in the table.
    is_same = np.isclose(measured, expected, rtol=1e-5, atol=1e-9)
    assert len(is_same) >= 225 and np.count_nonzero(~is_same) <= 1


def test_an_orientation_is_that_of_the_table_in_degrees(pairs):
    measured = np.array([row["Nuclei_AreaShape_Orientation"] for row, _ in pairs])
    expected = np.degrees([float(row["AreaShape_Orientation"]) for _, row in pairs])
    diagonal = measured == 45  # the table's scikit-image has -45 here
    np.testing.assert_allclose(measured[~diagonal], expected[~diagonal], rtol=1e-9, atol=1e-9)


def test_a_brightest_pixel_is_as_bright_as_that_of_the_table(pairs):
    image = tifffile.imread(EXAMPLE / CHANNELS["DNA"])
    for row, known in pairs:
        y, x = (int(row[f"Nuclei_Location_MaxIntensity_{axis}_DNA"]) for axis in "YX")
        known_y, known_x = (int(float(known[f"Location_MaxIntensity_{axis}_DNA"])) for axis in "YX")
        assert image[y, x] == image[known_y, known_x]
