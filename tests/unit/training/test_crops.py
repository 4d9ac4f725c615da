"""What the network is trained on: crops, and the answers that are right for them."""

import numpy as np
import pytest

from fieldwork.segmentation.objects import Scale
from training import augmentation, synthetic
from training.fields import Field
from training.scores import scores_of

SQUARES = np.zeros((40, 60), np.int32)
SQUARES[10:30, 10:30], SQUARES[10:30, 30:50] = 1, 2


def test_depth_is_one_in_the_middle_of_a_nucleus_and_falls_to_its_own_edge():
    nucleus, depth, seams = augmentation.targets(SQUARES, Scale(20, 1, 1))
    np.testing.assert_array_equal(nucleus, SQUARES > 0)
    for columns in (slice(10, 30), slice(30, 50)):
        assert depth[10:30, columns].max() == 1
        middle = depth[20, columns]
        assert middle[:4] == pytest.approx(np.arange(1, 5) / 10, abs=0.06)  # from the edge, or the seam, in radii
        assert middle[-4:][::-1] == pytest.approx(np.arange(1, 5) / 10, abs=0.06)
    assert not depth[SQUARES == 0].any()
    rows, columns = np.nonzero(seams)
    assert {columns.min(), columns.max()} <= {28, 29, 30, 31}
    assert (rows.min(), rows.max()) == (10, 29)


def test_answers_of_a_shrunk_copy_are_shares_of_its_pixels():
    nucleus, depth, _ = augmentation.targets(SQUARES[:, :57], Scale(10, 2, 1))
    assert nucleus.shape == depth.shape == (20, 29)
    assert nucleus[:, :28].sum() * 4 == np.count_nonzero(SQUARES[:, :56])
    enlarged, *_ = augmentation.targets(SQUARES, Scale(40, 1, 2))
    np.testing.assert_array_equal(enlarged[::2, ::2], SQUARES > 0)


def test_crops_have_one_size_whatever_the_field():
    rng = np.random.default_rng(2)
    for number in range(12):
        field = synthetic.field(rng)
        if number % 3 == 0:  # a field smaller than a crop
            field = field._replace(image=field.image[:50, :70], labels=field.labels[:50, :70])
        levels, nucleus, depth, seams = augmentation.crop_of(field, rng)
        assert {part.shape for part in (levels, nucleus, depth, seams)} == {(augmentation.SIDE_PX,) * 2}
        assert levels.dtype == np.uint8 and not levels[nucleus < 0].any()
        assert depth.min() >= 0 and depth.max() <= 1 and set(nucleus[nucleus < 0].tolist()) <= {-1}
        assert not depth[nucleus <= 0].any()


def test_a_crop_shows_its_nuclei_where_the_answers_say():
    rng = np.random.default_rng(5)
    image = np.where(SQUARES > 0, 1.0, 0.0).astype(np.float32).repeat(6, 0).repeat(6, 1)
    field = Field("", image, SQUARES.repeat(6, 0).repeat(6, 1), 120.0, 1.0)
    levels, nucleus, *_ = augmentation.crop_of(field, rng)
    inside, outside = levels[nucleus == 1].astype(float), levels[nucleus == 0].astype(float)
    assert inside.size and outside.size and np.median(inside) > np.median(outside) + 20


def test_synthetic_nuclei_are_numbered_without_gaps():
    labels = next(
        field.labels for field in map(synthetic.field, map(np.random.default_rng, range(20))) if field.labels.any()
    )
    areas = np.bincount(labels.ravel())[1:]
    assert (areas > 0).all() and labels.max() == len(areas)


def test_scores_of_right_shifted_and_missing_nuclei():
    found = np.zeros_like(SQUARES)
    found[10:30, 10:30] = 7  # right; the second one is found half, and a third is none
    found[10:30, 30:40], found[32:38, 2:8] = 3, 9
    scores = scores_of([(found, SQUARES), (np.zeros_like(SQUARES), SQUARES)])
    assert scores.points == pytest.approx(2 * 2 / (3 + 4)) and scores.nuclei == 4 and scores.fields == 2
    assert scores.outlines == pytest.approx([2 * 1 / 7] * 3)
