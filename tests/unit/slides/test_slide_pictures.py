"""Of the pictures in a file the slide is found, with its levels and channels; the others are kept or named."""

import numpy as np
import pytest
import tifffile

from fieldwork.slides import SlideError, choice, readers
from fieldwork.slides.inside import series
from slide_files import texture

FULL, OTHER = texture((600, 700, 3), seed=1), texture((600, 700, 3), seed=2)
TILED = {"photometric": "rgb", "metadata": None, "tile": (64, 64)}
STRIPS = {"photometric": "rgb", "metadata": None}


def half(image, step=2):
    return np.ascontiguousarray(image[::step, ::step])


def write_pages(path, *pages):
    """Write (image, options) as the pages of a TIFF file."""
    with tifffile.TiffWriter(path) as tif:
        for image, options in pages:
            tif.write(image, **options)
    return path


def write_ome(path, *images):
    """Write (image, metadata, options) as the images of an OME-TIFF file."""
    with tifffile.TiffWriter(path, ome=True) as tif:
        for image, about, options in images:
            tif.write(image, metadata=about, **{"photometric": "rgb", "tile": (64, 64)} | options)
    return path


def named(name):
    return {"axes": "YXS", "Name": name}


def opened(path, picture=None):
    """Return an open slide and all pixels of its level 0."""
    slide = readers.open_slide(path, "tifffile", picture)
    return slide, slide.read(0, 0, 0, *slide.shapes[0])


SMALL_FIRST = [(half(FULL, step), TILED | {"subfiletype": int(step > 1)}) for step in (4, 2, 1)]
UNMARKED = [(half(FULL, step), TILED) for step in (2, 4, 1)]
IN_STRIPS = [(half(FULL, step), STRIPS) for step in (4, 2, 1)]
SUB_LARGER = [(half(FULL), TILED | {"subifds": 1}), (FULL, TILED)]
APERIO = "Aperio Image Library v11.2.1\r\n700x600 [0,0 700x600] (64x64) JPEG/RGB Q=70|AppMag = 20|MPP = 0.5"


@pytest.mark.parametrize("pages", [SMALL_FIRST, UNMARKED, IN_STRIPS, SUB_LARGER], ids=range(4))
def test_the_largest_page_of_a_pyramid_in_any_order_is_level_0(tmp_path, pages):
    slide, pixels = opened(write_pages(tmp_path / "a.tif", *pages))
    np.testing.assert_array_equal(pixels, FULL)
    assert [shape[0] for shape in slide.shapes] == sorted({len(page) for page, _ in pages}, reverse=True)
    assert not slide.others and slide.number == 0
    slide.close()


@pytest.mark.parametrize(
    ("pages", "number", "kept", "others"),
    [
        (
            [(texture((90, 400, 3)), STRIPS), (FULL, TILED), (half(FULL), TILED | {"subfiletype": 1})],
            1,
            {"picture_0"},
            1,
        ),
        ([(half(FULL, 4), STRIPS), (FULL, TILED)], 1, {"thumbnail"}, 0),
        ([(texture((90, 400, 3)), STRIPS | {"description": "macro"}), (FULL, STRIPS)], 1, {"macro"}, 0),
        ([(texture((900, 990, 3)), TILED | {"subfiletype": 1}), (FULL, TILED)], 1, set(), 1),
        ([(FULL, TILED), (texture((90, 200, 3)), STRIPS | {"subfiletype": 9})], 0, {"macro"}, 0),
        (
            [
                (half(FULL), TILED | {"description": APERIO}),
                (texture((90, 80, 3)), STRIPS | {"description": "Aperio Image Library v11\r\nlabel 80x90"}),
                (FULL, TILED | {"description": APERIO}),
            ],
            0,
            {"label"},
            0,
        ),
    ],
    ids=range(6),
)
def test_pages_that_are_no_slide_are_kept_or_named(tmp_path, pages, number, kept, others):
    slide, pixels = opened(write_pages(tmp_path / "a.tif", *pages))
    np.testing.assert_array_equal(pixels, FULL)
    assert (slide.number, set(slide.associated()), len(slide.others)) == (number, kept, others)
    slide.close()


