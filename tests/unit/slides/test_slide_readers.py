"""All readers return the pixels that were written; what they cannot read or find damaged is a SlideError."""

import os
import sys

import numpy as np
import pytest
import tifffile

from fieldwork.slides import SlideError, choice, jpeg, readers
from slide_files import REAL_SLIDES, damage_tile, read_level_0, real, texture, write_pyramid

CUCIM = pytest.param("cucim", marks=pytest.mark.skipif(sys.platform != "linux", reason="cuCIM is for Linux"))
EVERY = [CUCIM, "tifffile", "openslide"]


def reason(path, reader="tifffile"):
    """Return why a slide cannot be read."""
    with pytest.raises(SlideError) as caught:
        read_level_0(path, reader)
    return str(caught.value)


# Pixels


@pytest.mark.parametrize("reader", EVERY)
def test_all_readers_return_the_pixels_written_and_white_around_them(tmp_path, reader):
    image = texture()
    write_pyramid(tmp_path / "a.tif", image, compression="lzw")
    canvas = np.full((600, 800, 3), 255, np.uint8)
    canvas[100:400, 150:570] = image
    slide = readers.open_slide(tmp_path / "a.tif", reader)
    for y, x, height, width in [(0, 0, 300, 420), (-100, -150, 600, 800), (63, 64, 1, 130), (250, -5, 120, 70)]:
        region = slide.read(0, y, x, height, width, workers=2)
        assert region.dtype == np.uint8 and region.flags.c_contiguous
        np.testing.assert_array_equal(region, canvas[100 + y : 100 + y + height, 150 + x : 150 + x + width])
    assert (slide.read(0, 5000, 0, 10, 20) == 255).all()
    with pytest.raises(SlideError, match="no level 1: the slide has 1"):
        slide.read(1, 0, 0, 10, 10)
    slide.close()


@pytest.mark.parametrize(
    ("reader", "subifds"),
    [(reader, False) for reader in readers.READERS] + [("tifffile", True)],  # the others don't follow SubIFDs
)
def test_regions_of_every_level_are_those_written(tmp_path, reader, subifds):
    pyramid = write_pyramid(tmp_path / "a.tif", texture((1024, 768, 3)), levels=3, subifds=subifds, compression="jpeg")
    slide = readers.open_slide(tmp_path / "a.tif", reader)
    assert slide.shapes == ((1024, 768), (512, 384), (256, 192)) == tuple(level.shape[:2] for level in pyramid)
    with tifffile.TiffFile(tmp_path / "a.tif") as tif:
        for level, expected in enumerate(tif.series[0].levels):
            region = slide.read(level, 70, 33, 120, 90)
            np.testing.assert_array_equal(region, expected.asarray()[70:190, 33:123])
    slide.close()


