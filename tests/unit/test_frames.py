"""Frames are read exactly, whoever wrote them, or refused with a reason: never a wrong image."""

import logging
import os
import struct
import subprocess
import sys
import warnings
import zlib

import imagecodecs
import imageio.v3 as iio
import numpy as np
import pytest
import tifffile
from PIL import Image

from fieldwork import frames
from fieldwork.frames import FrameError, Plane
from workspace import DATA, SCRIPTS


def noise(shape=(75, 62), dtype="uint16", seed=0):
    """Return noise on a gradient: it can be compressed, and no two rows are alike."""
    values = np.random.default_rng(seed).integers(0, 100, shape) + np.arange(shape[-1])
    return values.astype(dtype)


def read_one(path, **options):
    """Read a file of one plane; return its image."""
    planes = frames.read(path, **options)
    assert len(planes) == 1
    timepoint, z, image, _, _ = planes[0]
    assert (timepoint, z) == (None, None)
    assert image.ndim == 2
    assert image.flags.c_contiguous
    assert image.dtype.isnative
    return image


def same(image, expected):
    assert image.dtype == expected.dtype
    np.testing.assert_array_equal(image, expected)


def stack(path, expected, **options):
    """Check that the file's planes are ``expected``: {(timepoint, z): image}, in that order."""
    planes = frames.read(path, **options)
    assert [plane[:2] for plane in planes] == list(expected)
    for plane in planes:
        same(plane.image, expected[plane[:2]])


# TIFF, one plane


@pytest.mark.parametrize("compression", [None, "lzw", "zlib", "adobe_deflate", "zstd", "packbits", "lzma", "lerc"])
@pytest.mark.parametrize("layout", [{}, {"rowsperstrip": 7}, {"tile": (32, 16)}])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_lossless_tiffs_are_exact(tmp_path, compression, layout, dtype):
    tifffile.imwrite(tmp_path / "a.tif", noise(dtype=dtype), compression=compression, **layout)
    same(read_one(tmp_path / "a.tif"), noise(dtype=dtype))


@pytest.mark.parametrize("compression", ["lzw", "zlib", "zstd"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_predictors_are_undone(tmp_path, compression, dtype):
    tifffile.imwrite(tmp_path / "a.tif", noise(dtype=dtype), compression=compression, predictor=True)
    same(read_one(tmp_path / "a.tif"), noise(dtype=dtype))


@pytest.mark.parametrize("compression", [("jpeg2000", 0), ("jpegxl", 101), ("webp", 100), "png", "jpegxr"], ids=str)
def test_image_codecs_inside_tiff_that_lose_nothing(tmp_path, compression):
    codec, level = compression if isinstance(compression, tuple) else (compression, None)
    options = {"compressionargs": {"lossless": True}} if codec in ("webp", "jpegxl") else {}
    if level is not None and not options:
        options = {"compressionargs": {"level": level}}
    image = np.zeros((64, 64, 3), np.uint8)
    image[..., 2] = noise((64, 64), "uint8")
    try:
        tifffile.imwrite(tmp_path / "a.tif", image, photometric="rgb", compression=codec, **options)
    except (ImportError, AttributeError) as error:
        pytest.skip(f"imagecodecs lacks {codec}: {error}")
    expected = tifffile.imread(tmp_path / "a.tif")[..., 2]
    assert np.abs(expected.astype(int) - image[..., 2]).max() <= (8 if codec == "jpegxr" else 0)
    same(read_one(tmp_path / "a.tif"), expected)


def test_jpeg_in_tiff_is_near(tmp_path):
    smooth = (np.indices((64, 80)).sum(axis=0)).astype(np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", smooth, compression="jpeg", compressionargs={"level": 95})
    assert np.abs(read_one(tmp_path / "a.tif").astype(int) - smooth).max() <= 3


@pytest.mark.parametrize(
    "dtype",
    [
        "uint8",
        "int8",
        "uint16",
        "int16",
        "uint32",
        "int32",
        "uint64",
        "int64",
        "float16",
        "float32",
        "float64",
    ],
)
@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("bigtiff", [False, True])
def test_every_real_dtype_is_kept(tmp_path, dtype, byteorder, bigtiff):
    tifffile.imwrite(tmp_path / "a.tif", noise(dtype=dtype), byteorder=byteorder, bigtiff=bigtiff)
    same(read_one(tmp_path / "a.tif"), noise(dtype=dtype))


@pytest.mark.parametrize("compression", [None, "lzw"])
def test_big_endian_tiles(tmp_path, compression):
    tifffile.imwrite(tmp_path / "a.tif", noise(), byteorder=">", tile=(16, 16), compression=compression)
    same(read_one(tmp_path / "a.tif"), noise())


def test_bilevel_becomes_uint8(tmp_path):
    image = noise() % 2 == 0
    tifffile.imwrite(tmp_path / "a.tif", image, photometric="minisblack")
    same(read_one(tmp_path / "a.tif"), image.astype(np.uint8))
    Image.fromarray(image).save(tmp_path / "b.png")
    same(read_one(tmp_path / "b.png"), image.astype(np.uint8))
    for compression in ("group3", "group4", "tiff_ccitt"):
        Image.fromarray(image).save(tmp_path / "c.tif", compression=compression)
        assert "compressed as a fax" in reason(tmp_path / "c.tif")


@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_adobe_deflate", "packbits", "zstd"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_tiffs_of_another_writer(tmp_path, compression, dtype):
    Image.fromarray(noise(dtype=dtype)).save(tmp_path / "a.tif", compression=compression)
    same(read_one(tmp_path / "a.tif"), noise(dtype=dtype))


@pytest.mark.parametrize(
    "name",
    ["a b.TIF", "r01 (1)[2].tiff", "Zellkerne_ä_細胞核_😐.tif", "no suffix", "film.stk", "<b>.zip.tif"],
)
def test_names_do_not_matter(tmp_path, name):
    tifffile.imwrite(tmp_path / "a.tif", noise())
    (tmp_path / "a.tif").rename(tmp_path / name)
    same(read_one(tmp_path / name), noise())
    same(read_one(str(tmp_path / name)), noise())


# TIFF, many planes


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_plain_pages_are_what_is_said_of_them(tmp_path, compression):
    images = noise((3, 40, 50))
    tifffile.imwrite(tmp_path / "a.tif", images, photometric="minisblack", metadata=None, compression=compression)
    pages = [Image.fromarray(image) for image in images]
    pages[0].save(tmp_path / "b.tif", save_all=True, append_images=pages[1:])
    for image in images:
        tifffile.imwrite(tmp_path / "c.tif", image, append=True)
    for name in "abc":
        path = tmp_path / f"{name}.tif"
        stack(path, {(None, 1): images[0], (None, 2): images[1], (None, 3): images[2]}, pages_are="z")
        stack(path, {(1, None): images[0], (2, None): images[1], (3, None): images[2]}, pages_are="t")
        same(read_one(path, pages_are="c", channel="2"), images[1])
        for options in ({}, {"channel": "2"}):
            assert "holds 3 pages (uint16 " in reason(path, **options)
            assert "does not say what they are: set pages_are (z, c or t)" in reason(path, **options)
        assert "holds 3 channels (without names: 1 to 3)" in reason(path, pages_are="c")


@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}, {"truncate": True}, {"byteorder": ">"}], ids=str)
@pytest.mark.parametrize("kind", ["ome", "imagej", "shaped"])
def test_time_and_z(tmp_path, kind, options):
    if kind == "ome" and "truncate" in options:
        pytest.skip("OME-TIFF lists every page")
    images = noise((2, 3, 40, 50))
    path = tmp_path / ("a.ome.tif" if kind == "ome" else "a.tif")
    options = {**options, "imagej": True} if kind == "imagej" else options
    tifffile.imwrite(path, images, metadata={"axes": "TZYX"}, photometric="minisblack", **options)
    stack(path, {(t + 1, z + 1): images[t, z] for t in range(2) for z in range(3)})


