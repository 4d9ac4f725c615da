"""What is known of a slide: its pixel size and who states it, its magnification, and what of its properties is kept."""

import math

import pytest

from fieldwork import InputError, pixel_sizes
from fieldwork.decoding import DecodeError
from fieldwork.slides import SlideError, metadata, readers, tiles
from fieldwork.slides.inside.slide import reason_of
from fieldwork.slides.metadata import Wanted
from slide_files import texture, write_pyramid

SHAPE = (1000, 2000)
SETTINGS = {"sigma": 3, "min_distance": 5, "sigma_um": 1.5, "min_distance_um": 2.5, "threshold": 0.05}


def stated(um=0.25, source="OME", doubt="", **others):
    sizes = pixel_sizes.PixelSizes({"y": um, "x": um} if um else {}, source if um else "unknown", doubt)
    return metadata.Metadata(**{"properties": {"a.User": "Jane"}, "pixel": sizes, "objective_power": 40.0} | others)


def test_what_the_file_states_counts_where_the_sheet_states_nothing():
    facts, warnings = metadata.facts_of(stated(), SHAPE, Wanted())
    assert facts == {
        "mpp": [0.25, 0.25],
        "mpp_source": "OME",
        "objective_power": 40,
        "bounds": None,
        "properties": {"a.User": "Jane"},
    }
    assert warnings == []


def test_what_the_sheet_states_counts_first_and_a_difference_is_a_warning():
    facts, warnings = metadata.facts_of(stated(), SHAPE, Wanted(mpp=0.5, magnification=20.0))
    assert (facts["mpp"], facts["mpp_source"], facts["objective_power"]) == ([0.5, 0.5], "sheet", 20)
    assert warnings == ["the sheet's mpp, 0.5, counts; OME in the file states 0.25 x 0.25 (y x)"]
    assert metadata.facts_of(stated(), SHAPE, Wanted(mpp=0.251))[1] == []
    assert metadata.facts_of(stated(um=None), SHAPE, Wanted(mpp=0.5))[1] == []


@pytest.mark.parametrize(("doubt", "said"), [("", "the file states none"), ("it is a printer's", "it is a printer's")])
def test_an_unknown_pixel_size_is_one_warning_that_names_the_column(doubt, said):
    facts, warnings = metadata.facts_of(stated(um=None, doubt=doubt, objective_power=None), SHAPE, Wanted())
    assert (facts["mpp"], facts["mpp_source"], facts["objective_power"]) == (None, "unknown", None)
    [warning] = warnings
    assert warning.startswith(f"pixel size unknown: {said}; ") and "column mpp" in warning


def test_no_glass_is_as_large_as_wrong_pixel_sizes_make_slides():
    facts, warnings = metadata.facts_of(stated(um=20), (10_000, 12_501), Wanted())
    assert facts["mpp"] is None
    assert warnings[0].startswith("pixel size unknown: OME states 20 µm a pixel, and so a slide of 250 mm; expected at")
    assert metadata.facts_of(stated(um=20), (10_000, 12_499), Wanted())[0]["mpp"] == [20, 20]
    with pytest.raises(SlideError, match="column mpp of the sheet states 20 µm a pixel, and so a slide of 1200 mm"):
        metadata.facts_of(stated(), (60_000, 60_000), Wanted(mpp=20.0))
    assert metadata.facts_of(stated(um=100), (60_000, 60_000), Wanted(mpp=0.25))[0]["mpp"] == [0.25, 0.25]


def test_errors_quote_the_file_only_where_properties_are_kept(monkeypatch):
    errors = ValueError("no number: 'Jane'"), SlideError("it is empty"), DecodeError("no end mark")
    assert [reason_of(error) for error in errors] == ["ValueError: no number: 'Jane'", "it is empty", "no end mark"]
    monkeypatch.setenv("FIELDWORK_HIDE_PROPERTIES", "1")
    assert [reason_of(error) for error in errors] == ["ValueError", "it is empty", "no end mark"]


def test_a_unit_that_is_none_is_quoted_only_where_properties_are_kept():
    nothing = pixel_sizes.PixelSizes({}, doubt="OME states the size of a pixel in no known unit of length", unit="Jane")
    [kept], [hidden] = (
        metadata.facts_of(stated()._replace(pixel=nothing), SHAPE, Wanted(keep_properties=kept))[1]
        for kept in (True, False)
    )
    assert "unit of length, 'Jane';" in kept and "Jane" not in hidden


def test_properties_that_are_not_kept_are_nowhere():
    assert "Jane" not in repr(metadata.facts_of(stated(), SHAPE, Wanted(mpp=0.5, keep_properties=False)))