def test_images_of_ome_metadata_named_macro_and_label_are_no_slide_however_large(tmp_path):
    large = texture((900, 990, 3))
    names = ["0: slide.svs #macro (990 x 900 px)", "2: label image (990 x 900 px)"]
    images = [(large, named("slide.svs #macro"), {}), (FULL, named("slide"), {}), (large, named("label image"), {})]
    slide, pixels = opened(write_ome(tmp_path / "a.ome.tif", *images))
    np.testing.assert_array_equal(pixels, FULL)
    assert (slide.number, set(slide.associated()), slide.others) == (1, {"macro", "label"}, names)
    assert [text for text in slide.warnings if "picture 0" in text and "named as macro; column series" in text]
    slide.close()


def test_a_large_picture_named_overview_is_not_passed_over_in_silence_nor_decoded(tmp_path, monkeypatch):
    monkeypatch.setattr(series, "LARGEST_ASSOCIATED_PX", 500_000)  # for a small file
    images = [(FULL, named("ROI 1"), {}), (texture((900, 990, 3)), named("Tumour, overview"), {})]
    slide, pixels = opened(write_ome(tmp_path / "a.ome.tif", *images))
    np.testing.assert_array_equal(pixels, FULL)
    assert slide.others == ["1: Tumour, overview (990 x 900 px)"] and not slide.associated()
    assert "picture 1, Tumour, overview (990 x 900 px), is larger" in slide.warnings[0]
    slide.close()


def test_of_regions_of_comparable_size_the_first_is_taken_and_any_by_its_number(tmp_path):
    small, third = texture((300, 300, 3)), texture((500, 500, 3))
    images = [(small, named("A"), {}), (third, named("B"), {}), (FULL, named("C"), {})]
    path = write_ome(tmp_path / "a.ome.tif", *images)
    slide, pixels = opened(path)
    np.testing.assert_array_equal(pixels, third)
    assert slide.others == ["0: A (300 x 300 px)", "2: C (700 x 600 px)"]
    assert "2 pictures of comparable size" in slide.warnings[0] and "column series" in slide.warnings[0]
    slide.close()
    for number, (image, _, _) in enumerate(images):
        slide, pixels = opened(path, number)
        np.testing.assert_array_equal(pixels, image)
        slide.close()
    with pytest.raises(SlideError, match="no picture 3.*column series.*0: A .*; 1: B .*; 2: C"):
        opened(path, 3)


def test_two_pyramids_of_one_shape_keep_their_own_levels(tmp_path):
    pages = [(half(image, step), TILED | {"subfiletype": int(step > 1)}) for image in (FULL, OTHER) for step in (1, 2)]
    path = write_pages(tmp_path / "a.tif", *pages)
    for number, image in enumerate((FULL, OTHER)):
        slide, pixels = opened(path, number)
        np.testing.assert_array_equal(pixels, image)
        np.testing.assert_array_equal(slide.read(1, 0, 0, 300, 350), half(image))
        slide.close()


def test_a_file_of_reduced_copies_alone_and_one_cut_within_its_pages_are_refused(tmp_path):
    path = write_pages(tmp_path / "a.tif", (FULL, TILED | {"subfiletype": 1}))
    with pytest.raises(SlideError, match="all are marked as reduced copies"):
        opened(path)
    opened(path, 0)[0].close()
    path = write_pages(tmp_path / "b.tif", *SMALL_FIRST)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 4])
    with pytest.raises(SlideError, match="truncated: page .*; what is lost may be the slide"):
        opened(path)


def test_all_readers_are_compared_and_a_picture_that_was_left_is_no_disagreement(tmp_path):
    path = write_pages(tmp_path / "a.tif", (texture((900, 990, 3)), TILED | {"subfiletype": 1}), (FULL, TILED))
    assert choice.choose_reader(path)[0] == "tifffile"
    path = write_pages(tmp_path / "b.tif", (half(FULL), TILED), (FULL, TILED))
    reader, why = choice.choose_reader(path)
    assert reader == "tifffile" and "openslide: levels of 350x300 pixels, where tifffile sees 700x600" in why


