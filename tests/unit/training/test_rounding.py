"""Weights become integers over a power of two, whose sums are exact."""

import numpy as np
import pytest

from training.rounding import as_integers


def test_integers_over_their_powers_of_two_are_the_weights_nearly():
    rng = np.random.default_rng(0)
    given = rng.normal(0, 1, (5, 7, 3, 3)) * np.array([1e-3, 0.1, 1, 10, 60])[:, None, None, None] / 4
    bias = rng.normal(0, 3, 5)
    weights, scales, added = as_integers(given, bias)
    assert weights.dtype == np.int8 and scales.dtype == np.float32 and added.dtype == np.int32
    largest = np.abs(weights.astype(int)).max(axis=(1, 2, 3))
    assert ((largest >= 32) & (largest <= 64)).all()  # no larger power has room
    np.testing.assert_allclose(weights * scales[:, None, None, None], given, rtol=0, atol=scales.max() / 2)
    assert (np.abs(added * scales - bias) <= scales / 2).all()
    assert (np.frexp(scales)[0] == 0.5).all()


def test_an_output_without_weights_or_with_a_large_bias_has_exact_sums():
    given = np.zeros((3, 96, 3, 3))
    given[1], given[2] = 1e-4, 63
    bias = np.array([40.0, -3000.0, 1e6])
    weights, scales, added = as_integers(given, bias)
    sums = np.abs(weights.astype(float)).sum(axis=(1, 2, 3)) * 255 + np.abs(added)
    assert (sums < 2**24).all() and (sums >= 2**22).all()
    np.testing.assert_allclose(added * scales, bias, rtol=1e-5)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_training_that_diverged_is_an_error(value):
    with pytest.raises(ValueError, match="diverged"):
        as_integers(np.full((1, 1, 3, 3), value), np.zeros(1))
    with pytest.raises(ValueError, match="diverged"):
        as_integers(np.ones((1, 1, 3, 3)), np.full(1, value))
