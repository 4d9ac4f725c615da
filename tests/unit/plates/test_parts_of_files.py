"""Images that are a part of a file: a page that a list names, pages that the sheet explains, a colour by name."""

import numpy as np
import pyarrow.parquet as pq
import pytest
import tifffile

from fieldwork import outputs
from fieldwork.frames import FrameError
from fieldwork.plates import fields, filters, images, tables

PEAKS = {"method": "peaks", "sigma": 1, "min_distance": 3, "threshold_abs": 200}


def pages(*counts):
    """Return (pages, 60, 80) images of that many bright squares."""
    stack = np.full((len(counts), 60, 80), 100, np.uint16)
    for page, count in enumerate(counts):
        for number in range(count):
            row, column = divmod(number, 5)
            stack[page, 12 + 16 * row : 15 + 16 * row, 10 + 14 * column : 13 + 14 * column] = 3000
    return stack


@pytest.fixture
def path(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", pages(2, 5, 7), photometric="minisblack", metadata=None)
    return str(tmp_path / "a.tif")


def measure(image, **read):
    planes = images.read_channels(image, **read)
    return fields.measure_field(image, planes, detection=PEAKS, with_quality=False)


def test_a_page_of_a_file_is_an_image_and_its_row_has_the_numbers(tmp_path, path):
    frame_1, frame_2 = ((path, 0, number, "", False) for number in (1, 2))
    rows = [("A01", 1, None, None, frame_1, (frame_1, frame_2)), ("A01", 2, None, None, frame_2, (frame_2, None))]
    channels = images.Channels("DNA", [("DNA", "DNA"), ("Actin", "Actin")])
    listed = images.images_of(rows, {})
    planes = [images.read_channels(image, channel="DNA", channels=channels)[0] for image in listed]
    np.testing.assert_array_equal(planes[0].image, pages(5)[0])
    np.testing.assert_array_equal(planes[0].channels["Actin"], pages(7)[0])
    np.testing.assert_array_equal(planes[1].image, pages(7)[0])
    assert planes[1].missing == {"Actin": "there is no image of it"}
    measured = [field for image in listed for field in measure(image, channel="DNA", channels=channels)]
    assert [len(field.coordinates) for field in measured] == [5, 7]
    outputs.write_parquet(tables.fields_of("p", measured), tmp_path / "all.fields.parquet")
    merged, _ = tables.merge_fields([tmp_path / "all.fields.parquet"], PEAKS)
    assert [(row["Series_DNA"], row["Frame_DNA"]) for row in merged] == [(0, 1), (0, 2)]
    assert not {"Series_DNA", "Frame_DNA"} & set(tables.absent_columns(merged))
    assert pq.read_table(tmp_path / "all.fields.parquet").column("Frame_DNA").to_pylist() == [1, 2]


def test_copies_of_urls_are_read_in_their_place(path):
    url = "https://example.org/a.tif"
    rows = [("A01", 1, None, None, (url, None, 1, "", False), ((url, None, 2, "", False), url, None))]
    (image,) = images.images_of(rows, {url: path})
    assert (image.path, image.copy, image.inside) == (url, path, (None, 1, "", False))
    assert image.measured == ((path, None, 2, "", False), path, None)


@pytest.mark.parametrize(
    ("pages_are", "places"), [("z", [(None, 1), (None, 2), (None, 3)]), ("t", [(1, None), (2, None)])]
)
def test_pages_are_what_the_sheet_says(tmp_path, pages_are, places):
    stack = pages(*range(1, len(places) + 1))
    tifffile.imwrite(tmp_path / "a.tif", stack, photometric="minisblack", metadata=None)
    rows = [("A01", 1, None, None, (str(tmp_path / "a.tif"), None, None, pages_are, False))]
    (image,) = images.images_of(rows, {})
    measured = fields.measure_field(
        image, images.chosen_planes(image, channel="w1"), detection=PEAKS, with_quality=False
    )
    assert [(field.timepoint, field.z) for field in measured] == places
    assert [len(field.coordinates) for field in measured] == list(range(1, len(places) + 1))


def test_a_channel_that_is_named_inside_must_be_there(tmp_path, path):
    for name, stack in {"two": pages(1, 2), "one": pages(3)}.items():
        tifffile.imwrite(tmp_path / f"{name}.tif", stack, photometric="minisblack", metadata=None)
    read = {}
    for name in ("a", "two", "one"):
        rows = [("A01", 1, None, None, (str(tmp_path / f"{name}.tif"), None, None, "c", True))]
        (image,) = images.images_of(rows, {})
        try:
            read[name] = images.read_planes(image, channel="3")[0].image
        except FrameError as error:
            read[name] = str(error)
    np.testing.assert_array_equal(read["a"], pages(7)[0])
    assert read["two"] == "holds 2 channels (without names: 1 to 2), none of them '3'"
    assert read["one"] == "channel '3' is not there; found one channel without a name"


def test_what_was_done_to_stored_values_is_counted(tmp_path):
    for name, photometric in {"a": "miniswhite", "b": "miniswhite", "c": "minisblack"}.items():
        stored = pages(4)[0]
        stored = 65535 - stored if photometric == "miniswhite" else stored
        tifffile.imwrite(tmp_path / f"{name}.tif", stored, photometric=photometric)
    listed = images.images_of(
        [(f"A0{n}", 1, None, None, str(tmp_path / f"{name}.tif")) for n, name in enumerate("abc", 1)], {}
    )
    measured = [
        field
        for image in listed
        for field in fields.measure_field(
            image, images.chosen_planes(image, channel="w1"), detection=PEAKS, with_quality=False
        )
    ]
    assert [len(field.coordinates) for field in measured] == [4, 4, 4]
    outputs.write_parquet(tables.fields_of("p", measured), tmp_path / "all.fields.parquet")
    merged, _ = tables.merge_fields([tmp_path / "all.fields.parquet"], PEAKS)
    assert {row["Image_Status"] for row in merged} == {"ok"}
    assert tables.notes_of(merged) == [
        "2 of 3 images: stored inverted (WhiteIsZero): values are subtracted from the largest possible one"
    ]


def test_filtered_pages_of_one_file_have_names_of_their_own(tmp_path, path):
    rows = [("A01", 1, None, z, (path, None, z, "", False)) for z in range(3)]
    saved = []
    for image in images.images_of(rows, {}):
        original = filters.Original(image, "a")
        planes = filters.read_planes(original, channel="DNA")
        options = {"chain": [], "metrics": [], "save": "tiff", "folder": tmp_path / "filtered", "folders": []}
        saved += [result.saved for result in filters.filter_image(original, planes, **options)]
    assert saved == ["a_frame0.tif", "a_frame1.tif", "a_frame2.tif"]
    for page, name in zip(pages(2, 5, 7), saved, strict=True):
        np.testing.assert_array_equal(tifffile.imread(tmp_path / "filtered" / name), page)