@pytest.mark.parametrize(
    "options",
    [
        {"compression": "zlib", "predictor": True},
        {"compression": "zstd", "planarconfig": "separate"},
        {"tile": None, "rowsperstrip": 7, "compression": "lzw"},
        {"tile": None, "planarconfig": "separate"},
        {"tile": None},
        {"bigtiff": True, "byteorder": ">", "tile": (16, 48)},
    ],
    ids=str,
)
def test_tifffile_decodes_only_what_is_needed_of_any_layout(tmp_path, options):
    image = texture()
    bigtiff = options.pop("bigtiff", False)
    with tifffile.TiffWriter(tmp_path / "a.tif", bigtiff=bigtiff, byteorder=options.pop("byteorder", None)) as tif:
        stored = image.transpose(2, 0, 1) if options.get("planarconfig") == "separate" else image
        tif.write(stored, **{"tile": (64, 64), "photometric": "rgb", "metadata": None} | options)
    np.testing.assert_array_equal(read_level_0(tmp_path / "a.tif", "tifffile"), image)
    slide = readers.open_slide(tmp_path / "a.tif", "tifffile")
    np.testing.assert_array_equal(slide.read(0, 101, 203, 99, 101), image[101:200, 203:304])
    slide.close()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_wholly(tmp_path, orientation):
    image = texture()
    tags = {"extratags": [(274, "H", 1, orientation, True)], "resolution": (20000, 40000), "resolutionunit": 3}
    write_pyramid(tmp_path / "a.tif", image, compression="lzw", **tags)
    shown = [
        image,
        image[:, ::-1],
        np.rot90(image, 2),
        image[::-1],
        image.swapaxes(0, 1),
        np.rot90(image, -1),
        np.rot90(image, 2).swapaxes(0, 1),
        np.rot90(image),
    ][orientation - 1]
    np.testing.assert_array_equal(read_level_0(tmp_path / "a.tif", "tifffile"), shown)
    slide = readers.open_slide(tmp_path / "a.tif", "tifffile")
    np.testing.assert_array_equal(slide.read(0, 17, 30, 200, 111), shown[17:217, 30:141])
    assert slide.mpp == ((0.25, 0.5) if orientation < 5 else (0.5, 0.25))
    slide.close()
    if orientation > 1:
        assert "only in part" in reason(tmp_path / "a.tif", "cucim")


@pytest.mark.parametrize("kind", ["unassalpha", "assocalpha"])
def test_alpha_is_blended_on_white(tmp_path, kind):
    alpha = np.broadcast_to(np.linspace(0, 255, 420).astype(np.uint8), (300, 420))[..., np.newaxis]
    colours = texture()
    share = alpha / 255
    stored = colours if kind == "unassalpha" else np.rint(colours * share).astype(np.uint8)
    write_pyramid(tmp_path / "a.tif", np.concatenate([stored, alpha], axis=2), extrasamples=[kind], compression="zlib")
    expected = colours * share + 255 * (1 - share)
    assert np.abs(read_level_0(tmp_path / "a.tif", "tifffile") - expected).max() <= 1


def test_a_broken_colour_profile_costs_no_pixel(tmp_path):
    write_pyramid(tmp_path / "a.tif", texture(), iccprofile=b"no profile")
    np.testing.assert_array_equal(read_level_0(tmp_path / "a.tif", "openslide"), texture())


@pytest.mark.parametrize(("kind", "value"), [(1, b"acsp\0"), (2, "acsp"), (3, (1, 2, 3)), (7, b"acsp\0")])
def test_a_colour_profile_is_bytes_whatever_the_tag_states(tmp_path, kind, value):
    tag = (34675, kind, None if kind == 2 else len(value), value, True)
    write_pyramid(tmp_path / "a.tif", texture(), extratags=[tag])
    slide = readers.open_slide(tmp_path / "a.tif", "tifffile")
    assert slide.icc_profile == (b"acsp\0" if kind != 3 else b"\1\0\2\0\3\0")
    slide.close()


def test_grey_becomes_three_equal_channels(tmp_path):
    grey = texture()[..., 0]
    for photometric, expected in (("minisblack", grey), ("miniswhite", 255 - grey)):
        tifffile.imwrite(tmp_path / "a.tif", grey, tile=(64, 64), photometric=photometric, metadata=None)
        np.testing.assert_array_equal(read_level_0(tmp_path / "a.tif", "tifffile"), np.stack([expected] * 3, axis=2))


# Pixels that do not fit 8-bit RGB, and damage


@pytest.mark.parametrize(
    ("image", "options", "why"),
    [
        (np.zeros((300, 300, 3), np.uint16), {}, "16 bits per sample"),
        (np.zeros((300, 300), np.float32), {"photometric": "minisblack"}, "32 bits per sample"),
        (np.zeros((300, 300, 3), np.uint8), {"bitspersample": 6}, "6 bits per sample"),
        (np.zeros((4, 300, 300), np.uint8), {"photometric": "minisblack"}, "4 grey pages"),
        (np.zeros((300, 300, 4), np.uint8), {"photometric": "separated"}, "colours stored as"),
    ],
)
@pytest.mark.parametrize("reader", [CUCIM, "tifffile"])
def test_other_pixels_are_refused(tmp_path, image, options, why, reader):
    tifffile.imwrite(tmp_path / "a.tif", image, **{"photometric": "rgb", "tile": (64, 64)} | options)
    assert why in reason(tmp_path / "a.tif", reader)


