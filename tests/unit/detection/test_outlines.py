"""Functions of the user's outline nuclei."""

import numpy as np

from fieldwork.detection import outlines

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
    outlined = outlines.outline_nuclei(
        image, detection, path="1.tif", calibration=None, calibrated="plate", folders=[str(tmp_path)]
    )
    assert outlined.areas.tolist() == [20]
    np.testing.assert_array_equal(image, before)
