"""Sums, and values at certain places in the order of all, that take a short way there."""

import numpy as np
import pytest

from fieldwork.segmentation import pixels


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.float32])
@pytest.mark.parametrize("size", [1, 15, 49, 50, 51, 1000, 40_000])
def test_the_darkest_values_end_where_they_do_in_the_order_of_all(size, dtype):
    values = np.random.default_rng(size).gamma(2, 20, size).astype(dtype)
    values[::16] //= 2  # those that tell where to look are darker than the others
    for ordered in (values, np.sort(values), np.sort(values)[::-1], np.full_like(values, 7)):
        assert pixels.dark_of(ordered, 50) == np.sort(ordered)[size // 50]


@pytest.mark.parametrize("factor", [2, 3, 7])
def test_sums_of_squares_are_those_of_an_image_that_is_filled_up_with_its_last_pixels(factor):
    values = np.random.default_rng(factor).integers(0, 2**16, (1000, 301)).astype(np.uint16)
    padded = np.pad(values, [(0, -side % factor) for side in values.shape], mode="edge").astype(np.int64)
    squares = padded.reshape(padded.shape[0] // factor, factor, -1, factor)
    assert np.array_equal(pixels.box_sums(values, factor), squares.sum(axis=(1, 3)))
