"""Of several files of one place, an original counts by a stated rule; else none does, and both are named."""

import imageio.v3 as iio
import numpy as np
import pytest
import tifffile

from fieldwork import InputError
from fieldwork.inputs import layouts
from fieldwork.inputs.names import headers

WELLS = ("B02", "B03", "B04")


def write(path, *, size=64, bits=16):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = np.arange(size * (size + 8)).reshape(size, size + 8).astype(f"uint{bits}")
    if path.suffix in (".tif", ".tiff"):
        tifffile.imwrite(path, image)
    else:
        iio.imwrite(path, image)


def scan(folder, **options):
    return layouts.scan_folder(folder, plate="p", **options)


# Names, sizes and bits of the others beside 64 px of 16 bits in NAME.tif; and what says that they are copies.
COPIES = {
    "a folder's name": ("masks/{}.tif", {}, "their names say so"),
    "a word of the name": ("mask_{}.tif", {}, "their names say so"),
    "Copy of": ("Copy of {}.tif", {}, "their names say so"),
    "previews in JPEG": ("fast/{}.jpg", {"size": 16, "bits": 8}, "JPEG beside a format without loss"),
    "JPEG of the same size": ("fast/{}.jpg", {"bits": 8}, "JPEG beside a format without loss"),
    "a quarter of the size": ("fast/{}.png", {"size": 16}, "fewer pixels or bits"),
    "8 bits": ("fast/{}.tif", {"bits": 8}, "fewer pixels or bits"),
    "8 bits in one folder": ("{}.png", {"bits": 8}, "fewer pixels or bits"),
}


@pytest.mark.parametrize("kind", COPIES)
def test_an_original_counts_and_its_copies_are_listed(tmp_path, kind):
    pattern, options, reason = COPIES[kind]
    for well in WELLS:
        write(tmp_path / f"x_{well}_s1_w1.tif")
        write(tmp_path / pattern.format(f"x_{well}_s1_w1"), **options)
    read = scan(tmp_path)
    assert [image.path for image in read.images] == [str(tmp_path / f"x_{well}_s1_w1.tif") for well in WELLS]
    assert not any(image.fault for image in read.images) and read.duplicates == []
    assert sorted(read.copies) == sorted(str(tmp_path / pattern.format(f"x_{well}_s1_w1")) for well in WELLS)
    (warning,) = read.warnings
    assert warning.startswith(f"3 files are copies, previews or masks ({reason}") and "their originals count" in warning


EQUALS = {
    "the same form": ("again/{}.tif", {}),
    "more pixels and fewer bits": ("again/{}.tif", {"size": 128, "bits": 8}),
    "a larger JPEG": ("again/{}.jpg", {"size": 128, "bits": 8}),
    "another suffix": ("{}.tiff", {}),
    "fewer bits in a name of its own": ("y_{}.tif", {"bits": 8}),
    "a result of 32 bits": ("results/{}.tif", {"bits": 32}),
    "a larger result of 32 bits": ("results/{}.tif", {"size": 128, "bits": 32}),
}


@pytest.mark.parametrize("kind", EQUALS)
def test_of_equals_none_counts(tmp_path, kind):
    pattern, options = EQUALS[kind]
    for well in WELLS:
        write(tmp_path / f"x_{well}_s1_w1.tif")
    write(tmp_path / pattern.format("x_B03_s1_w1"), **options)
    read = scan(tmp_path)
    assert [bool(image.fault) for image in read.images] == [False, True, False] and read.copies == []
    fault = read.images[1].fault
    assert str(tmp_path / "x_B03_s1_w1.tif") in fault and str(tmp_path / pattern.format("x_B03_s1_w1")) in fault
    for well in WELLS:
        write(tmp_path / pattern.format(f"x_{well}_s1_w1"), **options)
    with pytest.raises(
        InputError, match="3 of 3 images are there twice, and no file is known to be a copy.*well B02, site 1"
    ):
        scan(tmp_path)


