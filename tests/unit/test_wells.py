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
