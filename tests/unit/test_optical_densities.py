"""Optical densities against scikit-image's unmixing, and against the definition."""

import numpy as np
import pytest
from skimage.color import rgb2hed

from fieldwork import optical_densities

RGB = np.random.default_rng(5).integers(1, 256, (37, 53, 3)).astype(np.uint8)


def test_stains_are_six_times_those_of_scikit_image():
    found = optical_densities.stain_densities(RGB)
    assert list(found) == ["Hematoxylin", "Eosin", "DAB"]
    for name, expected in zip(found, np.moveaxis(rgb2hed(RGB), -1, 0), strict=True):
        assert found[name].dtype == np.float32
        np.testing.assert_allclose(found[name], 6 * expected, atol=2e-6)


def test_the_mean_density_is_that_of_the_definition():
    np.testing.assert_allclose(
        optical_densities.mean_density(RGB), -np.log10(RGB / 255).mean(axis=-1), rtol=1e-6, atol=1e-7
    )
    glass = 240, 230, 220
    expected = np.maximum(-np.log10(RGB / np.array(glass)), 0).mean(axis=-1)
    np.testing.assert_allclose(optical_densities.mean_density(RGB, glass), expected, rtol=1e-6, atol=1e-7)


def test_stains_do_not_depend_on_the_colour_of_the_glass():
    glass = np.array((225, 220, 170))
    planted = np.random.default_rng(6).random((20, 30, 3)) * (0.4, 0.2, 0.3)
    light = 10 ** -(planted @ np.array(list(optical_densities.STAINS.values())))
    found = optical_densities.stain_densities(np.rint(glass * light).astype(np.uint8), glass)
    np.testing.assert_allclose(np.stack(list(found.values()), axis=-1), planted, atol=0.02)
    brighter = np.stack([np.tile(glass, (2, 2, 1)), np.full((2, 2, 3), 255)]).reshape(4, 2, 3).astype(np.uint8)
    assert all(density.max() == 0 for density in optical_densities.stain_densities(brighter, glass).values())
    assert optical_densities.weighted_density(brighter, (1, 0.3, -0.6), glass).max() == 0


def test_glass_has_no_density_and_black_has_that_of_the_darkest_intensity():
    glass, black = np.full((2, 2, 3), 255, np.uint8), np.zeros((2, 2, 3), np.uint8)
    assert optical_densities.mean_density(glass).max() == 0
    assert all(density.max() == 0 for density in optical_densities.stain_densities(glass).values())
    np.testing.assert_allclose(optical_densities.mean_density(black), np.log10(255), rtol=1e-6)


def test_a_pixels_density_does_not_depend_on_its_neighbours_or_the_memory():
    whole, part = optical_densities.stain_densities(RGB), optical_densities.stain_densities(RGB[5:, ::2])
    for name in whole:
        np.testing.assert_array_equal(part[name], whole[name][5:, ::2])


@pytest.mark.parametrize("image", [RGB[..., 0], RGB.astype(np.uint16), RGB[:0], RGB[..., [0, 1, 2, 2]]])
def test_other_pictures_are_refused(image):
    for function in (optical_densities.mean_density, optical_densities.stain_densities):
        with pytest.raises(ValueError, match=r"expected \(h, w, 3\) uint8, not empty; found"):
            function(image)