def test_a_plane_is_found_by_its_place(tmp_path):
    images = noise((2, 3, 40, 50))
    tifffile.imwrite(tmp_path / "a.ome.tif", images, metadata={"axes": "TZYX"}, photometric="minisblack")
    tifffile.imwrite(tmp_path / "b.tif", images[0, 0])
    np.testing.assert_array_equal(frames.read_plane(tmp_path / "a.ome.tif", timepoint=2, z=1), images[1, 0])
    np.testing.assert_array_equal(frames.read_plane(tmp_path / "b.tif", timepoint=2, z=None), images[0, 0])
    with pytest.raises(FrameError, match="no plane of this time point and z plane any more, but 6 others"):
        frames.read_plane(tmp_path / "a.ome.tif", timepoint=3, z=1)


@pytest.mark.parametrize("kind", ["ome", "imagej", "shaped"])
def test_channels_without_names_are_refused(tmp_path, kind):
    path = tmp_path / ("a.ome.tif" if kind == "ome" else "a.tif")
    metadata = {"axes": "TZCYX"}
    tifffile.imwrite(
        path, noise((2, 3, 2, 40, 50)), metadata=metadata, photometric="minisblack", imagej=kind == "imagej"
    )
    for channel in ("auto", "w1"):
        with pytest.raises(
            FrameError,
            match=r"^holds 2 channels \(without names: 1 to 2\).* nuclei cannot be told; name it: nuclei_channel ",
        ):
            frames.read(path, channel=channel)


@pytest.mark.parametrize(
    ("names", "stain"),
    [
        (["Actin", "Hoechst 33342", "mtDNA"], 1),
        (["DAPI (transmitted phase)", "GFP", "nuclei"], 2),
        (["Actin", "Tubulin", "mtDNA"], None),
        (["DAPI", "Actin", "Hoechst"], None),
        (["DNA", "Actin", "DNA"], None),
    ],
)
def test_one_stain_among_the_channels_is_taken_and_none_or_several_are_not_guessed_at(tmp_path, names, stain):
    images = noise((3, 40, 50))
    metadata = {"axes": "CYX", "Channel": {"Name": names}}
    tifffile.imwrite(tmp_path / "a.ome.tif", images, metadata=metadata, photometric="minisblack")
    if stain is None:
        with pytest.raises(FrameError) as caught:
            frames.read(tmp_path / "a.ome.tif")
        assert str(caught.value).startswith(f"holds 3 channels ({', '.join(names)}): ")
        same(read_one(tmp_path / "a.ome.tif", channel="Actin"), images[names.index("Actin")])
    else:
        same(read_one(tmp_path / "a.ome.tif"), images[stain])


@pytest.mark.parametrize("order", ["CTZYX", "ZTCYX", "TCZYX"])
def test_ome_channels_are_found_by_name_in_any_order(tmp_path, order):
    shape = [{"C": 3, "T": 2, "Z": 4}[axis] for axis in order[:3]] + [20, 30]
    images = noise(shape)
    metadata = {"axes": order, "Channel": {"Name": ["Actin", "DAPI", "Tubulin"]}}
    tifffile.imwrite(tmp_path / "a.ome.tif", images, metadata=metadata, photometric="minisblack")
    ordered = np.transpose(images, [order.index(axis) for axis in "CTZYX"])
    for channel, index in {"dapi": 1, "TUBULIN": 2, "auto": 1, "w7": 1}.items():
        expected = {(t + 1, z + 1): ordered[index, t, z] for t in range(2) for z in range(4)}
        stack(tmp_path / "a.ome.tif", expected, channel=channel)


def test_one_channel_of_one_plane_has_no_place(tmp_path):
    images = noise((2, 40, 50))
    metadata = {"axes": "CYX", "Channel": {"Name": ["DAPI", "Actin"]}}
    tifffile.imwrite(tmp_path / "a.ome.tif", images, metadata=metadata, photometric="minisblack")
    same(read_one(tmp_path / "a.ome.tif", channel="actin"), images[1])


def ome_set(tmp_path, files, **uuids):
    """Write a set of files: {name: [(c, z), ..]}; the metadata of every file describes all of them."""
    blocks = []
    for name, places in files.items():
        for page, (c, z) in enumerate(places):
            uuid = f'<UUID FileName="{name}">urn:uuid:{name}</UUID>'
            place = f'FirstC="{c}" FirstZ="{z}" FirstT="0" IFD="{page}" PlaneCount="1"'
            blocks.append(f"<TiffData {place}>{uuid}</TiffData>")
    for name, places in files.items():
        xml = (
            f'<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" '
            f'UUID="urn:uuid:{name}"><Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYZCT" '
            f'Type="uint16" SizeX="30" SizeY="20" SizeZ="3" SizeC="2" SizeT="1">'
            f'<Channel ID="C:0" Name="DAPI"/><Channel ID="C:1" Name="Actin"/>{"".join(blocks)}'
            f"</Pixels></Image></OME>"
        )
        with tifffile.TiffWriter(tmp_path / name) as tif:
            for page, (c, z) in enumerate(places):
                image = np.full((20, 30), 100 * c + 10 * z + 1, np.uint16)
                tif.write(image, description=xml if page == 0 else None, metadata=None)


