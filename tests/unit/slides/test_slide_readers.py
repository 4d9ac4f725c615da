"""Slides are read alike by whoever can read them; who cannot is not trusted; what is damaged is said."""

import os
import signal
import subprocess
import sys

import imagecodecs
import numpy as np
import pytest
import tifffile

from fieldwork.slides import SlideError, choice, jpeg, readers
from workspace import DATA

SLIDES = DATA / "slides"
real = pytest.mark.skipif(not SLIDES.is_dir(), reason="the real slides are not here")
CUCIM = pytest.param("cucim", marks=pytest.mark.skipif(sys.platform != "linux", reason="cuCIM is for Linux"))
EVERY = [CUCIM, "tifffile", "openslide"]


def picture(shape=(300, 420, 3), seed=0):
    """Smooth enough for JPEG, no two rows or columns alike."""
    noise = np.random.default_rng(seed).integers(0, 30, shape)
    rows, columns = np.indices(shape[:2])
    return (noise + np.stack([rows // 2, columns // 3, (rows + columns) // 4][: shape[2]], axis=2)).astype(np.uint8)


def write(path, image, *, levels=1, subifds=False, **options):
    """Write a tiled pyramid, as reduced pages or as SubIFDs; give its levels."""
    pyramid = [np.ascontiguousarray(image[:: 2**level, :: 2**level]) for level in range(levels)]
    options = {"tile": (64, 64), "photometric": "rgb", "metadata": None} | options
    with tifffile.TiffWriter(path) as tif:
        tif.write(pyramid[0], subifds=levels - 1 if subifds else None, **options)
        for each in pyramid[1:]:
            tif.write(each, subfiletype=1, **options)
    return pyramid


def whole(path, reader, level=0):
    slide = readers.open_slide(path, reader)
    image = slide.read(level, 0, 0, *slide.shapes[level])
    slide.close()
    return image


def reason(path, reader="tifffile"):
    with pytest.raises(SlideError) as caught:
        whole(path, reader)
    return str(caught.value)


# Pixels


@pytest.mark.parametrize("reader", EVERY)
def test_all_readers_give_the_pixels_written_and_white_around_them(tmp_path, reader):
    image = picture()
    write(tmp_path / "a.tif", image, compression="lzw")
    canvas = np.full((600, 800, 3), 255, np.uint8)
    canvas[100:400, 150:570] = image
    slide = readers.open_slide(tmp_path / "a.tif", reader)
    for y, x, height, width in [(0, 0, 300, 420), (-100, -150, 600, 800), (63, 64, 1, 130), (250, -5, 120, 70)]:
        found = slide.read(0, y, x, height, width, workers=2)
        assert found.dtype == np.uint8 and found.flags.c_contiguous
        np.testing.assert_array_equal(found, canvas[100 + y : 100 + y + height, 150 + x : 150 + x + width])
    assert (slide.read(0, 5000, 0, 10, 20) == 255).all()
    with pytest.raises(SlideError, match="no level 1: the slide has 1"):
        slide.read(1, 0, 0, 10, 10)
    slide.close()


@pytest.mark.parametrize(
    ("reader", "subifds"),
    [(reader, False) for reader in readers.READERS] + [("tifffile", True)],  # the others don't follow SubIFDs
)
def test_regions_of_every_level_are_those_written(tmp_path, reader, subifds):
    pyramid = write(tmp_path / "a.tif", picture((1024, 768, 3)), levels=3, subifds=subifds, compression="jpeg")
    slide = readers.open_slide(tmp_path / "a.tif", reader)
    assert slide.shapes == ((1024, 768), (512, 384), (256, 192)) == tuple(each.shape[:2] for each in pyramid)
    with tifffile.TiffFile(tmp_path / "a.tif") as tif:
        for level, expected in enumerate(tif.series[0].levels):
            found = slide.read(level, 70, 33, 120, 90)
            np.testing.assert_array_equal(found, expected.asarray()[70:190, 33:123])
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
    image = picture()
    bigtiff = options.pop("bigtiff", False)
    with tifffile.TiffWriter(tmp_path / "a.tif", bigtiff=bigtiff, byteorder=options.pop("byteorder", None)) as tif:
        stored = image.transpose(2, 0, 1) if options.get("planarconfig") == "separate" else image
        tif.write(stored, **{"tile": (64, 64), "photometric": "rgb", "metadata": None} | options)
    np.testing.assert_array_equal(whole(tmp_path / "a.tif", "tifffile"), image)
    slide = readers.open_slide(tmp_path / "a.tif", "tifffile")
    np.testing.assert_array_equal(slide.read(0, 101, 203, 99, 101), image[101:200, 203:304])
    slide.close()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_wholly(tmp_path, orientation):
    image = picture()
    tags = {"extratags": [(274, "H", 1, orientation, True)], "resolution": (20000, 40000), "resolutionunit": 3}
    write(tmp_path / "a.tif", image, compression="lzw", **tags)
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
    np.testing.assert_array_equal(whole(tmp_path / "a.tif", "tifffile"), shown)
    slide = readers.open_slide(tmp_path / "a.tif", "tifffile")
    np.testing.assert_array_equal(slide.read(0, 17, 30, 200, 111), shown[17:217, 30:141])
    assert slide.mpp == ((0.25, 0.5) if orientation < 5 else (0.5, 0.25))
    slide.close()
    if orientation > 1:
        assert "only in part" in reason(tmp_path / "a.tif", "cucim")


@pytest.mark.parametrize("kind", ["unassalpha", "assocalpha"])
def test_alpha_is_blended_on_white(tmp_path, kind):
    alpha = np.broadcast_to(np.linspace(0, 255, 420).astype(np.uint8), (300, 420))[..., np.newaxis]
    colours = picture()
    share = alpha / 255
    stored = colours if kind == "unassalpha" else np.rint(colours * share).astype(np.uint8)
    write(tmp_path / "a.tif", np.concatenate([stored, alpha], axis=2), extrasamples=[kind], compression="zlib")
    expected = colours * share + 255 * (1 - share)
    assert np.abs(whole(tmp_path / "a.tif", "tifffile") - expected).max() <= 1


def test_grey_becomes_three_equal_channels(tmp_path):
    grey = picture()[..., 0]
    for photometric, expected in (("minisblack", grey), ("miniswhite", 255 - grey)):
        tifffile.imwrite(tmp_path / "a.tif", grey, tile=(64, 64), photometric=photometric, metadata=None)
        np.testing.assert_array_equal(whole(tmp_path / "a.tif", "tifffile"), np.stack([expected] * 3, axis=2))


# What cannot be given as 8-bit RGB, or not at all


@pytest.mark.parametrize(
    ("image", "options", "why"),
    [
        (np.zeros((300, 300, 3), np.uint16), {}, "16 bits per sample"),
        (np.zeros((300, 300), np.float32), {"photometric": "minisblack"}, "32 bits per sample"),
        (np.zeros((300, 300, 3), np.uint8), {"bitspersample": 6}, "6 bits per sample"),
        (np.zeros((4, 300, 300), np.uint8), {"photometric": "minisblack"}, "axes"),
        (np.zeros((300, 300, 4), np.uint8), {"photometric": "separated"}, "colours stored as"),
    ],
)
@pytest.mark.parametrize("reader", [CUCIM, "tifffile"])
def test_other_pixels_are_refused(tmp_path, image, options, why, reader):
    tifffile.imwrite(tmp_path / "a.tif", image, **{"photometric": "rgb", "tile": (64, 64)} | options)
    assert why in reason(tmp_path / "a.tif", reader)


@pytest.mark.parametrize("requested", ["auto", "openslide"])
def test_16_bits_are_never_taken_for_8(tmp_path, requested):
    image = picture().astype(np.uint16) * 200
    tifffile.imwrite(tmp_path / "a.tif", image, photometric="rgb", tile=(64, 64))
    with pytest.raises(SlideError, match="16 bits per sample.*expected 8"):
        choice.choose_reader(tmp_path / "a.tif", requested)


def damage(path, how, number=7):
    """Damage a tile of the first page."""
    with tifffile.TiffFile(path, mode="r+") as tif:
        page = tif.pages.first
        offset, count = page.dataoffsets[number], page.databytecounts[number]
        tag = page.tags[324 if how == "no offset" else 325]
        if how.startswith("no"):
            tag.overwrite([*tag.value[:number], 0, *tag.value[number + 1 :]])
        if how == "short":
            tag.overwrite([*tag.value[:number], count // 2, *tag.value[number + 1 :]])
    with open(path, "r+b") as file:
        if how == "zeros":
            file.seek(offset)
            file.write(bytes(count))
        if how == "half":
            file.seek(offset + count // 2)
            file.write(bytes(count - count // 2))
        if how == "marker":
            file.seek(offset + count // 2)
            file.write(b"\xff\x3f")
        if how == "cut":
            file.truncate(offset + count // 2)


@pytest.mark.parametrize("how", ["zeros", "half", "marker", "short", "no offset", "no bytes"])
@pytest.mark.parametrize("reader", [CUCIM, "tifffile"])
def test_a_damaged_jpeg_tile_is_named_and_the_others_are_read(tmp_path, reader, how):
    write(tmp_path / "a.tif", picture(), compression="jpeg")
    expected = whole(tmp_path / "a.tif", "tifffile")
    damage(tmp_path / "a.tif", how)
    slide = readers.open_slide(tmp_path / "a.tif", reader)
    for _ in range(2):
        with pytest.raises(SlideError, match=r"level 0, rows 64 to 127.*: tile 7 \(row 1, column 0\)"):
            slide.read(0, 64, -10, 64, 30)
        np.testing.assert_array_equal(slide.read(0, 128, 0, 172, 420), expected[128:])
    slide.close()


def test_openslide_reads_on_after_a_tile_that_it_cannot_decode(tmp_path):
    write(tmp_path / "a.tif", picture(), compression="jpeg")
    expected = whole(tmp_path / "a.tif", "tifffile")
    damage(tmp_path / "a.tif", "zeros")
    slide = readers.open_slide(tmp_path / "a.tif", "openslide")
    for _ in range(2):
        with pytest.raises(SlideError, match="level 0, rows 64 to 93, columns 0 to 29 cannot be read: .*Not a JPEG"):
            slide.read(0, 64, 0, 30, 30)
        np.testing.assert_array_equal(slide.read(0, 128, 0, 172, 420), expected[128:])
    slide.close()


@pytest.mark.parametrize("compression", ["lzw", "zlib", "zstd", "jpeg2000", None])
def test_damage_of_other_tiles_is_an_error_or_other_pixels(tmp_path, compression):
    for how in ("zeros", "half", "short", "no offset", "no bytes"):
        write(tmp_path / "a.tif", picture(), compression=compression)
        damage(tmp_path / "a.tif", how)
        try:
            assert whole(tmp_path / "a.tif", "tifffile").shape == (300, 420, 3)
        except SlideError as error:
            assert "tile 7" in str(error)
        else:
            assert how in ("zeros", "half")


def test_a_tile_beyond_the_end_is_said_to_be_truncated(tmp_path):
    write(tmp_path / "a.tif", picture(), compression="lzw")
    damage(tmp_path / "a.tif", "cut", number=34)
    assert reason(tmp_path / "a.tif").endswith("tile 34 (row 4, column 6) is truncated")


def test_a_file_cut_anywhere_is_an_error_or_still_whole(tmp_path):
    path = tmp_path / "a.tif"
    write(path, picture((130, 130, 3)), levels=2, compression="jpeg")
    expected, content = whole(path, "tifffile"), path.read_bytes()
    refused = 0
    for length in [*range(0, 400, 7), *range(400, len(content), 97)]:
        path.write_bytes(content[:length])
        try:
            found = whole(path, "tifffile")
        except SlideError:
            refused += 1
            continue
        np.testing.assert_array_equal(found, expected)
    assert refused > 100


@pytest.mark.parametrize("reader", EVERY)
def test_what_is_no_slide_is_an_error(tmp_path, reader):
    (tmp_path / "text.svs").write_text("not a slide")
    (tmp_path / "empty.svs").write_bytes(b"")
    os.mkfifo(tmp_path / "pipe.svs")
    assert "cannot be opened" in reason(tmp_path / "text.svs", reader)
    assert "cannot be opened" in reason(tmp_path / "empty.svs", reader)
    assert reason(tmp_path / "pipe.svs", reader) == reason(tmp_path, reader) == "not a regular file"
    assert reason(tmp_path / "gone.svs", reader) == "cannot be opened: No such file or directory"


# Metadata


@pytest.mark.parametrize("reader", EVERY)
def test_the_pixel_size_is_the_resolutions_or_none_for_a_printers(tmp_path, reader):
    write(tmp_path / "a.tif", picture(), resolution=(40000, 20000), resolutionunit="CENTIMETER")
    write(tmp_path / "b.tif", picture(), resolution=(72, 72), resolutionunit="INCH")
    write(tmp_path / "c.tif", picture())
    write(tmp_path / "d.tif", picture(), resolution=(40000, 20000), resolutionunit="NONE")
    sizes = [readers.open_slide(tmp_path / f"{name}.tif", reader).mpp for name in "abcd"]
    assert sizes == [(0.5, 0.25), None, None, None]


def test_ome_metadata_are_read(tmp_path):
    metadata = {"axes": "YXS", "PhysicalSizeX": 250, "PhysicalSizeXUnit": "nm", "PhysicalSizeY": 0.5}
    tifffile.imwrite(tmp_path / "a.ome.tif", picture(), photometric="rgb", tile=(64, 64), metadata=metadata)
    slide = readers.open_slide(tmp_path / "a.ome.tif", "tifffile")
    assert slide.mpp == (0.5, 0.25)
    assert slide.objective_power is None
    slide.close()
    tags = {"resolution": (40000, 20000), "resolutionunit": "CENTIMETER"}  # counts where OME states nothing
    tifffile.imwrite(tmp_path / "b.ome.tif", picture(), photometric="rgb", metadata={"axes": "YXS"}, **tags)
    slide = readers.open_slide(tmp_path / "b.ome.tif", "tifffile")
    assert slide.mpp == (0.5, 0.25)
    slide.close()


def test_an_ome_pyramid_and_its_objective_are_read(tmp_path):
    image = picture((256, 192, 3))
    xml = (
        '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Instrument ID="Instrument:0">'
        '<Objective ID="Objective:0" NominalMagnification="4"/><Objective ID="Objective:1" NominalMagnification="40"/>'
        '</Instrument><Image ID="Image:0"><ObjectiveSettings ID="Objective:1"/><Pixels ID="Pixels:0" Type="uint8" '
        'DimensionOrder="XYCZT" SizeX="192" SizeY="256" SizeC="3" SizeZ="1" SizeT="1" PhysicalSizeX="0.23">'
        '<Channel ID="Channel:0" SamplesPerPixel="3"/><TiffData/></Pixels></Image></OME>'
    )
    pyramid = write(tmp_path / "a.ome.tif", image, levels=3, subifds=True, description=xml)
    slide = readers.open_slide(tmp_path / "a.ome.tif", "tifffile")
    assert (slide.mpp, slide.objective_power) == (None, 40)  # only one of two sizes is stated
    for level, expected in enumerate(pyramid):
        np.testing.assert_array_equal(slide.read(level, 0, 0, *expected.shape[:2]), expected)
    slide.close()


@pytest.mark.parametrize(("stated", "mpp", "power"), [("0.25", 0.25, 20), ("0,25", None, 20), ("0", None, 20)])
def test_aperios_description_is_read_even_if_it_is_odd(tmp_path, stated, mpp, power):
    description = f"Aperio Image Library v11\r\n420x300 (64x64) JPEG/RGB|AppMag = {power}|MPP = {stated}|Filename = a b"
    write(tmp_path / "a.svs", picture(), description=description)
    slide = readers.open_slide(tmp_path / "a.svs", "tifffile")
    assert (slide.mpp, slide.objective_power) == (mpp and (mpp, mpp), power)
    assert slide.properties["aperio.Filename"] == "a b"
    slide.close()


@pytest.mark.parametrize("ground", [3, 240])
def test_a_dark_ground_is_fluorescence(tmp_path, ground):
    image = np.full((400, 500, 3), ground, np.uint8)
    image[100:200, 100:200] = 200, 30, 120
    write(tmp_path / "a.tif", image, levels=2)
    slide = readers.open_slide(tmp_path / "a.tif", "tifffile")
    assert slide.fluorescence is (ground == 3)
    slide.close()


# The choice


def probes(**changes):
    """Make what three probes found that agree, but for these changes."""
    same = {"reason": "", "shapes": [[100, 90]], "mpp": [0.5, 0.5], "vendor": None}
    found = {name: same | {"pixels": {"corner": np.full((9, 9, 3), 7, np.uint8)}} for name in readers.READERS}
    found["openslide"]["vendor"] = "aperio"
    for name, change in changes.items():
        found[name] |= change
    return found


@pytest.mark.parametrize(
    ("changes", "chosen", "why"),
    [
        ({}, "tifffile", "cucim and openslide agree"),
        ({"tifffile": {"reason": "no"}}, "cucim", "tifffile: no"),
        ({"tifffile": {"mpp": None}}, "cucim", "micrometres per pixel (y, x) None, where openslide has [0.5, 0.5]"),
        ({"tifffile": {"mpp": [0.51, 0.5]}}, "cucim", "micrometres per pixel (y, x) [0.51, 0.5]"),
        ({"tifffile": {"shapes": [[100, 91]]}}, "cucim", "levels of 91x100 pixels, where openslide sees 90x100"),
        ({"tifffile": {"pixels": {"corner": np.full((9, 9, 3), 9, np.uint8)}}}, "tifffile", "agree"),
        ({"tifffile": {"pixels": {}}}, "cucim", "cannot read 1 of 1 samples that openslide can"),
        ({"openslide": {"vendor": "generic-tiff", "pixels": {}}}, "tifffile", "cucim agrees"),
        ({"tifffile": {"pixels": {"corner": np.full((9, 9, 3), 4, np.uint8)}}}, "cucim", "up to 3 grey levels"),
        ({"tifffile": {"reason": "no"}, "cucim": {"reason": "never"}}, "openslide", "knows the format"),
        ({"openslide": {"reason": "no"}, "cucim": {"mpp": None}}, "tifffile", "fits the file's tags"),
        (
            {"openslide": {"vendor": "generic-tiff", "mpp": None}, "cucim": {"reason": "never"}},
            "tifffile",
            "not trusted: cucim: never; openslide: micrometres",
        ),
        (
            {"openslide": {"vendor": "generic-tiff"}, "cucim": {"reason": "never"}, "tifffile": {"reason": "no"}},
            "openslide",
            "fits the file's tags",
        ),
    ],
)
def test_who_agrees_with_the_one_that_knows_is_trusted(tmp_path, monkeypatch, changes, chosen, why):
    (tmp_path / "a.svs").touch()
    monkeypatch.setattr(choice, "_probe_all", lambda path: probes(**changes))
    reader, sentence = choice.choose_reader(tmp_path / "a.svs")
    assert reader == chosen
    assert why in sentence and sentence.startswith(f"{chosen}: ")


def test_nobody_is_trusted_unconfirmed_and_a_wrong_request_is_an_error(tmp_path, monkeypatch):
    (tmp_path / "a.svs").touch()
    unknown = {"vendor": "generic-tiff"}
    unread = {"reason": "16 bits", "shapes": None}
    monkeypatch.setattr(choice, "_probe_all", lambda path: probes(openslide=unknown, tifffile=unread))
    with pytest.raises(SlideError, match="tifffile: 16 bits; openslide: nothing confirms what it reads"):
        choice.choose_reader(tmp_path / "a.svs")
    monkeypatch.setattr(choice, "_probe_all", lambda path: probes(cucim={"reason": "killed"}))
    with pytest.raises(SlideError, match="reader 'cucim': killed; tifffile or openslide can read it"):
        choice.choose_reader(tmp_path / "a.svs", "cucim")
    assert choice.choose_reader(tmp_path / "a.svs", "openslide")[1].startswith("openslide, as requested: tifffile agr")


def test_a_damaged_tile_is_no_reason_against_readers(tmp_path):
    write(tmp_path / "a.tif", picture(), compression="jpeg")
    damage(tmp_path / "a.tif", "zeros", number=17)  # in the centre
    reader, why = choice.choose_reader(tmp_path / "a.tif")
    assert reader == "tifffile"
    assert "agree" in why and "not trusted" not in why


@pytest.mark.parametrize(
    ("program", "why"),
    [
        ("import os; os.abort()", "killed by SIGABRT while reading"),
        (f"import os; os.kill(os.getpid(), {int(signal.SIGSEGV)})", "killed by SIGSEGV while reading"),
        ("import signal; signal.alarm(1); open('pipe')", "took more than 60 s"),
        ("import nothing_of_that_name", "failed: ModuleNotFoundError: No module named 'nothing_of_that_name'"),
    ],
)
def test_a_probe_that_crashes_or_hangs_is_a_reason(tmp_path, program, why):
    os.mkfifo(tmp_path / "pipe")
    process = subprocess.Popen([sys.executable, "-c", program], cwd=tmp_path, stderr=subprocess.PIPE)
    assert choice._result(process, tmp_path / "answer.npz")["reason"] == why


# JPEG tiles


@pytest.mark.parametrize("subsampling", ["444", "422", "420"])
@pytest.mark.parametrize("colours", ["RGB", "YCBCR"])
def test_a_jpeg_tile_by_itself_shows_what_the_slide_does(tmp_path, subsampling, colours):
    image = picture()
    arguments = {"level": 90, "subsampling": subsampling, "outcolorspace": colours}
    write(tmp_path / "a.tif", image, compression="jpeg", compressionargs=arguments)
    tiles = jpeg.jpeg_tiles(tmp_path / "a.tif")
    assert (tiles.tile, tiles.shape, tiles.grid) == (64, (300, 420), (5, 7))
    expected = np.zeros((320, 448, 3), np.uint8)
    expected[:300, :420] = tifffile.imread(tmp_path / "a.tif")
    assert np.abs(expected[:300, :420] - image.astype(int)).mean() < 12  # the right colours, not their mistaken names
    for row in range(5):
        for column in range(7):
            found = imagecodecs.jpeg8_decode(tiles.read(row, column))
            height, width = min(64, 300 - row * 64), min(64, 420 - column * 64)
            place = expected[row * 64 : row * 64 + height, column * 64 : column * 64 + width]
            np.testing.assert_array_equal(found[:height, :width], place)
    tiles.close()


@pytest.mark.parametrize("how", ["zeros", "half", "marker", "short", "no offset", "no bytes", "cut"])
def test_a_damaged_jpeg_tile_is_not_kept(tmp_path, how):
    write(tmp_path / "a.tif", picture(), compression="jpeg")
    last = 34
    damage(tmp_path / "a.tif", how, number=last)
    tiles = jpeg.jpeg_tiles(tmp_path / "a.tif")
    tiles.read(4, 5)
    with pytest.raises(SlideError, match=r"tile 34 \(row 4, column 6\)"):
        tiles.read(4, 6)
    tiles.close()


@pytest.mark.parametrize(
    "options",
    [
        {"compression": "lzw"},
        {"compression": "jpeg", "tile": (64, 32)},
        {"compression": "jpeg", "tile": None},
        {"compression": "jpeg", "extratags": [(274, "H", 1, 3, True)]},
        {"compression": "jpeg2000"},
    ],
    ids=str,
)
def test_other_slides_have_no_jpeg_tiles_to_keep(tmp_path, options):
    write(tmp_path / "a.tif", picture(), **options)
    assert jpeg.jpeg_tiles(tmp_path / "a.tif") is None


@pytest.mark.parametrize(("photometric", "jfif"), [(6, b"none"), (2, b"JFIF")])  # 2: as Bio-Formats writes it
def test_a_jpeg_tile_is_ycbcr_if_the_tiff_or_its_own_marker_says_so(tmp_path, photometric, jfif):
    write(tmp_path / "a.tif", picture(), compression="jpeg", compressionargs={"level": 90})
    expected = whole(tmp_path / "a.tif", "tifffile")
    assert np.abs(expected - picture().astype(int)).mean() < 12
    (tmp_path / "a.tif").write_bytes((tmp_path / "a.tif").read_bytes().replace(b"JFIF", jfif))
    with tifffile.TiffFile(tmp_path / "a.tif", mode="r+") as tif:
        tif.pages.first.tags[262].overwrite(photometric)
    np.testing.assert_array_equal(whole(tmp_path / "a.tif", "tifffile"), expected)
    tiles = jpeg.jpeg_tiles(tmp_path / "a.tif")
    np.testing.assert_array_equal(imagecodecs.jpeg8_decode(tiles.read(1, 1)), expected[64:128, 64:128])
    tiles.close()


def test_a_tiles_own_adobe_marker_does_not_overrule_the_tiff(tmp_path):
    arguments = {"level": 90, "outcolorspace": "RGB"}
    write(tmp_path / "a.tif", picture(), compression="jpeg", compressionargs=arguments)
    tiles = jpeg.jpeg_tiles(tmp_path / "a.tif")
    stream = tiles.read(0, 0)
    assert stream.count(b"Adobe") == 1
    np.testing.assert_array_equal(imagecodecs.jpeg8_decode(stream), whole(tmp_path / "a.tif", "tifffile")[:64, :64])
    tiles.close()


def test_grey_and_unreadable_files_have_no_jpeg_tiles_to_keep(tmp_path):
    write(tmp_path / "a.tif", picture()[..., 0], compression="jpeg", photometric="minisblack")
    (tmp_path / "b.tif").write_text("not a slide")
    assert jpeg.jpeg_tiles(tmp_path / "a.tif") is None
    assert jpeg.jpeg_tiles(tmp_path / "b.tif") is None


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
    reader, why = choice.choose_reader(SLIDES / name)
    assert reader == expected, why
    slide = readers.open_slide(SLIDES / name, reader)
    assert (slide.shapes[0], len(slide.shapes)) == (shape, levels)
    assert slide.mpp == (None if mpp is None else pytest.approx((mpp, mpp), abs=5e-5))
    assert (slide.objective_power, slide.fluorescence) == (objective, fluorescence)
    images = slide.associated()
    assert set(images) == associated
    assert all(image.ndim == 3 and image.shape[2] == 3 and image.dtype == np.uint8 for image in images.values())
    slide.close()
    tiles = jpeg.jpeg_tiles(SLIDES / name)
    assert (tiles and tiles.tile) == tile


@real
@pytest.mark.parametrize("name", ["broken.svs", "unopenable.tiff", "unreadable.svs"])
def test_real_files_that_nobody_can_read_are_refused_with_every_readers_reason(name):
    with pytest.raises(SlideError, match="(?s)cucim: .+; tifffile: .+; openslide: .+"):
        choice.choose_reader(SLIDES / name)


@real
def test_cucim_is_refused_where_it_dies_or_mistakes_the_colours():
    with pytest.raises(SlideError, match="SIGSEGV|cannot be|pixels differ"):
        choice.choose_reader(SLIDES / "boxes.tiff", "cucim")
    with pytest.raises(SlideError, match="pixels differ from tifffile's by up to"):
        choice.choose_reader(SLIDES / "OS-2-vsi.ome.tif", "cucim")


@real
def test_three_readers_agree_on_the_aperio_slides():
    for name in ("CMU-1-Small-Region.svs", "tcga-cr-7395-01a-01-ts1.svs"):
        opened = [readers.open_slide(SLIDES / name, reader) for reader in readers.READERS]
        assert len({slide.shapes for slide in opened}) == 1
        assert len({slide.mpp for slide in opened}) == 1
        for y, x in ((0, 0), (901, 1203), (opened[0].shapes[0][0] - 150, -50)):
            regions = [slide.read(0, y, x, 300, 400).astype(int) for slide in opened]
            assert max(np.abs(region - regions[0]).max() for region in regions) <= 1
        for slide in opened:
            slide.close()
