"""Nuclei are outlined, by the detector or by the user's function, and measured within their outlines."""

import numpy as np
import tifffile
from skimage.measure import regionprops
from skimage.segmentation import expand_labels

from fieldwork import label_images, segmentation, synthetic
from fieldwork.detection import outlines

AUTO = {"method": "auto", "diameter": None, "contrast": None}

IN_PLACE = """
def segment(image):
    image -= image.min()
    image[image > 0] = 1
    return image.astype(int)
"""


def test_a_function_may_work_in_place_and_the_image_stays_as_it_was(tmp_path):
    (tmp_path / "working_in_place.py").write_text(IN_PLACE)
    image = np.full((20, 30), 500, np.uint16)
    image[5:9, 5:10] = 900
    before = image.copy()
    detection = {"method": "working_in_place.segment", "function": "working_in_place.segment", "arguments": {}}
    tifffile.imwrite(tmp_path / "1.tif", image)
    outlined = outlines.outline_nuclei(
        image, detection, path=tmp_path / "1.tif", calibration=None, calibrated="plate", folders=[str(tmp_path)]
    )
    assert outlined.areas.tolist() == [20]
    np.testing.assert_array_equal(image, before)


def test_nuclei_are_measured_where_they_are_outlined():
    image, _ = synthetic.plant_field(np.random.default_rng(5), shape=(200, 240), count=12)
    calibration = segmentation.calibrate([image])
    options = {"path": "a.tif", "calibration": calibration, "calibrated": "plate", "drop_border": True}
    options |= {"well": "B02", "site": 1, "channel": "w1"}
    outlined = outlines.outline_nuclei(image, AUTO, with_labels=True, **options)
    again, measured = outlines.outline_and_measure(image, AUTO, {"Half": image // 2}, with_labels=True, **options)
    assert again.labels == outlined.labels and len(outlined.areas) > 5
    labels = label_images.decode(outlined.labels, image.shape)
    regions = regionprops(labels, image // 2)
    means = [region.intensity_mean / 65535 for region in regions]
    np.testing.assert_allclose(measured["Nuclei_Intensity_MeanIntensity_Half"], means, rtol=1e-12)
    np.testing.assert_array_equal(measured["Nuclei_AreaShape_Area"], outlined.areas)
    np.testing.assert_array_equal(measured["Nuclei_AreaShape_Center_Y"], outlined.coordinates[:, 0])
    np.testing.assert_array_equal(measured["Nuclei_AreaShape_Center_X"], outlined.coordinates[:, 1])


def test_a_nucleus_that_the_border_cuts_is_in_no_cell_of_its_neighbours_where_it_is_left_out(tmp_path):
    nuclei = np.zeros((40, 60), np.int32)
    nuclei[0:6, 4:12], nuclei[9:15, 4:12], nuclei[25:31, 40:48] = 1, 2, 3
    image = (nuclei > 0).astype(np.uint8)
    own = {"method": "skimage.measure.label", "function": "skimage.measure.label", "arguments": {}}
    tifffile.imwrite(tmp_path / "a.tif", image)
    options = {"path": tmp_path / "a.tif", "calibration": None, "calibrated": "plate", "cells": {"expand": 8}}
    options |= {"with_labels": True, "drop_border": True}
    outlined, measured = outlines.outline_and_measure(image, own, {"DNA": image}, **options)
    expanded = expand_labels(nuclei, 8)
    expected = np.select([expanded == 2, expanded == 3], [1, 2], 0)
    np.testing.assert_array_equal(label_images.decode(outlined.cells, image.shape), expected)
    assert measured["Cells_AreaShape_Area"].tolist() == np.bincount(expected.ravel())[1:].tolist()
    assert measured["Cytoplasm_Intensity_MaxIntensity_DNA"].tolist() == [0, 0]
