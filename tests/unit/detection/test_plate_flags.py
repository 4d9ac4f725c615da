"""The flags of wells, and which wells are left out of every comparison."""

import pytest

from fieldwork.detection import plate_flags
from fieldwork.plates import tables


def row_of(well, site=1, **values):
    """Return the row of a field that nothing is known of but these values."""
    named = {"Metadata_Plate": "P1", "Metadata_Well": well, "Metadata_Site": site, "Metadata_Timepoint": None}
    return dict.fromkeys(plate_flags.JUDGED) | named | values


FLAGGED = {  # good fields with the flag, without it, and without a judgement; and the well's flag
    "half": (1, 1, 0, True),
    "less than half": (1, 2, 0, False),
    "less than half of the good ones, as one was not judged": (1, 1, 1, False),
    "none judged": (0, 0, 2, None),
    "no good field": (0, 0, 0, None),
}


@pytest.mark.parametrize("case", FLAGGED)
def test_a_well_has_a_flag_where_half_of_its_good_fields_have_it(case):
    with_flag, without, unjudged, expected = FLAGGED[case]
    flags = [True] * with_flag + [False] * without + [None] * unjudged
    rows = [{"Flag_Saturated": flag, "Image_Status": "ok", "Image_Count_Nuclei": 5} for flag in flags]
    rows += [{"Flag_Saturated": None, "Image_Status": "failed", "Image_Count_Nuclei": None}] * 3
    rows = [row_of("B02", site, **row) for site, row in enumerate(rows, 1)]
    for exclude, is_excluded in (([], False), (["OutOfFocus"], False), (["OutOfFocus", "Saturated"], bool(expected))):
        (well,), _ = tables.wells_of(rows, {}, excluded=plate_flags.excluded_wells(rows, {}, exclude))
        assert (well["Flag_Saturated"], well["Flag_OutOfFocus"], well["Excluded"]) == (expected, None, is_excluded)


def test_an_excluded_control_stays_in_the_table_and_out_of_every_comparison():
    rows = [
        row_of(f"B{number:02}", Image_Status="ok", Image_Count_Nuclei=count)
        for number, count in enumerate([100, 104, 96, 5, 10, 12], 1)
    ]
    roles = ["negative"] * 4 + ["positive"] * 2
    platemap = {
        row["Metadata_Well"]: {
            "Metadata_control": role,
            "Metadata_Exclude": "X" if row["Image_Count_Nuclei"] == 5 else "",
        }
        for row, role in zip(rows, roles, strict=True)
    }
    wells, _ = tables.wells_of(rows, platemap, excluded=plate_flags.excluded_wells(rows, platemap, []))
    without = [row for row in rows if row["Image_Count_Nuclei"] != 5]
    expected, _ = tables.wells_of(without, platemap)
    assert [row["Excluded"] for row in wells] == [False] * 3 + [True] + [False] * 2
    assert [row["Count_Nuclei"] for row in wells] == [100, 104, 96, 5, 10, 12]
    kept = [row for row in wells if not row["Excluded"]]
    assert [row[name] for row in kept for name in tables.SCORES] == [
        row[name] for row in expected for name in tables.SCORES
    ]
    assert None not in [row["ZPrime_Count_Nuclei"] for row in wells]