# Channels


def planes(count, dtype=np.uint16, shape=(300, 400)):
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (count, *shape)).astype(dtype)


def write_channels(path, image, axes="CYX", names=None, **options):
    about = {"axes": axes, **({"Channel": {"Name": names}} if names else {})}
    return write_ome(path, (image, about, {"photometric": "minisblack"} | options))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_channels_in_planes_are_read_in_their_type_with_their_names(tmp_path, dtype):
    image = planes(4, dtype)
    slide, pixels = opened(write_channels(tmp_path / "a.ome.tif", image, names=["DAPI", "CD3", "CD3", ""]))
    assert pixels.dtype == slide.dtype == dtype
    np.testing.assert_array_equal(pixels, image.transpose(1, 2, 0))
    assert [channel.name for channel in slide.channels] == ["DAPI", "CD3", "CD3 (3)", "4"]
    assert slide.channels[0].colour == "0000FF" and len({channel.colour for channel in slide.channels}) > 2
    assert (slide.read(0, -5, 0, 5, 5) == 0).all() and slide.fluorescence
    slide.close()


def test_three_planes_are_rgb_by_their_names_or_by_their_bright_ground(tmp_path):
    bright = texture((300, 400, 3)) // 4 + 180
    stacked, dark = np.ascontiguousarray(bright.transpose(2, 0, 1)), planes(3, np.uint8) // 10
    for names in (["R", "G", "B"], ["Red", "Green", "Blue"], None):
        slide, pixels = opened(write_channels(tmp_path / "a.ome.tif", stacked, names=names))
        np.testing.assert_array_equal(pixels, bright)
        assert slide.is_rgb and bool(slide.warnings) is (names is None)
        slide.close()
    for image, names in ((dark, None), (stacked, ["CD3", "DAPI", "CD8"])):
        slide, pixels = opened(write_channels(tmp_path / "a.ome.tif", image, names=names))
        np.testing.assert_array_equal(pixels, image.transpose(1, 2, 0))
        assert not slide.is_rgb
        slide.close()


@pytest.mark.parametrize(("axes", "shape"), [("CZYX", (2, 5)), ("ZCYX", (5, 2))])
def test_of_focal_planes_the_middle_one_is_taken(tmp_path, axes, shape):
    image = planes(10).reshape(*shape, 300, 400)
    slide, pixels = opened(write_channels(tmp_path / "a.ome.tif", image, axes=axes, names=["DAPI", "CD3"]))
    middle = image[:, 2] if axes == "CZYX" else image[2]
    np.testing.assert_array_equal(pixels, middle.transpose(1, 2, 0))
    assert "of its 5 focal planes the middle one" in slide.warnings[0]
    slide.close()


@pytest.mark.parametrize(
    ("image", "axes", "why"),
    [
        (planes(3), "TYX", "3 time points; expected a slide of one"),
        (planes(2).astype(np.float32), "CYX", "32 bits per sample"),
        (planes(2).astype(np.int16), "CYX", "16 bits per sample .int16."),
    ],
)
def test_what_no_store_of_a_slide_holds_is_refused_in_one_line(tmp_path, image, axes, why):
    with pytest.raises(SlideError, match=why):
        opened(write_channels(tmp_path / "a.ome.tif", image, axes=axes))


