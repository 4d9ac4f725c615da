"""Sums over squares against NumPy's, for any blocks."""

import numpy as np
import pytest

from fieldwork.slides import overview


def added_up(pixels, *, factor, block):
    """Return the overview of an image that is added block by block."""
    picture = overview.Overview(pixels.shape[:2], factor=factor, channels=pixels.shape[2], dtype=pixels.dtype.name)
    for y in range(0, pixels.shape[0], block):
        for x in range(0, pixels.shape[1], block):
            part = pixels[y : y + block, x : x + block]
            picture.add(y, x, *part.shape[:2], overview.packed_sums(part, y, x, factor=factor))
    return picture


@pytest.mark.parametrize(("dtype", "channels"), [(np.uint8, 3), (np.uint16, 3), (np.uint16, 5)])
@pytest.mark.parametrize("factor", [1, 7, 16, 33, 1000])
def test_sums_are_exact_for_every_size_of_blocks(factor, dtype, channels):
    pixels = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (301, 233, channels), dtype)
    expected = np.add.reduceat(pixels.astype(np.uint64), range(0, 301, factor), axis=0)
    expected = np.add.reduceat(expected, range(0, 233, factor), axis=1)
    for block in (64, 100, 512):
        np.testing.assert_array_equal(added_up(pixels, factor=factor, block=block).sums, expected)


def test_means_leave_out_what_could_not_be_decoded():
    pixels = np.full((40, 50, 3), 100, np.uint8)
    pixels[8:20, 16:32] = 0
    means, valid = added_up(pixels, factor=8, block=16).means([[8, 16, 12, 16, "damaged"]])
    assert means.shape == (5, 7, 3) and valid.shape == (5, 7)
    np.testing.assert_array_equal(means[valid], 100)
    assert (~valid).nonzero()[0].tolist() == [1, 1] and (~valid).nonzero()[1].tolist() == [2, 3]
    np.testing.assert_array_equal(means[2, 2:4], 100)  # half decoded


@pytest.mark.parametrize("factor", [1, 7, 16, 500])
def test_the_means_of_what_could_be_decoded_are_numpys_wherever_the_rest_lies(factor):
    rng = np.random.default_rng(3)
    pixels = rng.integers(1, 256, (301, 233, 3), np.uint8)
    failed = [[y, x, *np.minimum(40, [301 - y, 233 - x])] for y in range(0, 301, 40) for x in range(0, 233, 40)]
    failed = [failed[number] for number in rng.permutation(len(failed))[: len(failed) // 2]]
    decoded = np.ones(pixels.shape[:2], bool)
    for y, x, height, width in failed:
        decoded[y : y + height, x : x + width] = pixels[y : y + height, x : x + width] = 0
    means, valid = added_up(pixels, factor=factor, block=64).means(failed)
    sums, counts, full = (
        np.add.reduceat(np.add.reduceat(values, range(0, 301, factor), axis=0), range(0, 233, factor), axis=1)
        for values in (pixels.astype(np.float64), decoded.astype(int), np.ones(decoded.shape, int))
    )
    np.testing.assert_allclose(means, sums / np.maximum(counts, 1)[..., None], rtol=1e-6)
    np.testing.assert_array_equal(valid, 2 * counts >= full)


@pytest.mark.parametrize(
    ("mpp", "factor"), [((0.25, 0.25), 32), ((0.499, 0.499), 16), ((0.25, 1), 16), ((32, 32), 1), (None, 16)]
)
def test_squares_are_of_8_um(mpp, factor):
    assert overview.factor_of(mpp) == overview.factor_of(mpp, (4000, 4000)) == factor


def test_an_overview_has_a_bounded_number_of_squares_whatever_the_pixel_size():
    for mpp in (None, (0.02, 0.02), (0.25, 0.25), (8, 8), (20, 20)):
        for side in (1, 10_000, 60_000, 400_000):
            factor = overview.factor_of(mpp, (side, side // 2 + 1))
            assert -(-side // factor) * (side // 2 // factor + 1) <= 1.01 * overview.MOST_SQUARES
    assert overview.factor_of((0.25, 0.25), (60_000, 60_000)) == 32
