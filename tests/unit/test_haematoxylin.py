"""Haematoxylin against scikit-image's."""

import numpy as np
import pytest
from skimage import data
from skimage.color import rgb2hed

from fieldwork.optical_densities import haematoxylin


@pytest.mark.parametrize(
    "image",
    [np.zeros((5, 5), np.uint8), np.zeros((5, 5, 4), np.uint8), np.zeros((0, 5, 3), np.uint8), np.zeros((5, 5, 3))],
    ids=["grey", "alpha", "empty", "float"],
)
def test_other_pictures_are_refused_by_shape_and_dtype(image):
    with pytest.raises(ValueError, match=r"expected \(h, w, 3\) uint8.*found \(.*\) (uint8|float64)"):
        haematoxylin(image)


def colours():
    """Every 5th value of each channel with every other: 140,608 colours, black and white among them."""
    steps = np.arange(0, 256, 5, dtype=np.uint8)
    return np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(52, -1, 3)


@pytest.mark.parametrize("image", [colours(), data.immunohistochemistry(), data.astronaut()])
def test_haematoxylin_is_scikit_images(image):
    expected = rgb2hed(image)[..., 0]
    found = haematoxylin(image)
    assert found.dtype == np.float32 and found.shape == image.shape[:2] and expected.max() > 0.05
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=2e-7)  # 2e-7: where stains cancel out


def test_haematoxylin_of_a_pixel_does_not_depend_on_its_neighbours_or_the_memory():
    image = data.immunohistochemistry()[:90, :101]
    whole = haematoxylin(image)
    assert len(np.unique(whole)) > 1000
    for top, left, height, width in [(0, 0, 1, 1), (3, 7, 80, 93), (11, 50, 17, 33), (89, 0, 1, 101)]:
        part = image[top : top + height, left : left + width]
        np.testing.assert_array_equal(haematoxylin(part), whole[top : top + height, left : left + width])
    np.testing.assert_array_equal(haematoxylin(image[::-1, ::2]), whole[::-1, ::2])
    assert haematoxylin(np.full((4, 4, 3), 255, np.uint8)).max() == 0