def test_grey_pages_without_a_name_are_refused_unless_the_sheet_takes_one(tmp_path):
    image = planes(3, np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", image, photometric="minisblack", metadata=None)
    with pytest.raises(SlideError, match="3 grey pages of 400 x 300 px.*channels, focal planes or regions"):
        opened(tmp_path / "a.tif")
    slide, pixels = opened(tmp_path / "a.tif", 2)
    np.testing.assert_array_equal(pixels[..., 0], image[2])
    slide.close()


def test_imagejs_channels_are_read(tmp_path):
    image = planes(3)
    tifffile.imwrite(tmp_path / "a.tif", image, imagej=True, metadata={"axes": "CYX", "Labels": ["DAPI", "a", "b"]})
    slide, pixels = opened(tmp_path / "a.tif")
    np.testing.assert_array_equal(pixels, image.transpose(1, 2, 0))
    assert [channel.name for channel in slide.channels] == ["DAPI", "a", "b"]
    slide.close()


def test_every_series_of_tifffile_has_the_names_of_its_own_channels(tmp_path):
    names = [["CD3", "DAPI"], ["DAPI", "CD8"]]
    with tifffile.TiffWriter(tmp_path / "a.tif") as tif:
        for channels in names:
            about = {"axes": "CYX", "Channel": {"Name": channels}}
            tif.write(planes(2), photometric="minisblack", tile=(64, 64), metadata=about)
    for number, channels in enumerate(names):
        slide = readers.open_slide(tmp_path / "a.tif", "tifffile", number)
        assert [channel.name for channel in slide.channels] == channels
        slide.close()


def test_a_page_for_every_channel_of_perkin_elmers_files(tmp_path):
    image, names, colours = planes(3), ["DAPI", "Opal 520", "Opal 690"], ["0,0,255", "0,255,0", "255,0,0"]

    def page(pixels, kind, number=None, **options):
        channel = "" if number is None else f"<Name>{names[number]}</Name><Color>{colours[number]}</Color>"
        root = "PerkinElmer-QPI-ImageDescription"
        xml = f"<{root}><ImageType>{kind}</ImageType>{channel}</{root}>"
        options |= {"description": f'<?xml version="1.0" encoding="utf-16"?>{xml}', "software": "PerkinElmer-QPI"}
        return pixels, {"photometric": "rgb" if pixels.ndim == 3 else "minisblack", "metadata": None} | options

    pages = [page(plane, "FullResolution", n, tile=(64, 64)) for n, plane in enumerate(image)]
    pages += [page(texture((60, 80, 3)), "Thumbnail")]
    pages += [page(half(plane), "ReducedResolution", n, tile=(64, 64)) for n, plane in enumerate(image)]
    pages += [page(texture((60, 160, 3)), "Overview"), page(texture((60, 60, 3)), "Label")]
    slide, pixels = opened(write_pages(tmp_path / "a.qptiff", *pages))
    np.testing.assert_array_equal(pixels, image.transpose(1, 2, 0))
    np.testing.assert_array_equal(slide.read(1, 0, 0, 150, 200), image[:, ::2, ::2].transpose(1, 2, 0))
    assert [(channel.name, channel.colour) for channel in slide.channels] == [
        ("DAPI", "0000FF"),
        ("Opal 520", "00FF00"),
        ("Opal 690", "FF0000"),
    ]
    assert set(slide.associated()) == {"thumbnail", "macro", "label"}
    slide.close()


# Odd tags


@pytest.mark.parametrize("orientation", [0, 9])
def test_orientations_of_no_standard_are_as_1(tmp_path, orientation):
    tag = {"extratags": [(274, 3, 1, orientation, True)]}
    slide, pixels = opened(write_pages(tmp_path / "a.tif", (FULL, TILED | tag)))
    np.testing.assert_array_equal(pixels, FULL)
    slide.close()


@pytest.mark.parametrize("xml", ["<OME/>", "<OME><Image></OME>", "<OME><Image ID='Image:0'/></OME>"])
def test_broken_or_empty_ome_metadata_cost_nothing(tmp_path, xml):
    slide, pixels = opened(write_pages(tmp_path / "a.ome.tif", (FULL, TILED | {"description": xml})))
    np.testing.assert_array_equal(pixels, FULL)
    slide.close()


@pytest.mark.parametrize("extra", [1, 2])
def test_samples_that_are_no_alpha_have_no_effect(tmp_path, extra):
    image = np.concatenate([FULL, np.zeros((600, 700, extra), np.uint8)], axis=2)
    options = TILED | {"extrasamples": ["unspecified"] * extra}
    slide, pixels = opened(write_pages(tmp_path / "a.tif", (image, options)))
    np.testing.assert_array_equal(pixels, FULL)
    slide.close()
