"""Which channels are inside of image files is known from their heads, as the reader knows it; a name chooses one."""

import contextlib
import struct

import imageio.v3 as iio
import numpy as np
import pytest
import tifffile
from PIL import Image as Picture

from fieldwork import InputError, frames
from fieldwork.inputs import image_lists, layouts
from fieldwork.inputs import plates as sheet_plates
from fieldwork.inputs.channels import channels_of
from fieldwork.inputs.inside import headers, timepoints
from fieldwork.inputs.names import duplicates

PIXELS = np.random.default_rng(0).integers(0, 200, (5, 40, 50)).astype(np.uint8)
RGB = np.stack(PIXELS[:3], axis=-1)


def write_every_kind(folder):
    """Write files of every kind; return name -> names of the channels inside, with `pages_are: c`."""
    two = {"photometric": "minisblack"}
    for name, options in {"lzw": {"compression": "lzw"}, "big": {"bigtiff": True}, "be": {"byteorder": ">"}}.items():
        tifffile.imwrite(folder / f"rgb_{name}.tif", RGB, photometric="rgb", **options)
    tifffile.imwrite(folder / "rgb_planar.tif", PIXELS[:3], photometric="rgb", planarconfig="separate")
    iio.imwrite(folder / "rgb.png", RGB)
    iio.imwrite(folder / "rgb.jpg", RGB)
    Picture.fromarray(RGB).save(folder / "progressive.jpg", progressive=True)
    iio.imwrite(folder / "rgb.bmp", RGB)
    colours = dict.fromkeys([path.name for path in folder.iterdir()], ["red", "green", "blue"])
    iio.imwrite(folder / "grey.png", PIXELS[0])
    iio.imwrite(folder / "grey.jpg", PIXELS[0])
    Picture.fromarray(PIXELS[0]).convert("P").save(folder / "palette.png")
    tifffile.imwrite(folder / "grey.tif", PIXELS[0])
    tifffile.imwrite(folder / "z.tif", PIXELS, imagej=True, metadata={"axes": "ZYX"})
    tifffile.imwrite(folder / "z.ome.tif", PIXELS, metadata={"axes": "ZYX"})
    one = dict.fromkeys(["grey.png", "grey.jpg", "palette.png", "grey.tif", "z.tif", "z.ome.tif"], [])
    tifffile.imwrite(folder / "pages.tif", PIXELS, metadata=None, **two)
    tifffile.imwrite(folder / "shaped.tif", PIXELS, **two)
    tifffile.imwrite(folder / "samples.tif", PIXELS, planarconfig="separate", **two)
    tifffile.imwrite(folder / "imagej.tif", PIXELS, imagej=True, metadata={"axes": "CYX"})
    tifffile.imwrite(folder / "axes.tif", PIXELS, metadata={"axes": "CYX"}, **two)
    tifffile.imwrite(folder / "unnamed.ome.tif", PIXELS, metadata={"axes": "CYX"}, **two)
    unnamed = ["pages.tif", "shaped.tif", "samples.tif", "imagej.tif", "axes.tif", "unnamed.ome.tif"]
    names = {"axes": "CYX", "Channel": {"Name": ["DAPI", "GFP", "RFP", "Cy5", "TL"]}}
    tifffile.imwrite(folder / "named.ome.tif", PIXELS, metadata=names, **two)
    return {**colours, **one, **dict.fromkeys(unnamed, list("12345")), "named.ome.tif": names["Channel"]["Name"]}


def test_channels_inside_are_those_that_the_reader_reads(tmp_path):
    expected = write_every_kind(tmp_path)
    assert len(expected) > 18
    assert {name: headers.channels_in(tmp_path / name, pages_are="c") for name in expected} == expected
    for name, channels in expected.items():
        for number, channel in enumerate(channels):
            (plane,) = frames.read(tmp_path / name, channel=channel, pages_are="c", required=True)
            if not name.endswith(".jpg"):
                np.testing.assert_array_equal(plane.image, PIXELS[number], err_msg=f"{name} {channel}")
    for name in ("pages.tif", "shaped.tif", "samples.tif"):
        assert headers.channels_in(tmp_path / name) == headers.channels_in(tmp_path / name, pages_are="z") == []