def test_folders_that_disagree_on_what_is_smaller_hold_no_copies(tmp_path):
    for number, well in enumerate(WELLS):
        write(tmp_path / f"one/x_{well}_s1_w1.tif", size=64 if number else 32)
        write(tmp_path / f"two/x_{well}_s1_w1.tif", size=32 if number else 64)
    with pytest.raises(InputError, match=r"folders differ \('one' and 'two'\)"):
        scan(tmp_path)


def test_a_copy_without_an_original_is_a_failed_field(tmp_path):
    for well in WELLS:
        write(tmp_path / f"previews/x_{well}_s1_w1.tif", size=16)
    for well in WELLS[:2]:
        write(tmp_path / f"x_{well}_s1_w1.tif")
    read = scan(tmp_path)
    assert [image.fault for image in read.images[:2]] == [None, None] and len(read.copies) == 2
    assert "only " in read.images[2].fault and "previews/x_B04_s1_w1.tif" in read.images[2].fault


def test_a_mask_by_its_name_without_an_original_is_a_failed_field(tmp_path):
    for well in WELLS:
        write(tmp_path / f"x_mask_{well}_s1_w1.tif", bits=8)
    for well in WELLS[:2]:
        write(tmp_path / f"x_{well}_s1_w1.tif")
    read = scan(tmp_path)
    assert [image.fault for image in read.images[:2]] == [None, None] and len(read.copies) == 2
    assert "x_mask_B04_s1_w1.tif' is there, a copy, preview or mask by its folder or name" in read.images[2].fault


def test_a_plate_in_a_folder_of_previews_alone_is_read(tmp_path):
    for well in WELLS:
        write(tmp_path / f"jpg/x_{well}_s1_w1.jpg", bits=8)
    read = scan(tmp_path)
    assert len(read.images) == 3 and not any(image.fault for image in read.images)


@pytest.mark.parametrize("pattern", ["{plate}_{well}_s1_w1.tif", "{plate}/x_{well}_s1_w1.tif"])
def test_the_plates_name_parts_two_plates_in_a_folder(tmp_path, pattern):
    for plate in ("one", "two"):
        for well in WELLS:
            write(tmp_path / pattern.format(plate=plate, well=well))
    write(tmp_path / pattern.format(plate="two", well="C05"))
    read = layouts.scan_folder(tmp_path, plate="Two")
    assert [image.path for image in read.images] == [
        str(tmp_path / pattern.format(plate="two", well=well)) for well in (*WELLS, "C05")
    ]
    assert "3 images were left out: other plates are in" in read.warnings[0] and read.duplicates == []
    with pytest.raises(InputError, match="3 of 4 images are there twice.*the named group 'plate'"):
        layouts.scan_folder(tmp_path, plate="three")


@pytest.mark.parametrize("plate", ["one", "two"])
@pytest.mark.parametrize("pattern", ["{plate}_{well}_s1_w1.{suffix}", "{plate}/x_{well}_s1_w1.{suffix}"])
@pytest.mark.parametrize("options", [{"size": 32}, {"bits": 8}])
def test_a_plate_with_smaller_images_is_no_preview_of_another_plate(tmp_path, pattern, options, plate):
    for well in WELLS:
        write(tmp_path / pattern.format(plate="one", well=well, suffix="tif"))
        write(tmp_path / pattern.format(plate="two", well=well, suffix="png"), **options)
    read = layouts.scan_folder(tmp_path, plate=plate)
    suffix = "tif" if plate == "one" else "png"
    assert [image.path for image in read.images] == [
        str(tmp_path / pattern.format(plate=plate, well=well, suffix=suffix)) for well in WELLS
    ]
    assert read.copies == [] and "3 images were left out: other plates are in" in read.warnings[0]


def test_previews_of_a_plate_beside_another_plate_are_still_copies(tmp_path):
    for well in WELLS:
        write(tmp_path / f"one/x_{well}_s1_w1.tif")
        write(tmp_path / f"one/preview/x_{well}_s1_w1.tif", size=16)
        write(tmp_path / f"two/x_{well}_s1_w1.tif")
    read = layouts.scan_folder(tmp_path, plate="one")
    assert [image.path for image in read.images] == [str(tmp_path / f"one/x_{well}_s1_w1.tif") for well in WELLS]
    assert len(read.copies) == 3 and not any(image.fault for image in read.images)