@pytest.mark.parametrize("how", ["zeros", "half", "marker", "short", "no offset", "no bytes"])
@pytest.mark.parametrize("reader", [CUCIM, "tifffile"])
def test_a_damaged_jpeg_tile_is_named_and_the_others_are_read(tmp_path, reader, how):
    write_pyramid(tmp_path / "a.tif", texture(), compression="jpeg")
    expected = read_level_0(tmp_path / "a.tif", "tifffile")
    damage_tile(tmp_path / "a.tif", how)
    slide = readers.open_slide(tmp_path / "a.tif", reader)
    for _ in range(2):
        with pytest.raises(SlideError, match=r"level 0, rows 64 to 127.*: tile 7 \(row 1, column 0\)"):
            slide.read(0, 64, -10, 64, 30)
        np.testing.assert_array_equal(slide.read(0, 128, 0, 172, 420), expected[128:])
    slide.close()


def test_openslide_reads_on_after_a_tile_that_it_cannot_decode(tmp_path):
    write_pyramid(tmp_path / "a.tif", texture(), levels=2, compression="jpeg")
    expected = tifffile.imread(tmp_path / "a.tif", key=1)
    damage_tile(tmp_path / "a.tif", "zeros", number=4, level=1)
    slide = readers.open_slide(tmp_path / "a.tif", "openslide")
    for _ in range(2):
        with pytest.raises(SlideError, match="level 1, rows 64 to 93, columns 0 to 29 cannot be read: .*Not a JPEG"):
            slide.read(1, 64, 0, 30, 30)
        np.testing.assert_array_equal(slide.read(1, 0, 0, 64, 210), expected[:64])
    slide.close()


@pytest.mark.parametrize("compression", ["lzw", "zlib", "zstd", "jpeg2000", None])
def test_damage_of_other_tiles_is_an_error_or_other_pixels(tmp_path, compression):
    for how in ("zeros", "half", "short", "no offset", "no bytes"):
        write_pyramid(tmp_path / "a.tif", texture(), compression=compression)
        damage_tile(tmp_path / "a.tif", how)
        try:
            assert read_level_0(tmp_path / "a.tif", "tifffile").shape == (300, 420, 3)
        except SlideError as error:
            assert "tile 7" in str(error)
        else:
            assert how in ("zeros", "half")


def test_a_tile_beyond_the_end_is_reported_as_truncated(tmp_path):
    write_pyramid(tmp_path / "a.tif", texture(), compression="lzw")
    damage_tile(tmp_path / "a.tif", "cut", number=34)
    assert reason(tmp_path / "a.tif").endswith("tile 34 (row 4, column 6) is truncated")


def test_a_file_cut_anywhere_is_an_error_or_loses_nothing(tmp_path):
    path = tmp_path / "a.tif"
    write_pyramid(path, texture((130, 130, 3)), levels=2, compression="jpeg")
    expected, content = read_level_0(path, "tifffile"), path.read_bytes()
    refused = 0
    for length in [*range(0, 400, 7), *range(400, len(content), 97)]:
        path.write_bytes(content[:length])
        try:
            image = read_level_0(path, "tifffile")
        except SlideError:
            refused += 1
            continue
        np.testing.assert_array_equal(image, expected)
    assert refused > 100