@pytest.mark.parametrize("others_present", [True, False])
def test_of_a_set_of_ome_tiffs_only_this_files_planes_are_read(tmp_path, others_present):
    ome_set(tmp_path, {"a.ome.tif": [(0, 0)], "b.ome.tif": [(1, 1), (1, 2)], "c.ome.tif": [(0, 2), (1, 0)]})
    if not others_present:
        for name in "abc":
            (tmp_path / name).mkdir()
            (tmp_path / f"{name}.ome.tif").rename(tmp_path / name / "renamed.tif")
        paths = {name: tmp_path / name / "renamed.tif" for name in "abc"}
    else:
        paths = {name: tmp_path / f"{name}.ome.tif" for name in "abc"}
    assert read_one(paths["a"]).max() == 1
    actin = {(None, 2): np.full((20, 30), 111, np.uint16), (None, 3): np.full((20, 30), 121, np.uint16)}
    stack(paths["b"], actin, channel="actin")
    assert read_one(paths["c"]).max() == 21
    assert read_one(paths["c"], channel="ACTIN").max() == 101
    stack(paths["b"], actin, channel="w2")  # the only channel in this file, whatever its name
    with pytest.raises(FrameError, match="'dapi' of DAPI, Actin is in another file"):
        frames.read(paths["b"], channel="dapi")


def test_files_of_a_set_that_have_each_others_names_are_told_by_their_uuids(tmp_path):
    ome_set(tmp_path, {"a.ome.tif": [(0, 0)], "b.ome.tif": [(1, 0)]})
    (tmp_path / "a.ome.tif").rename(tmp_path / "c.ome.tif")
    (tmp_path / "b.ome.tif").rename(tmp_path / "a.ome.tif")
    (tmp_path / "c.ome.tif").rename(tmp_path / "b.ome.tif")
    assert read_one(tmp_path / "a.ome.tif", channel="actin").max() == 101
    assert "is in another file" in reason(tmp_path / "b.ome.tif", channel="actin")


def test_files_of_a_set_that_have_one_uuid_are_told_by_their_names(tmp_path):
    ome_set(tmp_path, {"a.ome.tif": [(0, 0)], "b.ome.tif": [(1, 0)]})
    for name in ("a.ome.tif", "b.ome.tif"):
        comment = tifffile.tiffcomment(tmp_path / name)
        tifffile.tiffcomment(tmp_path / name, comment.replace(":a.ome", ":b.ome").encode())
    assert read_one(tmp_path / "b.ome.tif", channel="actin").max() == 101
    assert "is in another file" in reason(tmp_path / "a.ome.tif", channel="actin")


def test_ome_metadata_of_more_pages_than_there_are_give_no_zeros(tmp_path):
    images = noise((5, 40, 50))
    tifffile.imwrite(tmp_path / "a.ome.tif", images, metadata={"axes": "ZYX"})
    xml = tifffile.tiffcomment(tmp_path / "a.ome.tif").replace('SizeZ="5"', 'SizeZ="9"')
    tifffile.tiffcomment(tmp_path / "a.ome.tif", xml.encode())
    assert reason(tmp_path / "a.ome.tif") == "5 of 9 planes are there: of 1 not z 6, z 7, z 8, z 9"


@pytest.mark.parametrize(
    ("written", "replacement"),
    [
        ('SizeZ="1"', 'SizeZ="99999999999"'),
        ('PlaneCount="1"', 'PlaneCount="99999999999"'),
        ("</Pixels>", "</Pixels><ModuloAlongZ/>"),
    ],
)
def test_monstrous_ome_metadata_are_refused(tmp_path, written, replacement):
    tifffile.imwrite(tmp_path / "a.ome.tif", noise(), metadata={"axes": "YX"})
    xml = tifffile.tiffcomment(tmp_path / "a.ome.tif")
    assert written in xml
    tifffile.tiffcomment(tmp_path / "a.ome.tif", xml.replace(written, replacement).encode())
    with pytest.raises(FrameError, match="OME metadata of"):
        frames.read(tmp_path / "a.ome.tif")


