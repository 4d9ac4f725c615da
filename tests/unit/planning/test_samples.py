"""The sample of a plate: spread over its wells in every part, and without a period."""

from collections import Counter

import pytest

from fieldwork.inputs.layouts import Image
from fieldwork.planning.samples import MOST_SAMPLE_IMAGES, sample_of


def images_of(rows, columns, sites, z=(None,)):
    wells = [f"{row}{column:02}" for row in rows for column in columns]
    return [
        Image(f"{well}_{site}_{plane}.tif", well, site, "w1", None, plane)
        for well in wells
        for site in range(1, sites + 1)
        for plane in z
    ]


@pytest.mark.parametrize(
    ("rows", "columns", "sites", "expected"),
    [("B", 1, 1, 1), ("BCD", 4, 2, 24), ("BCDEFG", 10, 4, 96), ("ABCDEFGH", 12, 1, 96), ("AB", 2, 100, 96)],
)
def test_every_well_has_as_many_images_in_the_sample_as_every_other(rows, columns, sites, expected):
    images = images_of(rows, range(1, columns + 1), sites)
    sample = sample_of(images)
    counts = Counter(image.well for image in sample)
    assert len(sample) == len(set(sample)) == expected <= MOST_SAMPLE_IMAGES
    assert set(sample) <= set(images) and len(counts) == len(rows) * columns
    assert max(counts.values()) - min(counts.values()) <= 1


def test_a_plate_without_images_has_an_empty_sample():
    assert sample_of([]) == []


@pytest.mark.parametrize("first", [24, 48, 96])
def test_every_first_part_of_the_sample_is_spread_over_rows_columns_and_quadrants(first):
    sample = sample_of(images_of("ABCDEFGHIJKLMNOP", range(1, 25), 1))[:first]
    rows = [ord(image.well[0]) - ord("A") for image in sample]
    columns = [int(image.well[1:]) - 1 for image in sample]
    for halves in (
        [row // 8 for row in rows],
        [column // 12 for column in columns],
        [row % 2 for row in rows],
        [column % 2 for column in columns],
    ):
        assert 0.3 < sum(halves) / first < 0.7
    quadrants = Counter((row % 2, column % 2) for row, column in zip(rows, columns, strict=True))
    assert len(quadrants) == 4 and min(quadrants.values()) >= first / 10


def test_all_sites_and_planes_have_their_turn():
    sample = sample_of(images_of("BCDEFG", range(2, 12), 4, z=(1, 2, 3)))
    assert len(Counter(image.z for image in sample)) == 3 and len(Counter(image.site for image in sample)) == 4
    assert max(Counter(image.z for image in sample).values()) < 48