@pytest.mark.parametrize("reader", EVERY)
def test_what_is_no_slide_is_an_error(tmp_path, reader):
    (tmp_path / "text.svs").write_text("not a slide")
    (tmp_path / "empty.svs").write_bytes(b"")
    os.mkfifo(tmp_path / "pipe.svs")
    assert "cannot be opened" in reason(tmp_path / "text.svs", reader)
    assert "cannot be opened" in reason(tmp_path / "empty.svs", reader)
    assert reason(tmp_path / "pipe.svs", reader) == reason(tmp_path, reader) == "not a regular file"
    assert reason(tmp_path / "gone.svs", reader) == "not read: No such file or directory"


# Metadata


@pytest.mark.parametrize("reader", EVERY)
def test_the_pixel_size_is_the_resolutions_or_none_for_a_printers(tmp_path, reader):
    write_pyramid(tmp_path / "a.tif", texture(), resolution=(40000, 20000), resolutionunit="CENTIMETER")
    write_pyramid(tmp_path / "b.tif", texture(), resolution=(72, 72), resolutionunit="INCH")
    write_pyramid(tmp_path / "c.tif", texture())
    write_pyramid(tmp_path / "d.tif", texture(), resolution=(40000, 20000), resolutionunit="NONE")
    sizes = [readers.open_slide(tmp_path / f"{name}.tif", reader).mpp for name in "abcd"]
    assert sizes == [(0.5, 0.25), None, None, None]


def test_ome_metadata_are_read(tmp_path):
    metadata = {"axes": "YXS", "PhysicalSizeX": 250, "PhysicalSizeXUnit": "nm", "PhysicalSizeY": 0.5}
    tifffile.imwrite(tmp_path / "a.ome.tif", texture(), photometric="rgb", tile=(64, 64), metadata=metadata)
    slide = readers.open_slide(tmp_path / "a.ome.tif", "tifffile")
    assert slide.mpp == (0.5, 0.25)
    assert slide.objective_power is None
    slide.close()
    tags = {"resolution": (40000, 20000), "resolutionunit": "CENTIMETER"}  # counts where OME states nothing
    tifffile.imwrite(tmp_path / "b.ome.tif", texture(), photometric="rgb", metadata={"axes": "YXS"}, **tags)
    slide = readers.open_slide(tmp_path / "b.ome.tif", "tifffile")
    assert slide.mpp == (0.5, 0.25)
    slide.close()


def test_an_ome_pyramid_and_its_objective_are_read(tmp_path):
    image = texture((256, 192, 3))
    xml = (
        '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Instrument ID="Instrument:0">'
        '<Objective ID="Objective:0" NominalMagnification="4"/><Objective ID="Objective:1" NominalMagnification="40"/>'
        '</Instrument><Image ID="Image:0"><ObjectiveSettings ID="Objective:1"/><Pixels ID="Pixels:0" Type="uint8" '
        'DimensionOrder="XYCZT" SizeX="192" SizeY="256" SizeC="3" SizeZ="1" SizeT="1" PhysicalSizeX="0.23">'
        '<Channel ID="Channel:0" SamplesPerPixel="3"/><TiffData/></Pixels></Image></OME>'
    )
    pyramid = write_pyramid(tmp_path / "a.ome.tif", image, levels=3, subifds=True, description=xml)
    slide = readers.open_slide(tmp_path / "a.ome.tif", "tifffile")
    assert (slide.mpp, slide.objective_power) == (None, 40)  # only one of two sizes is stated
    for level, expected in enumerate(pyramid):
        np.testing.assert_array_equal(slide.read(level, 0, 0, *expected.shape[:2]), expected)
    slide.close()


