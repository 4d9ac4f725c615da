"""Pixel sizes are those that files state, in any unit of length, and unknown where no microscope has them."""

import numpy as np
import pytest
import tifffile

from fieldwork import pixel_sizes
from fieldwork.inputs import sheets
from fieldwork.inputs.schemas import read_schema

GREY = np.zeros((16, 16), np.uint8)


def written(path, **options):
    tifffile.imwrite(path, GREY, **options)
    with tifffile.TiffFile(path) as tif:
        return pixel_sizes.stated_sizes(tif)


def in_tiff(path, value, unit="CENTIMETER"):
    """Return what is known of the pixel size of a TIFF file with this resolution."""
    return written(path / "a.tif", resolution=(value, value), resolutionunit=unit, metadata=None)


def in_ome(path, **metadata):
    return written(path / "a.ome.tif", ome=True, metadata={"axes": "YX", **metadata})


@pytest.mark.parametrize("dpi", [72, 96, 150, 300, 600, 1200, 2400, 3600, 4800])
@pytest.mark.parametrize("unit", ["INCH", "CENTIMETER"])
def test_a_printers_resolution_is_no_pixel_size(tmp_path, dpi, unit):
    sizes = in_tiff(tmp_path, dpi if unit == "INCH" else round(dpi / 2.54), unit)
    assert (sizes.um, sizes.source) == ({}, "unknown")
    assert "printer" in sizes.doubt and "dots an inch" in sizes.doubt


@pytest.mark.parametrize("um", [0.02, 0.1, 0.25, 0.5, 1, 4, 5])
def test_resolutions_of_microscopes_are_believed(tmp_path, um):
    sizes = in_tiff(tmp_path, 1e4 / um)
    assert (sizes.source, sizes.doubt) == ("TIFF", "") and sizes.mpp == pytest.approx((um, um))


@pytest.mark.parametrize(
    ("value", "unit"), [((4294967295, 1), "CENTIMETER"), (1e6, "CENTIMETER"), (10, "CENTIMETER"), (1, "INCH")]
)
def test_too_small_and_too_large_pixels_are_unknown(tmp_path, value, unit):
    sizes = in_tiff(tmp_path, value, unit)
    assert sizes.um == {} and "expected 0.02 to 20 µm" in sizes.doubt


def test_a_resolution_of_no_unit_or_of_zero_is_no_size(tmp_path):
    assert in_tiff(tmp_path, 4, "NONE") == pixel_sizes.PixelSizes({})
    assert written(tmp_path / "b.tif", metadata=None) == pixel_sizes.PixelSizes({})
    assert in_tiff(tmp_path, (0, 1)).um == {}
    with tifffile.TiffFile(tmp_path / "a.tif", mode="r+") as tif:
        tif.pages.first.tags[282].overwrite((1, 0))
    assert pixel_sizes.pixel_sizes(tmp_path / "a.tif") == {}


UNITS = {
    "\xb5m": 0.25,
    "\u03bcm": 0.25,
    "um": 0.25,
    "nm": 250,
    "\xc5": 2500,
    "\u212b": 2500,
    "A\u030a": 2500,
    "mm": 0.00025,
    "cm": 0.000025,
    "m": 2.5e-7,
    "in": 0.25 / 25400,
    "inch": 0.25 / 25400,
    "thou": 0.25 / 25.4,
}


@pytest.mark.parametrize("unit", UNITS)
def test_ome_units_of_length_are_read(tmp_path, unit):
    size = UNITS[unit]
    units = {f"PhysicalSize{axis}Unit": unit for axis in "XY"}
    sizes = in_ome(tmp_path, PhysicalSizeX=size, PhysicalSizeY=2 * size, **units)
    assert sizes.source == "OME" and sizes.mpp == pytest.approx((0.5, 0.25))


@pytest.mark.parametrize("unit", ["pixel", "reference frame", "Mm", "kg", ""])
def test_what_is_no_unit_of_length_makes_no_size(tmp_path, unit):
    sizes = in_ome(tmp_path, PhysicalSizeX=1, PhysicalSizeY=1, PhysicalSizeXUnit=unit, PhysicalSizeYUnit=unit)
    assert sizes.um == {} and sizes.doubt


