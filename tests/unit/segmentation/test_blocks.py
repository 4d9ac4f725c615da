"""Large fields are segmented block by block, as in one block; test_network_windows.py has the network's."""

import numpy as np
import pytest

from accuracy import agreement, generated
from fieldwork import label_images
from fieldwork.segmentation import blocks, calibrate, detector, segment_field

FIELDS = {  # by what becomes of the image: enlarged by two, as it is, shrunk by two and by four; and a block's side
    "small nuclei": ({"shape": (300, 360), "diameter": 9, "count": 250}, 488),
    "medium nuclei": ({"shape": (520, 610), "diameter": 15, "count": 350}, 410),
    "large nuclei": ({"shape": (801, 903), "diameter": 28, "count": 240, "debris": 40}, 344),
    "very large nuclei": ({"shape": (1203, 1405), "diameter": 55, "count": 140}, 310),
}


@pytest.fixture(scope="module", params=FIELDS)
def field(request):
    """Return an image, its calibration, the side of blocks that are small for it, and what it is in one block."""
    arguments, side = FIELDS[request.param]
    image, _ = generated.planted_field(17, crowding=0.5, **arguments)
    calibration = calibrate([image])
    return image, calibration, side, segment_field(image, calibration, method="classical")


@pytest.fixture
def in_blocks(monkeypatch):
    """Return a function that segments a field in blocks of at most so many pixels, and returns their number too."""

    def segment(image, calibration, side):
        divide, numbers = blocks.blocks_of, []

        def divided(*arguments, **options):
            parts = divide(*arguments, **options)
            numbers.append(len(parts))
            return parts

        monkeypatch.setattr(detector, "MOST_FIELD_PX", side**2)
        monkeypatch.setattr(blocks, "blocks_of", divided)
        return segment_field(image, calibration, method="classical"), *numbers

    return segment


def test_blocks_give_the_nuclei_of_one_block(field, in_blocks):
    image, calibration, side, expected = field
    result, number = in_blocks(image, calibration, side)
    assert number >= 12
    assert result[1:-1] == expected[1:-1]
    assert result.figures == pytest.approx(expected.figures, rel=0.05)
    assert result.labels.max() == pytest.approx(expected.labels.max(), rel=0.005)
    assert agreement.share_of_pairs(result.labels, expected.labels, 0.8) >= 0.99
    assert np.mean((result.labels > 0) == (expected.labels > 0)) > 0.9999


def test_labels_of_blocks_are_in_reading_order(field, in_blocks):
    image, calibration, side, _ = field
    (labels, *_), number = in_blocks(image, calibration, side)
    assert number >= 12 and labels.max() > 100
    assert labels.dtype == np.int32
    np.testing.assert_array_equal(labels, label_images.renumber(labels))


def test_no_nucleus_is_cut_or_doubled_at_a_seam(in_blocks):
    shape, period = (700, 800), 37  # seams run through nuclei at many offsets
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    away = np.hypot((rows % period) - period // 2, (columns % period) - period // 2)
    image = np.rint(100 + 2000 * np.clip(8.5 - away, 0, 1)).astype(np.uint16)
    planted = ((shape[0] + period // 2) // period) * ((shape[1] + period // 2) // period)
    (labels, *_), number = in_blocks(image, calibrate([image]), 420)
    objects = label_images.properties(labels)
    assert number >= 12
    assert len(objects.areas) == planted
    assert np.ptp(objects.areas[~objects.touches_border]) == 0


def test_blocks_cover_a_copy_once_and_start_at_multiples():
    side = 360
    for shape, halo, multiple in [((1000, 777), 50, 6), ((361, 361), 112, 8), ((5000, 90), 30, 3)]:
        covered = np.zeros(shape, int)
        parts = blocks.blocks_of(shape, halo=halo, multiple=multiple, most_px=side**2)
        for block in parts:
            (top, bottom), (left, right) = block.core
            covered[top:bottom, left:right] += 1
            seen = np.zeros(shape, bool)
            seen[tuple(slice(*span) for span in block.outer)] = True
            assert not {span.first % multiple for span in block.core + block.outer} - {0}
            assert np.count_nonzero(seen) <= (side + 4 * multiple) ** 2
            around = slice(max(0, top - halo), bottom + halo), slice(max(0, left - halo), right + halo)
            assert seen[around].all()
        assert len(parts) > 1 and (covered == 1).all()


def test_a_field_that_fits_is_one_block():
    ((core, outer),) = blocks.blocks_of((2048, 4096), halo=100, multiple=4, most_px=2**23)
    assert core == outer == ((0, 2048), (0, 4096))
    assert len(blocks.blocks_of((2048, 4097), halo=100, multiple=4, most_px=2**23)) == 2