@pytest.mark.parametrize(("stated", "mpp", "power"), [("0.25", 0.25, 20), ("0,25", 0.25, 20), ("0", None, 20)])
def test_aperios_description_is_read_even_if_it_is_odd(tmp_path, stated, mpp, power):
    description = f"Aperio Image Library v11\r\n420x300 (64x64) JPEG/RGB|AppMag = {power}|MPP = {stated}|Filename = a b"
    write_pyramid(tmp_path / "a.svs", texture(), description=description)
    slide = readers.open_slide(tmp_path / "a.svs", "tifffile")
    assert (slide.mpp, slide.objective_power) == (mpp and (mpp, mpp), power)
    assert slide.properties["aperio.Filename"] == "a b"
    slide.close()


@pytest.mark.parametrize("ground", [3, 240])
def test_a_dark_ground_is_fluorescence(tmp_path, ground):
    image = np.full((400, 500, 3), ground, np.uint8)
    image[100:200, 100:200] = 200, 30, 120
    write_pyramid(tmp_path / "a.tif", image, levels=2)
    slide = readers.open_slide(tmp_path / "a.tif", "tifffile")
    assert slide.fluorescence is (ground == 3)
    slide.close()


# Real slides

FACTS = {  # reader, shape, levels, micrometres per pixel, objective, fluorescence, associated images, JPEG tile
    "CMU-1-Small-Region.svs": ("tifffile", (2967, 2220), 1, 0.499, 20, False, {"label", "macro", "thumbnail"}, 240),
    "tcga-cr-7395-01a-01-ts1.svs": ("tifffile", (3567, 4443), 2, None, None, False, {"thumbnail"}, None),
    "test3-DAPI-2-(387).ndpi": ("openslide", (4864, 3968), 7, 0.2282, 40, True, {"macro"}, None),
    "test3-TRITC 2 (560).ndpi": ("openslide", (4864, 3968), 7, 0.2282, 40, True, {"macro"}, None),
    "OS-2-vsi.ome.tif": ("tifffile", (1445, 1445), 1, 0.3461, None, False, set(), 512),
    "boxes.tiff": ("tifffile", (250, 300), 4, None, None, False, set(), None),
    "\N{NEUTRAL FACE}.svs": ("tifffile", (16, 16), 1, 0.499, 20, False, {"thumbnail"}, 64),
    "yb10kx5k.zstd.tiff": ("tifffile", (5000, 10000), 5, None, None, False, set(), None),
    "test_orient3.tif": ("tifffile", (180, 120), 3, None, None, False, set(), None),
}


@real
@pytest.mark.parametrize("name", FACTS)
def test_real_slides_are_read_as_they_are(name):
    expected, shape, levels, mpp, objective, fluorescence, associated, tile = FACTS[name]
    reader, why = choice.choose_reader(REAL_SLIDES / name)
    assert reader == expected, why
    slide = readers.open_slide(REAL_SLIDES / name, reader)
    assert (slide.shapes[0], len(slide.shapes)) == (shape, levels)
    assert slide.mpp == (None if mpp is None else pytest.approx((mpp, mpp), abs=5e-5))
    assert (slide.objective_power, slide.fluorescence) == (objective, fluorescence)
    images = slide.associated()
    assert set(images) == associated
    assert all(image.ndim == 3 and image.shape[2] == 3 and image.dtype == np.uint8 for image in images.values())
    slide.close()
    tiles = jpeg.jpeg_tiles(REAL_SLIDES / name)
    assert (tiles and tiles.tile) == tile


@real
def test_three_readers_agree_on_the_aperio_slides():
    for name in ("CMU-1-Small-Region.svs", "tcga-cr-7395-01a-01-ts1.svs"):
        opened = [readers.open_slide(REAL_SLIDES / name, reader) for reader in readers.READERS]
        assert len({slide.shapes for slide in opened}) == 1
        assert len({slide.mpp for slide in opened}) == 1
        for y, x in ((0, 0), (901, 1203), (opened[0].shapes[0][0] - 150, -50)):
            regions = [slide.read(0, y, x, 300, 400).astype(int) for slide in opened]
            assert max(np.abs(region - regions[0]).max() for region in regions) <= 1
        for slide in opened:
            slide.close()