def test_the_scanned_part_is_known_also_where_properties_are_not_kept():
    bounds = {f"openslide.bounds-{key}": str(value) for key, value in zip(("x", "y", "width"), (7, 8, 90), strict=True)}
    known = stated(properties=bounds | {"openslide.bounds-height": "60"})
    assert metadata.facts_of(known, SHAPE, Wanted(keep_properties=False))[0]["bounds"] == [7, 8, 90, 60]
    assert metadata.facts_of(stated(properties=bounds), SHAPE, Wanted())[0]["bounds"] is None


@pytest.mark.parametrize(
    ("properties", "mpp", "source", "power"),
    [
        ({"vendor": "aperio", "mpp-x": "0.25", "mpp-y": "0.5", "objective-power": "20"}, (0.5, 0.25), "Aperio", 20),
        ({"vendor": "dicom", "mpp-x": "32", "mpp-y": "32"}, (32, 32), "DICOM", None),
        ({"vendor": "hamamatsu", "mpp-x": "32", "mpp-y": "32"}, (32, 32), "Hamamatsu", None),
        ({"vendor": "mirax", "mpp-x": "0.2", "mpp-y": "0.2"}, (0.2, 0.2), "mirax", None),
        ({"vendor": "mirax", "mpp-x": "32", "mpp-y": "32"}, None, "unknown", None),
        ({"vendor": "generic-tiff", "mpp-x": "21.2", "mpp-y": "21.2"}, None, "unknown", None),
        ({"vendor": "generic-tiff", "mpp-x": "10.58", "mpp-y": "10.58"}, None, "unknown", None),
        ({"vendor": "aperio", "mpp-x": "nan", "mpp-y": "nan", "objective-power": "nan"}, None, "unknown", None),
        ({"vendor": "aperio", "mpp-x": "0.25"}, None, "unknown", None),
        ({"vendor": "aperio", "objective-power": "-1"}, None, "unknown", None),
        ({}, None, "unknown", None),
    ],
)
def test_openslides_properties_are_believed_as_their_vendor_is(properties, mpp, source, power):
    known = metadata.metadata_of_openslide({f"openslide.{key}": value for key, value in properties.items()})
    assert (known.pixel.mpp, known.pixel.source, known.objective_power) == (mpp, source, power)


@pytest.mark.parametrize(("power", "mpp"), [("nan", "nan"), ("inf", "inf"), ("20x", "0.25x"), ("", "")])
def test_odd_values_of_aperio_are_unknown(tmp_path, power, mpp):
    description = f"Aperio Image Library v11\r\n420x300 (64x64) JPEG/RGB|AppMag = {power}|MPP = {mpp}"
    write_pyramid(tmp_path / "a.svs", texture(), description=description, resolution=(4, 4))
    for reader in ("tifffile", "openslide"):
        slide = readers.open_slide(tmp_path / "a.svs", reader)
        facts, warnings = metadata.facts_of(slide.stated, SHAPE, Wanted())
        assert (facts["mpp"], facts["objective_power"], len(warnings)) == (None, None, 1)
        slide.close()


def test_readers_agree_on_an_aperio_slide_that_states_no_mpp(tmp_path):
    description = "Aperio Image Library v11\r\n420x300 (64x64) JPEG/RGB|AppMag = 20"
    tags = {"resolution": (40000, 40000), "resolutionunit": "CENTIMETER"}
    write_pyramid(tmp_path / "a.svs", texture(), description=description, **tags)
    assert {readers.open_slide(tmp_path / "a.svs", name).mpp for name in ("tifffile", "openslide")} == {None}


# Sizes in micrometres and what they cost


@pytest.mark.parametrize("um", [pixel_sizes.SMALLEST_PIXEL_UM, 0.25, 20, 1000])
def test_no_pixel_size_that_is_believed_makes_the_halo_wide(um):
    detection = tiles.detection_px(SETTINGS, (um, um))
    assert tiles.halo_of(detection) <= tiles.LARGEST_HALO_PX
    assert detection["sigma"] == pytest.approx(1.5 / um) and math.isfinite(detection["sigma"])


def test_micrometres_that_become_too_many_pixels_are_refused_and_the_column_is_named():
    for um in (1e-6, 0.001, 0.01):
        with pytest.raises(InputError, match=r"µm a pixel, .*slide\.nuclei.*expected at most 1152.*[Cc]olumn mpp"):
            tiles.detection_px(SETTINGS, (um, um))
    with pytest.raises(InputError):
        tiles.detection_px(SETTINGS | {"sigma_um": 100}, (0.25, 0.25))
