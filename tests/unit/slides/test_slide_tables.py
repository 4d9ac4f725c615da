"""Tables of slides: equal runs give equal rows."""

from fieldwork.slides import tables

FAILED = {"slide": "S", "path": "a/S.svs", "status": "failed", "error": "not a slide"}


def test_the_time_that_a_conversion_took_is_in_no_table():
    first, second = (
        tables.slide_row("P", FAILED | {"seconds": s}, "none", "none", max_failed=0.05) for s in (1.5, 2.5)
    )
    assert first == second
    assert list(first) == tables.SLIDE_COLUMNS and not any("econds" in column for column in first)
    assert first["PathName_Slide"] == "a" and first["Slide_Error"] == "not a slide"