@pytest.mark.parametrize(("um", "believed"), [(0.019, False), (0.02, True), (25, True), (353, True), (1001, False)])
def test_large_pixels_are_believed_of_ome_and_tiny_ones_of_nobody(tmp_path, um, believed):
    assert bool(in_ome(tmp_path, PhysicalSizeX=um, PhysicalSizeY=um).um) == believed


@pytest.mark.parametrize("source", ["Aperio", "Hamamatsu", "DICOM", "mirax", "ImageJ", "TIFF"])
def test_large_pixels_are_believed_of_formats_of_microscopes_alone(source):
    sizes = pixel_sizes.believed({"y": "25", "x": "25"}, source)
    assert bool(sizes.um) == (source in ("Aperio", "Hamamatsu", "DICOM"))
    assert not pixel_sizes.believed({"y": 0.001, "x": 0.001}, source).um


@pytest.mark.parametrize("value", ["nan", "inf", "-0.25", "0", "0,25", "", None])
def test_what_is_no_number_is_no_size(value):
    sizes = pixel_sizes.believed({"y": value, "x": "0.25"}, "Aperio")
    assert sizes.um == {} and sizes.doubt


IMAGEJ = {  # as ImageJ writes them into its description -> the value of 0.25 µm, and who states it
    "um": (0.25, "ImageJ"),
    "micron": (0.25, "ImageJ"),
    "microns": (0.25, "ImageJ"),
    "\\u00B5m": (0.25, "ImageJ"),
    "\\u03BCm": (0.25, "ImageJ"),
    "nm": (250, "ImageJ"),
    "mm": (0.00025, "ImageJ"),
    "cm": (0.000025, "TIFF"),
    "inch": (0.25 / 25400, "TIFF"),
    "inches": (0.25 / 25400, "TIFF"),
    "\\u00C5": (2500, "ImageJ"),
}


@pytest.mark.parametrize("unit", IMAGEJ)
def test_imagejs_units_are_read(tmp_path, unit):
    size, source = IMAGEJ[unit]
    options = {"imagej": True, "resolution": (1 / size, 0.5 / size)}
    sizes = written(tmp_path / "a.tif", **options, metadata={"unit": unit, "spacing": 4 * size})
    assert sizes.source == source and sizes.um == pytest.approx({"y": 0.5, "x": 0.25, "z": 1})


def test_a_printers_resolution_that_imagej_passed_on_is_no_pixel_size(tmp_path):
    sizes = written(tmp_path / "a.tif", imagej=True, resolution=(300, 300), metadata={"unit": "inch"})
    assert sizes.um == {} and "printer" in sizes.doubt
    for unit, doubt in (("pixel", ""), ("pixels", ""), ("furlong", "in no known unit of length")):
        sizes = written(tmp_path / "a.tif", imagej=True, resolution=(1, 1), metadata={"unit": unit})
        assert sizes.um == {} and doubt in sizes.doubt and bool(doubt) == bool(sizes.doubt)
        assert sizes.unit == (unit if doubt else "")


def test_imagej_may_have_a_unit_for_each_axis(tmp_path):
    units = {"unit": "um", "yunit": "nm", "zunit": "mm", "spacing": 0.002}
    sizes = written(tmp_path / "a.tif", imagej=True, resolution=(4, 0.004), metadata=units)
    assert sizes.um == pytest.approx({"x": 0.25, "y": 0.25, "z": 2})


def test_the_resolution_counts_only_where_ome_states_nothing(tmp_path):
    tags = {"resolution": (40000, 20000), "resolutionunit": "CENTIMETER"}
    options = {"ome": True, "metadata": {"axes": "YX"}}
    assert written(tmp_path / "a.ome.tif", **tags, **options).um == {"y": 0.5, "x": 0.25}
    options["metadata"]["PhysicalSizeX"] = 0.3
    alone = written(tmp_path / "a.ome.tif", **tags, **options)
    assert alone.um == {} and "one of x and y alone" in alone.doubt
    broken = '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image></OME>'
    assert written(tmp_path / "b.tif", description=broken, metadata=None, **tags).um == {"y": 0.5, "x": 0.25}


def test_the_sheet_takes_the_range_that_files_are_believed_in():
    assert sheets.RANGES["mpp"] == (pixel_sizes.SMALLEST_PIXEL_UM, pixel_sizes.LARGEST_PIXEL_UM)
    for key, (low, high) in sheets.RANGES.items():
        assert f"from {low} to {high}" in read_schema("slides")["properties"][key]["description"]