@pytest.mark.parametrize("pattern", ["{plate}_{well}_s1_w1.tif", "{plate}/x_{well}_s1_w1.tif"])
def test_images_that_seem_to_be_of_another_plate_are_told_of(tmp_path, pattern):
    for plate, well in zip(("one", "one", "two"), WELLS, strict=True):
        write(tmp_path / pattern.format(plate=plate, well=well))
    (warning,) = layouts.scan_folder(tmp_path, plate="one").warnings
    assert "1 of 3 images are not in a folder 'one', and their names don't begin with it" in warning
    (tmp_path / pattern.format(plate="two", well=WELLS[2])).unlink()
    assert layouts.scan_folder(tmp_path, plate="one").warnings == []


@pytest.mark.parametrize("pattern", ["{plate}_{well}_s1_w1.tif", "{plate}/x_{well}_s1_w1.tif"])
def test_images_with_the_name_of_another_plate_of_the_folder_are_its_own(tmp_path, pattern):
    for plate, well in (("one", "B02"), ("One_2", "B03"), ("three", "B04")):
        write(tmp_path / pattern.format(plate=plate, well=well))
    names = ("one", "one_2", "three")
    for plate, wells in {"one": ["B02"], "one_2": ["B03"], "three": ["B04"], "four": ["B02", "B03", "B04"]}.items():
        others = [name for name in names if name != plate]
        read = layouts.scan_folder(tmp_path, plate=plate, others=others)
        assert [image.well for image in read.images] == wells
        assert any("2 images were left out" in warning for warning in read.warnings) == (plate != "four")


def test_a_folder_with_images_of_another_row_alone_is_refused(tmp_path):
    write(tmp_path / "one_2_B02_s1_w1.tif")
    with pytest.raises(
        InputError, match="all 1 images carry the name of another plate .* Give plate 'one' its own folder"
    ):
        layouts.scan_folder(tmp_path, plate="one", others=["one_2"])


def test_folders_that_share_a_place_and_hold_others_may_be_two_plates(tmp_path):
    for folder, wells in (("one", ("B02", "B03", "B04")), ("two", ("B04",))):
        for well in wells:
            write(tmp_path / f"{folder}/x_{well}_s1_w1.tif")
    read = scan(tmp_path)
    assert [bool(image.fault) for image in read.images] == [False, False, True] and read.warnings == []
    write(tmp_path / "two/x_C05_s1_w1.tif")
    (warning,) = scan(tmp_path).warnings
    assert "1 images are there twice and fail, as in well B04 (folders differ ('one' and 'two'))" in warning
    assert "are they two plates, or two measurements?" in warning


SIZES = {"tif": (40, 30, 16), "big.tif": (40, 30, 32), "png": (40, 30, 16), "jpg": (40, 30, 8), "bmp": (40, 30, 8)}


@pytest.mark.parametrize("name", SIZES)
def test_headers_state_the_size(tmp_path, name):
    width, height, bits = SIZES[name]
    path = tmp_path / f"x.{name}"
    image = np.zeros((height, width), {8: np.uint8, 16: np.uint16, 32: np.float32}[bits])
    if name.endswith("tif"):
        tifffile.imwrite(path, image, bigtiff=name.startswith("big"), byteorder=">" if name == "tif" else "<")
    else:
        iio.imwrite(path, image)
    assert headers.size_of(path) == (width, height, bits)
    for content in (b"", path.read_bytes()[:9], b"text", b"II+\0\x08\0\0\0" + b"\xff" * 40, b"MM\0*" + b"\xff" * 9):
        path.write_bytes(content)
        assert headers.size_of(path) is None


def test_a_colour_tiff_states_the_bits_of_a_colour(tmp_path):
    tifffile.imwrite(tmp_path / "x.tif", np.zeros((30, 40, 3), np.uint16), photometric="rgb")
    assert headers.size_of(tmp_path / "x.tif") == (40, 30, 16)