def test_metadata_that_are_not_xml_leave_the_page(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", noise(), description="<OME xmlns=' <<< </OME>", metadata=None)
    same(read_one(tmp_path / "a.tif"), noise())


@pytest.mark.parametrize("thumbnail", [{"subfiletype": 1}, None])
def test_pyramids_and_thumbnails_give_the_full_size(tmp_path, thumbnail):
    image = noise((128, 160))
    with tifffile.TiffWriter(tmp_path / "a.tif") as tif:
        if thumbnail:
            tif.write(image, metadata=None)
            tif.write(image[::5, ::5], metadata=None, **thumbnail)
        else:
            tif.write(image, subifds=2, tile=(32, 32))
            tif.write(image[::2, ::2], subfiletype=1, tile=(32, 32))
            tif.write(image[::4, ::4], subfiletype=1, tile=(32, 32))
    same(read_one(tmp_path / "a.tif"), image)


@pytest.mark.parametrize(("shape", "axes"), [((2, 3, 20, 30), "HZYX"), ((2, 3, 20, 30), "QZYX"), ((4, 20, 30), "RYX")])
def test_further_axes_are_named(tmp_path, shape, axes):
    tifffile.imwrite(tmp_path / "a.tif", noise(shape), metadata={"axes": axes}, photometric="minisblack")
    with pytest.raises(FrameError, match=axes):
        frames.read(tmp_path / "a.tif")


def test_several_images_of_different_shapes_are_named(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", noise((40, 50)))
    tifffile.imwrite(tmp_path / "a.tif", noise((40, 60)), append=True)
    with pytest.raises(FrameError, match=r"\(40, 50\).*\(40, 60\).*expected one image"):
        frames.read(tmp_path / "a.tif")


def test_several_ome_images_are_not_z_planes(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.ome.tif") as tif:
        tif.write(noise(), metadata={"axes": "YX"})
        tif.write(noise(), metadata={"axes": "YX"})
    with pytest.raises(FrameError, match="expected one image"):
        frames.read(tmp_path / "a.ome.tif")


# Colours


def blue(dtype="uint8", bands=3):
    image = np.zeros((40, 50, bands), dtype)
    image[..., 2] = noise((40, 50), dtype)
    image[..., 0] = 7
    if bands == 4:
        image[..., 3] = np.indices((40, 50)).sum(axis=0) % 2 * 255  # livelier than the signal
    return image


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("bands", [3, 4])
@pytest.mark.parametrize("compression", [None, "lzw"])
@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_the_colour_with_the_signal_is_taken(tmp_path, dtype, bands, compression, planar):
    image = blue(dtype, bands)
    pixels = image if planar == "contig" else np.moveaxis(image, 2, 0)
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb", planarconfig=planar, compression=compression)
    same(read_one(tmp_path / "a.tif"), image[..., 2])


@pytest.mark.parametrize("suffix", ["png", "bmp", "gif"])
@pytest.mark.parametrize("bands", [3, 4])
def test_the_colour_with_the_signal_of_other_formats(tmp_path, suffix, bands):
    image = blue(bands=bands)
    if suffix == "gif":
        image = image[..., :3] // 2 * 2
    Image.fromarray(image).save(tmp_path / f"a.{suffix}")
    expected = image[..., 2]
    if suffix == "gif":  # a palette, whose unused colours are black
        expected = np.asarray(Image.open(tmp_path / "a.gif").convert("RGB")).sum(axis=2, dtype=np.uint16)
    same(read_one(tmp_path / f"a.{suffix}"), expected)


def test_jpeg_keeps_the_signals_colour(tmp_path):
    smooth = np.zeros((64, 64, 3), np.uint8)
    smooth[..., 2] = 3 * np.indices((64, 64))[0]
    iio.imwrite(tmp_path / "a.jpg", smooth, quality=95)
    assert np.abs(read_one(tmp_path / "a.jpg", channel="blue").astype(int) - smooth[..., 2]).max() < 20
    assert reason(tmp_path / "a.jpg").startswith("several colours show signal (red 0 to ")  # it is lossy


@pytest.mark.parametrize("suffix", ["tif", "png"])
def test_grey_stored_as_colours(tmp_path, suffix):
    image = noise(dtype="uint8")
    iio.imwrite(tmp_path / f"a.{suffix}", np.stack([image] * 3, axis=-1))
    same(read_one(tmp_path / f"a.{suffix}"), image)


@pytest.mark.parametrize("suffix", ["tif", "png"])
def test_several_colours_that_vary_are_refused_with_figures_unless_one_is_named(tmp_path, suffix):
    image = blue()
    image[..., 1] = image[::-1, :, 2]
    iio.imwrite(tmp_path / f"a.{suffix}", image)
    low, high = image[..., 2].min(), image[..., 2].max()
    assert reason(tmp_path / f"a.{suffix}") == (
        f"several colours show signal (red 7 to 7, green {low} to {high}, blue {low} to {high}): which shows the "
        "nuclei cannot be told; name it: nuclei_channel (of a plate) or stack.channel: red, green or blue"
    )
    for number, name in enumerate(["red", "green", "blue"]):
        same(read_one(tmp_path / f"a.{suffix}", channel=name), image[..., number])
        same(read_one(tmp_path / f"a.{suffix}", channel=number), image[..., number])


def spots(amplitude, seed=0):
    """Return Gaussian spots of sigma 4 on the grey level 8, with noise of standard deviation 1."""
    random, (rows, columns) = np.random.default_rng(seed), np.mgrid[:120, :160]
    image = random.normal(8, 1, (120, 160))
    for row, column in ((20, 30), (60, 50), (90, 120), (40, 110)):
        image += amplitude * np.exp(-((rows - row - seed) ** 2 + (columns - column) ** 2) / 32)
    return image.clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("suffix", ["tif", "png"])
def test_a_colour_beside_noise_is_taken_and_one_beside_a_dim_colour_is_not(tmp_path, suffix):
    alone = np.stack([spots(0, 1), spots(0, 2), spots(60)], axis=-1)
    iio.imwrite(tmp_path / f"a.{suffix}", alone)
    same(read_one(tmp_path / f"a.{suffix}"), alone[..., 2])
    for dim in (2, 4, 8):  # in noise of 1
        iio.imwrite(tmp_path / f"b.{suffix}", np.stack([spots(200, 1), spots(0, 2), spots(dim)], axis=-1))
        assert reason(tmp_path / f"b.{suffix}").startswith("several colours show signal (red ")
    noise_alone = np.stack([spots(0, seed) for seed in range(3)], axis=-1)
    iio.imwrite(tmp_path / f"c.{suffix}", noise_alone)
    assert reason(tmp_path / f"c.{suffix}").startswith("no colour shows signal (red ")


def test_the_form_of_a_colour_image_names_what_was_taken_and_is_open_where_nothing_varies(tmp_path):
    images = {
        "blue": np.stack([spots(0) * 0, spots(0) * 0, spots(60)], axis=-1),
        "red": np.stack([spots(60), spots(0, 1), spots(0) * 0], axis=-1),
        "equal": np.stack([spots(60)] * 3, axis=-1),
        "flat": np.full((120, 160, 3), 8, np.uint8),
    }
    forms = {}
    for name, image in images.items():
        iio.imwrite(tmp_path / f"{name}.png", image)
        forms[name] = frames.read(tmp_path / f"{name}.png")[0].colours
    assert forms == {
        "blue": " in 3 colours, of which blue alone shows signal",
        "red": " in 3 colours, of which red alone shows signal",
        "equal": "",
        "flat": " in 3 colours",
    }
    plate = [forms[name] for name in ("blue", "flat", "flat", "flat", "blue", "red")]
    usual = frames.usual_form(plate)
    assert usual == forms["blue"]
    assert [frames.has_form(form, usual) for form in plate] == [True, True, True, True, True, False]
    assert frames.usual_form([forms["blue"], forms["red"], forms["equal"]]) is None
    assert not frames.has_form("", usual)
    assert frames.usual_form([forms["equal"], forms["flat"], forms["flat"], forms["equal"], forms["red"]]) == ""
    assert frames.has_form(forms["flat"], "") and frames.has_form("", forms["flat"])


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_inverted_grey_is_inverted_back_with_a_note(tmp_path, dtype):
    image = noise(dtype=dtype)
    tifffile.imwrite(tmp_path / "a.tif", np.iinfo(dtype).max - image, photometric="miniswhite")
    same(read_one(tmp_path / "a.tif"), image)
    assert frames.read(tmp_path / "a.tif")[0].notes[0].startswith("stored inverted (WhiteIsZero)")
    bilevel = image % 2 == 0
    Image.fromarray(bilevel).save(tmp_path / "b.tif", tiffinfo={262: 0})
    assert (np.asarray(Image.open(tmp_path / "b.tif")) == bilevel).all()
    same(read_one(tmp_path / "b.tif"), bilevel.astype(np.uint8))
    tifffile.imwrite(tmp_path / "c.tif", image.astype(np.float32), photometric="miniswhite")
    assert reason(tmp_path / "c.tif").startswith("float32 stored inverted (WhiteIsZero): what is white cannot be told")


@pytest.mark.parametrize("options", [{}, {"ome": True, "metadata": {"axes": "ZYX"}}, {"photometric": "minisblack"}])
def test_masks_that_tifffile_wrote_are_as_they_were(tmp_path, options):
    masks = noise((3, 40, 50)) % 3 == 0
    tifffile.imwrite(tmp_path / "a.tif", masks, **options)
    assert tifffile.TiffFile(tmp_path / "a.tif").pages[0].photometric == (1 if "photometric" in options else 0)
    read = frames.read(tmp_path / "a.tif", pages_are="z")
    same(np.stack([plane.image for plane in read]), masks.astype(np.uint8))
    assert all(bool(plane.notes) == ("photometric" not in options) for plane in read)


@pytest.mark.parametrize("kind", ["heat", "blue", "grey", "reversed grey"])
def test_palettes_count_in_the_same_way_in_tiff_and_png(tmp_path, kind):
    image, ramp = noise(dtype="uint8"), np.arange(256)
    palette = {
        "heat": np.stack([np.minimum(255, 3 * ramp), (3 * ramp - 255).clip(0, 255), (3 * ramp - 510).clip(0, 255)]),
        "blue": np.stack([ramp * 0, ramp * 0, ramp]),
        "grey": np.stack([ramp] * 3),
        "reversed grey": np.stack([255 - ramp] * 3),
    }[kind].astype(np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", image, photometric="palette", colormap=palette.astype(np.uint16) * 257)
    picture = Image.fromarray(image)
    picture.putpalette(palette.T.tobytes())
    picture.save(tmp_path / "a.png")
    assert picture.mode == "P"
    coloured = np.asarray(Image.open(tmp_path / "a.png").convert("RGB"))
    expected = coloured.sum(axis=2, dtype=np.uint16) if kind == "heat" else coloured[..., 2]
    for suffix in ("tif", "png"):
        same(read_one(tmp_path / f"a.{suffix}"), expected)
        plane = frames.read(tmp_path / f"a.{suffix}")[0]
        assert bool(plane.notes) == (kind != "grey")
        assert plane.colours == {"heat": " of a palette", "blue": " of a palette of blue alone"}.get(kind, "")


def test_grey_with_alpha(tmp_path):
    image = noise(dtype="uint8")
    alpha = np.indices(image.shape).sum(axis=0).astype(np.uint8) % 2 * 255
    Image.fromarray(np.stack([image, alpha], axis=-1)).save(tmp_path / "a.png")
    same(read_one(tmp_path / "a.png"), image)
    pixels = np.stack([image, alpha], axis=-1)
    options = {"photometric": "minisblack", "planarconfig": "contig", "extrasamples": ["unassalpha"]}
    tifffile.imwrite(tmp_path / "a.tif", pixels, **options)
    same(read_one(tmp_path / "a.tif"), image)


def test_cmyk_is_refused(tmp_path):
    Image.fromarray(noise((40, 50, 4), "uint8"), mode="CMYK").save(tmp_path / "a.jpg")
    Image.fromarray(noise((40, 50, 4), "uint8"), mode="CMYK").save(tmp_path / "a.tif")
    with pytest.raises(FrameError, match="CMYK"):
        frames.read(tmp_path / "a.jpg")
    with pytest.raises(FrameError, match="colours stored as"):
        frames.read(tmp_path / "a.tif")


# PNG, JPEG, BMP


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_grey_png(tmp_path, dtype):
    iio.imwrite(tmp_path / "a.PNG", noise(dtype=dtype))
    same(read_one(tmp_path / "a.PNG"), noise(dtype=dtype))


@pytest.mark.parametrize("bands", [2, 3, 4])
def test_16_bit_colours_of_a_png_keep_16_bits(tmp_path, bands):
    image = np.zeros((40, 50, bands), np.uint16)
    image[..., 0] = noise((40, 50)) + 40000
    (tmp_path / "a.png").write_bytes(imagecodecs.png_encode(image))
    same(read_one(tmp_path / "a.png"), image[..., 0])


def test_grey_bmp_jpeg_and_palettes(tmp_path):
    smooth = np.indices((64, 80)).sum(axis=0).astype(np.uint8)
    iio.imwrite(tmp_path / "a.bmp", smooth)
    same(read_one(tmp_path / "a.bmp"), smooth)
    iio.imwrite(tmp_path / "a.jpeg", smooth, quality=95)
    assert np.abs(read_one(tmp_path / "a.jpeg").astype(int) - smooth).max() <= 3
    palette = Image.fromarray(smooth).convert("P")
    palette.putpalette([value for index in range(256) for value in (0, index, 0)])
    palette.save(tmp_path / "b.png")
    same(read_one(tmp_path / "b.png"), smooth)  # green: the palette applied
    palette.save(tmp_path / "b.tif")
    same(read_one(tmp_path / "b.tif"), smooth)


def test_animations_are_refused(tmp_path):
    images = [Image.fromarray(noise(dtype="uint8", seed=seed)) for seed in range(3)]
    images[0].save(tmp_path / "a.gif", save_all=True, append_images=images[1:])
    with pytest.raises(FrameError, match="found 3 image"):
        frames.read(tmp_path / "a.gif")


# Files that are no images


def reason(path, **options):
    with pytest.raises(FrameError) as caught:
        frames.read(path, **options)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400
    return str(caught.value)


@pytest.mark.parametrize("suffix", ["tif", "png", "TIFF", "xyz"])
def test_files_that_are_not_there(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    assert reason(path) == "not read: No such file or directory"
    path.symlink_to("gone.tif")
    assert reason(path) == "not read: broken link to gone.tif"
    path.unlink()
    path.mkdir()
    assert "folder" in reason(path)
    assert reason(path / "b.tif") == "not read: No such file or directory"
    path.rmdir()
    path.write_bytes(b"")
    assert reason(path) == "empty file (0 bytes)"
    path.write_bytes(b"Well,Count\nB02,7\n")
    assert "begins with b'Well,Cou'" in reason(path)
    path.unlink()
    os.mkfifo(path)
    assert reason(path) == "not a regular file"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", noise())
    (tmp_path / "a.tif").chmod(0)
    assert "Permission denied" in reason(tmp_path / "a.tif")


def test_an_image_of_another_type_is_named(tmp_path):
    iio.imwrite(tmp_path / "a.png", noise())
    (tmp_path / "a.png").rename(tmp_path / "a.tif")
    assert reason(tmp_path / "a.tif").endswith("like a PNG file")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("bands", [1, 3])
def test_pixels_that_are_not_finite_are_counted(tmp_path, value, bands):
    image = np.zeros((20, 30, bands), np.float32).squeeze()
    image[3, 4:6] = value
    tifffile.imwrite(tmp_path / "a.tif", image, photometric="rgb" if bands == 3 else "minisblack")
    assert reason(tmp_path / "a.tif") == f"{2 * bands} of {600 * bands} pixels are NaN or infinite"


@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
def test_complex_numbers_are_refused(tmp_path, dtype):
    tifffile.imwrite(tmp_path / "a.tif", noise(dtype=dtype))
    assert "COMPLEX" in reason(tmp_path / "a.tif")


def tag_changed(path, code, value):
    """Write another value for a tag of the first page."""
    with tifffile.TiffFile(path, mode="r+") as tif:
        tif.pages[0].tags[code].overwrite(value)


@pytest.mark.parametrize(
    ("code", "value", "why"),
    [
        (256, 0, "at least one value"),
        (257, 2**31, "at most 268435456"),
        (256, 20000, "truncated: its pixels go on to byte"),
        (258, 65, "65 bits"),
        (259, 9999, "9999"),
        (259, 34712, "cannot be decoded"),
        (273, 0, "without data"),
        (273, 10**6, "truncated"),
        (279, 0, "without data"),
    ],
)
@pytest.mark.parametrize("bigtiff", [False, True])
def test_damaged_headers_are_explained_before_anything_is_allocated(tmp_path, code, value, why, bigtiff):
    tifffile.imwrite(tmp_path / "a.tif", noise(), metadata=None, bigtiff=bigtiff)
    tag_changed(tmp_path / "a.tif", code, value)
    assert why in reason(tmp_path / "a.tif")


@pytest.mark.parametrize("tag", [324, 325])
def test_a_tile_without_data_is_refused(tmp_path, tag):
    tifffile.imwrite(tmp_path / "a.tif", noise((64, 64)), tile=(16, 16), compression="zlib", metadata=None)
    with tifffile.TiffFile(tmp_path / "a.tif") as tif:
        values = list(tif.pages[0].tags[tag].value)
    assert len(values) == 16
    tag_changed(tmp_path / "a.tif", tag, [*values[:7], 0, *values[8:]])
    assert "without data" in reason(tmp_path / "a.tif")


@pytest.mark.parametrize("pages", [1, 3, 150])
def test_a_list_of_pages_that_goes_in_a_circle_ends(tmp_path, pages):
    tifffile.imwrite(tmp_path / "a.tif", noise((pages, 8, 8)), photometric="minisblack", metadata=None)
    content = bytearray((tmp_path / "a.tif").read_bytes())
    with tifffile.TiffFile(tmp_path / "a.tif") as tif:
        struct.pack_into("<I", content, tif.pages.next_page_offset, tif.pages[0].offset)
    (tmp_path / "a.tif").write_bytes(content)
    assert f"its {pages} pages goes in a circle" in reason(tmp_path / "a.tif")


def samples(folder):
    """Write files in every way; return their paths."""
    image, pages = noise((40, 50)), noise((3, 20, 30), seed=1)
    small = noise((40, 50), "uint8")
    smooth = np.indices((40, 50)).sum(axis=0).astype(np.uint8)
    tifffile.imwrite(folder / "plain.tif", image)
    tifffile.imwrite(folder / "bare.tif", image, metadata=None, rowsperstrip=9)
    for compression in ("lzw", "zlib", "zstd", "packbits", "jpeg2000"):
        tifffile.imwrite(folder / f"{compression}.tif", image, compression=compression, tile=(16, 16))
    tifffile.imwrite(folder / "pages.tif", pages, photometric="minisblack", metadata=None, compression="zlib")
    tifffile.imwrite(folder / "shaped.tif", pages, photometric="minisblack")
    tifffile.imwrite(folder / "single.tif", pages, photometric="minisblack", truncate=True)
    tifffile.imwrite(folder / "imagej.tif", pages, imagej=True, metadata={"axes": "ZYX"})
    tifffile.imwrite(folder / "big.ome.tif", pages, metadata={"axes": "ZYX"}, bigtiff=True, byteorder=">")
    Image.fromarray(small).save(folder / "pillow.tif")
    Image.fromarray(small).save(folder / "libtiff.tif", compression="tiff_lzw")
    Image.fromarray(blue()).save(folder / "colour.tif", compression="tiff_adobe_deflate")
    iio.imwrite(folder / "grey.png", image)
    (folder / "deep.png").write_bytes(imagecodecs.png_encode(np.stack([image, image * 0, image * 0], axis=-1)))
    Image.fromarray(small).save(folder / "grey.bmp")
    Image.fromarray(smooth).save(folder / "grey.jpg")
    Image.fromarray(smooth).save(folder / "progressive.jpg", progressive=True)
    Image.fromarray(smooth).save(folder / "grey.gif")
    return sorted(folder.iterdir())


def test_a_file_cut_anywhere_is_refused_or_still_whole(tmp_path):
    (tmp_path / "whole").mkdir()
    rng = np.random.default_rng(11)
    refused = 0
    for path in samples(tmp_path / "whole"):
        expected = frames.read(path, pages_are="z")
        content = path.read_bytes()
        cut = tmp_path / path.name
        last = range(max(0, len(content) - 200), len(content))
        for length in {
            *range(0, min(len(content), 700), 3),
            *last,
            *rng.integers(0, len(content), 80).tolist(),
        }:
            cut.unlink(missing_ok=True)  # ext4 flushes a file that is written anew: 2 ms
            cut.write_bytes(content[:length])
            try:
                planes = frames.read(cut, pages_are="z")
            except FrameError:
                refused += 1
                continue
            assert [plane[:2] for plane in planes] == [plane[:2] for plane in expected], (path.name, length)
            for plane, original in zip(planes, expected, strict=True):
                np.testing.assert_array_equal(plane.image, original.image, err_msg=f"{path.name} cut to {length}")
    assert refused > 4000


def test_damaged_bytes_give_an_array_or_an_error(tmp_path):
    (tmp_path / "whole").mkdir()
    rng = np.random.default_rng(5)
    refused = read = 0
    for path in samples(tmp_path / "whole"):
        content = np.frombuffer(path.read_bytes(), np.uint8)
        broken = tmp_path / path.name
        for turn in range(150):
            bytes_ = content.copy()
            where = rng.integers(0, len(content) if turn % 2 else min(len(content), 400), rng.integers(1, 4))
            bytes_[where] = rng.integers(0, 256, len(where)) if turn % 3 else bytes_[where] ^ 128
            broken.unlink(missing_ok=True)  # as above
            broken.write_bytes(bytes_.tobytes())
            try:
                planes = frames.read(broken, pages_are="z")
            except FrameError:
                refused += 1
            else:
                read += 1
                assert planes
                assert all(plane.image.ndim == 2 and plane.image.size for plane in planes)
    assert refused > 300
    assert read > 300


@pytest.mark.parametrize("start", [b"", *frames.TIFF_SIGNATURES, *frames.OTHER_SIGNATURES], ids=repr)
def test_random_bytes_are_refused(tmp_path, start):
    rng = np.random.default_rng(3)
    for length in (1, 2, 7, 30, 31, 32, 33, 100, 5000):
        for suffix in ("tif", "png", "bmp"):
            path = tmp_path / f"a.{suffix}"
            path.write_bytes(start + rng.bytes(length))
            reason(path)


# Manners


def test_nothing_is_logged_or_warned_and_other_users_keep_tifffiles_log(tmp_path, caplog):
    tifffile.imwrite(tmp_path / "a.tif", noise((64, 64)), tile=(16, 16), metadata=None)
    content = (tmp_path / "a.tif").read_bytes().replace(b"tifffile.py", b"tifffile\xff\xff\xff")
    tag_changed(tmp_path / "a.tif", 322, 0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        reason(tmp_path / "a.tif")
        (tmp_path / "b.tif").write_bytes(content)
        read_one(tmp_path / "b.tif")
    assert not caplog.records
    logging.getLogger("tifffile").warning("of another part of the program")
    assert len(caplog.records) == 1


def test_large_images_are_refused_by_their_header_without_a_warning(tmp_path):
    header = struct.pack(">IIBBBBB", 40000, 40000, 8, 0, 0, 0, 0)
    chunk = b"IHDR" + header
    content = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    (tmp_path / "a.png").write_bytes(content + b"\0\0\0\0IDAT" + struct.pack(">I", zlib.crc32(b"IDAT")))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        reason(tmp_path / "a.png")


def test_interrupts_are_not_swallowed(tmp_path, monkeypatch):
    tifffile.imwrite(tmp_path / "a.tif", noise())
    for stop in (KeyboardInterrupt, SystemExit):

        def interrupted(*args, stop=stop, **options):
            raise stop

        monkeypatch.setattr(tifffile.TiffPage, "asarray", interrupted)
        with pytest.raises(stop):
            frames.read(tmp_path / "a.tif")


def test_running_out_of_memory_is_a_reason(tmp_path, monkeypatch):
    tifffile.imwrite(tmp_path / "a.tif", noise())

    def full(*args, **options):
        raise MemoryError("Unable to\nallocate")

    monkeypatch.setattr(tifffile.TiffPage, "asarray", full)
    assert reason(tmp_path / "a.tif") == "not read: Cannot allocate memory"


def test_no_threads_are_started_and_no_reader_is_imported_in_vain(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", noise((600, 600)), compression="zlib", rowsperstrip=5)
    program = (
        "import sys, threading\n"
        "from fieldwork import frames\n"
        "threading.Thread.start = None\n"
        f"frames.read({str(tmp_path / 'a.tif')!r})\n"
        "print(sorted({'PIL', 'imageio', 'scipy'} & set(sys.modules)))"
    )
    environment = {**os.environ, "PYTHONPATH": str(SCRIPTS)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


# Real plates


@pytest.mark.skipif(not (DATA / "plates").is_dir(), reason="the real plates are not here")
def test_every_image_of_the_real_plates_is_read_as_tifffile_does():
    paths = [path for path in (DATA / "plates").rglob("*") if path.suffix.lower() == ".tif"]
    assert len(paths) > 50
    for path in paths:
        assert isinstance(frames.read(path)[0], Plane)
        same(read_one(path), tifffile.imread(path))


@pytest.mark.skipif(not (DATA / "annotated" / "images").is_dir(), reason="the annotated fields are not here")
def test_every_annotated_field_is_read():
    paths = sorted((DATA / "annotated" / "images").glob("*.png"))
    assert len(paths) > 200
    for path in paths:
        same(read_one(path), np.asarray(Image.open(path)))


def test_an_image_of_the_file_and_a_page_of_that_are_chosen_by_number(tmp_path):
    images = noise((3, 40, 50))
    tifffile.imwrite(tmp_path / "a.tif", images, photometric="minisblack", metadata=None)
    same(read_one(tmp_path / "a.tif", frame=1), images[1])
    same(read_one(tmp_path / "a.tif", series=0, frame=2), images[2])
    assert reason(tmp_path / "a.tif", frame=3) == "has 3 pages, numbered from 0; the image list names frame 3"
    assert "the image list names image 1" in reason(tmp_path / "a.tif", series=1)
    with tifffile.TiffWriter(tmp_path / "b.ome.tif", ome=True) as tif:
        tif.write(noise((2, 3, 20, 30)), metadata={"axes": "CZYX"}, photometric="minisblack")
        tif.write(images, metadata={"axes": "ZYX"}, photometric="minisblack")
    same(read_one(tmp_path / "b.ome.tif", series=1, frame=2), images[2])
    same(read_one(tmp_path / "b.ome.tif", series=0, frame=4), noise((2, 3, 20, 30))[1, 1])
    stack(tmp_path / "b.ome.tif", {(None, z + 1): images[z] for z in range(3)}, series=1)
    assert "Series_<Channel>" in reason(tmp_path / "b.ome.tif", frame=0)
    assert reason(tmp_path / "b.ome.tif", series=2) == "has no image 2 (Series_); its OME metadata have 0, 1"
    iio.imwrite(tmp_path / "c.png", images[0])
    same(read_one(tmp_path / "c.png", series=0, frame=0), images[0])
    assert "which has one image" in reason(tmp_path / "c.png", frame=1)


@pytest.mark.parametrize("kind", ["contig", "separate"])
@pytest.mark.parametrize("count", [2, 5])
def test_samples_that_are_no_colours_are_what_is_said_of_them(tmp_path, kind, count):
    images = noise((count, 40, 50))
    pixels = images if kind == "separate" else np.moveaxis(images, 0, -1)
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="minisblack", planarconfig=kind, metadata=None)
    assert f"holds {count} samples a pixel that are no colours" in reason(tmp_path / "a.tif")
    same(read_one(tmp_path / "a.tif", pages_are="c", channel="2"), images[1])
    stack(tmp_path / "a.tif", {(None, z + 1): images[z] for z in range(count)}, pages_are="z")


def test_samples_that_a_description_names_are_channels(tmp_path):
    images = noise((3, 40, 50))
    tifffile.imwrite(tmp_path / "a.tif", images, metadata={"axes": "CYX"}, photometric="rgb", planarconfig="separate")
    same(read_one(tmp_path / "a.tif", channel="3"), images[2])
    assert "holds 3 channels (without names: 1 to 3)" in reason(tmp_path / "a.tif")


OME = "http://www.openmicroscopy.org/Schemas/OME/2016-06"


def ome_xml(blocks, *, root="", z=3, names=("GFP", "DAPI", "Actin")):
    channels = "".join(f'<Channel ID="Channel:0:{number}" Name="{name}"/>' for number, name in enumerate(names))
    return (
        f'<OME xmlns="{OME}" {root}><Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint16" '
        f'SizeX="50" SizeY="40" SizeZ="{z}" SizeC="{len(names)}" SizeT="1">{channels}{blocks}</Pixels></Image></OME>'
    )


def blocks_of(count, *, file="", z=3):
    uuid = f'<UUID FileName="{file}">urn:uuid:of-{file}</UUID>' if file else ""
    return "".join(
        f'<TiffData IFD="{page}" FirstZ="{page % z}" FirstC="{page // z}" PlaneCount="1">{uuid}</TiffData>'
        for page in range(count)
    )


@pytest.mark.parametrize(
    ("blocks", "pages", "faults"),
    [
        ("<TiffData/>", 3, {"w1": "3 of 9 planes are there: none of DAPI; none of Actin", "gfp": None}),
        (blocks_of(9), 3, {"w1": "3 of 9 planes are there: none of DAPI; none of Actin", "gfp": None}),
        (blocks_of(3), 3, {"w1": "3 of 9 planes are there: none of DAPI; none of Actin", "gfp": None}),
        ("<TiffData/>", 4, {"w1": "4 of 9 planes are there: of DAPI not z 2, z 3; none of Actin", "GFP": None}),
        ("<TiffData/>", 6, {"w1": None, "actin": "6 of 9 planes are there: none of Actin"}),
    ],
)
def test_fewer_pages_than_ome_metadata_declare_are_named(tmp_path, blocks, pages, faults):
    images = noise((pages, 40, 50))
    description = ome_xml(blocks)
    tifffile.imwrite(tmp_path / "a.ome.tif", images, photometric="minisblack", metadata=None, description=description)
    for channel, fault in faults.items():
        if fault:
            assert reason(tmp_path / "a.ome.tif", channel=channel) == fault
        else:
            start = 0 if channel.lower() == "gfp" else 3
            stack(tmp_path / "a.ome.tif", {(None, z + 1): images[start + z] for z in range(3)}, channel=channel)


@pytest.mark.parametrize(
    ("blocks", "is_clear"),
    [
        ('<TiffData IFD="0" FirstC="0" PlaneCount="1"/><TiffData IFD="0" FirstC="1" PlaneCount="1"/>', False),
        ('<TiffData FirstC="0" PlaneCount="1"/><TiffData FirstC="1" PlaneCount="1"/>', False),
        ('<TiffData IFD="0" FirstC="0"/><TiffData IFD="1" FirstC="0"/>', False),
        ("<TiffData/><TiffData/>", True),
        ('<TiffData/><TiffData IFD="1" FirstC="1"/>', True),
        ('<TiffData IFD="1" FirstC="0"/><TiffData IFD="0" FirstC="1"/>', True),
    ],
)
def test_a_page_of_two_planes_is_none(tmp_path, blocks, is_clear):
    images, path = noise((2, 40, 50)), tmp_path / "a.ome.tif"
    description = ome_xml(blocks, z=1, names=("GFP", "DAPI"))
    tifffile.imwrite(path, images, photometric="minisblack", metadata=None, description=description)
    if not is_clear:
        assert "is of several planes, or a plane of several pages" in reason(path, channel="DAPI")
        return
    same(read_one(path, channel="DAPI"), images[0 if blocks.startswith('<TiffData IFD="1"') else 1])


@pytest.mark.parametrize("root", ["", 'UUID="urn:uuid:of-first.ome.tif"'])
def test_a_renamed_ome_tiff_still_says_which_channels_it_has(tmp_path, root):
    images = noise((9, 40, 50))
    description = ome_xml(blocks_of(9, file="first.ome.tif"), root=root)
    path = tmp_path / "other.tif"
    tifffile.imwrite(path, images, photometric="minisblack", metadata=None, description=description)
    for channel, start in (("w1", 3), ("GFP", 0), ("actin", 6)):
        stack(path, {(None, z + 1): images[start + z] for z in range(3)}, channel=channel)


@pytest.mark.parametrize("name", ["set.companion.ome", "renamed.companion.ome", None])
def test_a_binary_only_ome_tiff_finds_its_companion(tmp_path, name):
    images = {"a.ome.tif": noise((9, 40, 50)), "b.ome.tif": noise((9, 40, 50), seed=1)}
    both = ome_xml(blocks_of(9, file="a.ome.tif")).replace("</OME>", "") + (
        ome_xml(blocks_of(9, file="b.ome.tif")).partition(">")[2].replace("Image:0", "Image:1")
    )
    for file, pages in images.items():
        only = '<BinaryOnly MetadataFile="set.companion.ome" UUID="urn:uuid:companion"/>'
        description = f'<OME xmlns="{OME}" UUID="urn:uuid:of-{file}">{only}</OME>'
        tifffile.imwrite(tmp_path / file, pages, photometric="minisblack", metadata=None, description=description)
    if name is None:
        assert "OME metadata are in 'set.companion.ome', which is not beside it" in reason(tmp_path / "a.ome.tif")
        return
    (tmp_path / name).write_text(both)
    for file, pages in images.items():
        for channel, start in (("w1", 3), ("GFP", 0), ("actin", 6)):
            stack(tmp_path / file, {(None, z + 1): pages[start + z] for z in range(3)}, channel=channel)


def test_a_channel_that_must_be_there_is_not_replaced_by_that_of_the_nuclei(tmp_path):
    planes = np.stack([np.full((8, 9), 1, np.uint8), np.full((8, 9), 2, np.uint8)])
    planes[:, 0, 0] = 0
    names = {"axes": "CYX", "Channel": {"Name": ["DAPI", "GFP"]}}
    tifffile.imwrite(tmp_path / "a.ome.tif", planes, metadata=names)
    for channel in ("w2", "OrigDNA", "405"):
        assert frames.read(tmp_path / "a.ome.tif", channel=channel)[0].image.max() == 1
    assert frames.read(tmp_path / "a.ome.tif", channel="gfp", exact=True)[0].image.max() == 2
    with pytest.raises(frames.FrameError, match=r"holds 2 channels \(DAPI, GFP\), none of them 'OrigGFP'"):
        frames.read(tmp_path / "a.ome.tif", channel="OrigGFP")
    for options in ({"exact": True}, {"required": True}):
        assert "none of them 'w2'" in reason(tmp_path / "a.ome.tif", channel="w2", **options)