def test_time_points_inside_are_those_that_the_reader_reads(tmp_path):
    times, two = PIXELS[:4].reshape(2, 2, 40, 50), {"photometric": "minisblack"}
    for suffix, options in {".tif": {"imagej": True}, ".ome.tif": two}.items():
        for axes in ("TYX", "ZYX", "TZYX", "TCYX"):
            pixels = PIXELS if len(axes) == 3 else times
            tifffile.imwrite(tmp_path / f"{axes}{suffix}", pixels, metadata={"axes": axes}, **options)
    tifffile.imwrite(tmp_path / "axes.tif", PIXELS, metadata={"axes": "TYX"}, **two)
    tifffile.imwrite(tmp_path / "pages.tif", PIXELS, metadata=None, **two)
    tifffile.imwrite(tmp_path / "samples.tif", PIXELS, planarconfig="separate", **two)
    tifffile.imwrite(tmp_path / "rgb.tif", RGB, photometric="rgb")
    tifffile.imwrite(tmp_path / "grey.tif", PIXELS[0])
    iio.imwrite(tmp_path / "grey.png", PIXELS[0])
    counts = {}
    for path in tmp_path.iterdir():
        planes = frames.read(path, channel=0, pages_are="t")
        counts[path.name] = len({plane.timepoint for plane in planes})
        assert headers.timepoints_in(path, pages_are="t") == counts[path.name], path.name
    assert counts["TYX.ome.tif"] == counts["pages.tif"] == 5 and counts["TCYX.tif"] == 2 and counts["ZYX.tif"] == 1
    for pages_are in ("", "z", "c"):
        assert headers.timepoints_in(tmp_path / "pages.tif", pages_are=pages_are) == 1


def test_a_plate_has_time_points_by_its_names_its_list_or_its_first_file(tmp_path):
    def image(well, timepoint=None, *, path="grey.tif", inside=()):
        return layouts.Image(str(tmp_path / path) if path else "", well, 1, "w1", timepoint, None, inside=inside)

    tifffile.imwrite(tmp_path / "grey.tif", PIXELS[0])
    tifffile.imwrite(tmp_path / "t.ome.tif", PIXELS, metadata={"axes": "TYX"})
    (tmp_path / "broken.tif").write_bytes(b"II*\0")
    named = [image("A01", 1), image("A02", 2)]
    inside = [image("A01", path="broken.tif"), image("A02", path="t.ome.tif")]
    url = image("A01")._replace(path="https://example.org/t.ome.tif")
    for images, expected in (
        ([], False),
        ([image("A01"), image("A02")], False),
        ([image("A01", 1), image("A02", 1)], False),
        ([image("A01", 1), image("A02", None, path="")], False),
        (named, True),
        (inside, True),
        ([*inside[::-1], image("A03")], True),
        ([*inside, image("A03"), image("A04", path="t.ome.tif")], True),
        (inside[:1], False),
        ([image("A01", 1, path="t.ome.tif")], False),  # of a file of several, this is one
        ([image("A01", path="t.ome.tif", inside=(None, 0, "", False))], False),
        ([image("A01", path="t.ome.tif", inside=(0, None, "", False))], True),
        ([url], False),
    ):
        assert timepoints.are_several(images) is expected, images


def test_no_bytes_crash_the_reading_of_heads(tmp_path):
    sources = [(tmp_path / name).read_bytes() for name in write_every_kind(tmp_path)]
    random, path = np.random.default_rng(0), tmp_path / "damaged"
    heads = [
        b"II*\0\0\0\0\0",
        b"II*\0\xff\xff\xff\xff",
        b"II+\0\10\0\0\0" + b"\xff" * 8,
        b"BM",
        b"\x89PNG",
        b"\xff\xd8\xff",
    ]
    for number in range(3000):
        damaged = np.frombuffer(sources[number % len(sources)], np.uint8).copy()
        places = random.integers(0, min(len(damaged), 600), random.integers(1, 6))
        damaged[places] = random.choice([0, 1, 57, 255, random.integers(256)], len(places))
        path.write_bytes(heads[number] if number < len(heads) else damaged.tobytes())
        for read in (headers.channels_in, headers.ome_channels, headers.tiff_header, headers.timepoints_in):
            with contextlib.suppress(OSError, ValueError, struct.error):
                read(path)


@pytest.mark.parametrize(
    "text",
    [
        '{"axes": "CYX", "shape": [99999999999999, 40, 50]}',
        '{"axes": "CYX", "shape": ["many", 40, 50]}',
        '{"axes": "CYX", "shape": [null, 40, 50]}',
        '{"axes": "CYX", "shape": [1e999, 40, 50]}',
        '{"axes": ' + "[" * 100_000,
        "ImageJ=1\nchannels=99999999999999\n",
    ],
)
def test_monstrous_numbers_of_channels_take_no_memory(tmp_path, text):
    tifffile.imwrite(tmp_path / "a.tif", PIXELS, metadata=None, photometric="minisblack", description=text)
    assert len(headers.channels_in(tmp_path / "a.tif", pages_are="c")) <= headers.MOST_PAGES


