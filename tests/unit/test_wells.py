"""Wells are written in one way."""

import pytest

from fieldwork import wells


@pytest.mark.parametrize(
    ("text", "well"),
    [("b2", "B02"), ("B02", "B02"), ("B002", "B02"), ("B 2", "B02"), (" B - 02 ", "B02"), ("A_01", "A01")]
    + [("H12", "H12"), ("aa1", "AA01"), ("P24", "P24"), ("AF48", "AF48"), ("AV72", "AV72"), ("Z10", "Z10")],
)  # fmt: skip
def test_normal_well(text, well):
    assert wells.normal_well(text) == well


@pytest.mark.parametrize(
    "text", ["", "B", "2", "B0", "B00", "B73", "B100", "AW1", "AAA1", "B02x", "well", "2B", "B²", "B٢"]
)
def test_what_is_no_well(text):
    with pytest.raises(ValueError, match="no well"):
        wells.normal_well(text)


def test_wells_have_a_row_and_a_column():
    assert [wells.row_and_column(well) for well in ("A01", "B02", "H12", "P24", "Z01", "AA01", "AF48", "AV72")] == [
        *((0, 0), (1, 1), (7, 11), (15, 23)),
        *((25, 0), (26, 0), (31, 47), (47, 71)),
    ]


@pytest.mark.parametrize(
    ("names", "size"),
    [
        (["A01"], (8, 12)),
        (["B02", "G11"], (8, 12)),
        (["H12"], (8, 12)),
        (["A13"], (16, 24)),
        (["I01"], (16, 24)),
        (["P24"], (16, 24)),
        (["A25"], (32, 48)),
        (["AF48"], (32, 48)),
        (["AG01"], (48, 72)),
        (["AV72"], (48, 72)),
    ],
)
def test_the_format_is_the_smallest_plate_of_at_least_96_wells_that_has_all_wells(names, size):
    assert wells.plate_format(names) == size