def open_plate(folder, *, row=None, **options):
    row = {None: "plates.tsv, line 2", "plate": "p", "images": str(folder), **(row or {})}
    options = {"channel": "auto", "regexes": {}, "fan_out": "plate", "results": folder / "results", **options}
    return sheet_plates.open_plate(row, **options)


def names_of(plate, names=None):
    return [tuple(channel) for channel in channels_of(plate, names or {})]


@pytest.fixture
def folder(tmp_path):
    for well in ("B02", "B03"):
        iio.imwrite(tmp_path / f"x_{well}_s1.png", RGB)
    return tmp_path


def test_a_colour_is_named_by_the_sheet_the_configuration_or_the_names_of_channels(folder):
    named = [
        open_plate(folder, row={"nuclei_channel": "Blue"}),
        open_plate(folder, channel="blue"),
        open_plate(folder, names={"blue": "DNA", "red": "Actin"}),
        open_plate(folder, channel="DNA", names={"blue": "DNA", "red": "Actin"}),
    ]
    for plate in named:
        assert (plate.channel, plate.inside) == ("w1", "blue")
        assert {image.inside for image in plate.images} == {(None, None, "", True)}
    assert names_of(named[0]) == [("blue", "blue"), ("red", "red"), ("green", "green")]
    assert names_of(named[2], {"blue": "DNA", "red": "Actin"})[:2] == [("DNA", "blue"), ("Actin", "red")]
    plate = open_plate(folder)
    assert plate.inside == "" and {image.inside for image in plate.images} == {()}
    assert names_of(plate) == [("DNA", "w1")]


def test_a_name_that_is_not_inside_is_refused_with_those_that_are(folder):
    with pytest.raises(InputError, match="nuclei channel 'DAPI': not found.* Inside of the files are red, green, blue"):
        open_plate(folder, channel="DAPI")


def test_what_pages_are_is_said_by_the_row_before_the_configuration(tmp_path):
    for well in ("B02", "B03"):
        tifffile.imwrite(tmp_path / f"x_{well}_s1.tif", PIXELS, photometric="minisblack")
    plate = open_plate(tmp_path, row={"pages_are": "c", "nuclei_channel": "2"}, pages_are="z")
    assert plate.inside == "2" and {image.inside for image in plate.images} == {(None, None, "c", True)}
    assert names_of(plate) == [("DNA", "2"), *((number, number) for number in "1345")]
    plate = open_plate(tmp_path, pages_are="z")
    assert plate.inside == "" and {image.inside for image in plate.images} == {(None, None, "z", False)}
    with pytest.raises(InputError, match="count as channels with pages_are: c"):
        open_plate(tmp_path, channel="2")


def test_a_list_names_an_image_of_the_file_and_a_page_of_that(tmp_path):
    (tmp_path / "list.csv").write_text(
        "FileName_DNA,Series_DNA,Frame_DNA,FileName_Actin,Frame_Actin,Metadata_Well\n"
        "a.tif,0,1,a.tif,2,A01\nb.tif,,,b.tif,2.0,A02\n"
    )
    scan = image_lists.read_image_list(tmp_path / "list.csv", plate="p")
    assert {(image.well, image.channel): image.inside for image in scan.images} == {
        ("A01", "DNA"): (0, 1, "", False),
        ("A01", "Actin"): (None, 2, "", False),
        ("A02", "DNA"): (),
        ("A02", "Actin"): (None, 2, "", False),
    }
    (tmp_path / "list.csv").write_text("FileName_DNA,Frame_DNA,Metadata_Well\na.tif,first,A01\n")
    with pytest.raises(InputError, match="line 2, column Frame_DNA: found 'first', expected a whole number from 0"):
        image_lists.read_image_list(tmp_path / "list.csv", plate="p")


def test_two_pages_of_one_file_at_the_same_place_are_a_fault():
    images = [layouts.Image("a.tif", "A01", 1, "DNA", None, None, inside=(None, page, "", False)) for page in (0, 1)]
    (image,) = duplicates.settle(images).images
    assert image.fault.startswith("2 files are named as this image")
