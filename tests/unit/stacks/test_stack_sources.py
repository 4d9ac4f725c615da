"""A stack's frames are read exactly and in order from every format; a missing one is a frame with a reason."""

import os
import pickle
import re
import struct
import subprocess
import sys

import imageio.v3 as iio
import numcodecs
import numpy as np
import pytest
import tifffile
import zarr

from fieldwork import InputError
from fieldwork.frames import FrameError
from fieldwork.inputs import stack_files
from fieldwork.stacks import sources
from workspace import DATA, SCRIPTS

HYPER = (4, 3, 2, 20, 31)  # T, Z, C, Y, X


def noise(shape=(5, 20, 31), dtype="uint16", seed=0):
    """Return noise on a gradient, so that it can be compressed; no two planes are alike."""
    values = np.random.default_rng(seed).integers(0, 100, shape) + np.arange(shape[-1])
    return values.astype(dtype)


def pixels(path, **options):
    """Read a stack by records that went through pickle, as on their way to a worker; a failed frame is its reason."""
    images = []
    for index, frame in enumerate(pickle.loads(pickle.dumps(sources.open_stack(path, **options).frames))):
        assert frame.index == index and str(frame) == f"{frame.path} (frame {index})"
        try:
            image = sources.read(frame)
        except FrameError as error:
            assert str(error) and "\n" not in str(error) and len(str(error)) < 400
            images.append(str(error))
            continue
        assert image.ndim == 2 and image.flags.c_contiguous and image.dtype.isnative
        images.append(image)
    return images


def same(images, expected):
    """Check that all frames are read and equal the expected images."""
    assert len(images) == len(expected)
    for image, truth in zip(images, expected, strict=True):
        assert not isinstance(image, str), image
        assert image.dtype == truth.dtype.newbyteorder("=")
        np.testing.assert_array_equal(image, truth)


def refused(path, **options):
    with pytest.raises(FrameError) as caught:
        sources.open_stack(path, **options)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400
    return str(caught.value)


# TIFF

KINDS = {
    "plain": {"metadata": None},
    "shaped": {},
    "truncate": {"truncate": True},
    "lzw": {"metadata": None, "compression": "lzw", "rowsperstrip": 7},
    "zlib": {"compression": "zlib", "tile": (16, 16), "predictor": True},
    "big": {"bigtiff": True, "byteorder": ">"},
    "imagej": {"imagej": True, "metadata": {"axes": "TYX"}},
    "imagej without axes": {"imagej": True},
    "imagej in one piece": {"imagej": True, "metadata": {"axes": "TYX"}, "truncate": True, "byteorder": ">"},
    "imagej of z": {"imagej": True, "metadata": {"axes": "ZYX"}},
    "ome": {"ome": True, "metadata": {"axes": "TYX"}},
    "ome of z": {"ome": True, "metadata": {"axes": "ZYX"}, "compression": "zlib", "bigtiff": True},
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_every_page_is_a_frame(tmp_path, kind, dtype):
    images = noise((9, 20, 31), dtype)
    tifffile.imwrite(tmp_path / "a.tif", images, photometric="minisblack", **KINDS[kind])
    same(pixels(tmp_path / "a.tif"), images)


def test_images_appended_one_by_one_are_frames(tmp_path):
    images = noise()
    for image in images:
        tifffile.imwrite(tmp_path / "a.tif", image, append=True)
    same(pixels(tmp_path / "a.tif"), images)


@pytest.mark.parametrize("kind", ["ome", "imagej", "imagej in one piece", "shaped", "compressed"])
@pytest.mark.parametrize(("channel", "z"), [(0, 0), (1, 2)])
def test_of_a_hyperstack_one_channel_and_z_plane_are_taken(tmp_path, kind, channel, z):
    options = {
        "ome": {"ome": True},
        "imagej": {"imagej": True},
        "imagej in one piece": {"imagej": True, "truncate": True},
        "shaped": {},
        "compressed": {"imagej": True, "compression": "zlib"},
    }[kind]
    images = noise(HYPER)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, images, photometric="minisblack", metadata={"axes": "TZCYX"}, **options)
    same(pixels(path, channel=channel, z=z), images[:, z, channel])
    notes = sources.open_stack(path, channel=channel, z=z).notes
    assert notes == [f"z plane {z} taken, of 3 (0 to 2)", f"channel {channel} taken, of 2 (0 to 1)"]
    assert refused(path, channel=2) == "stack.channel: channel 2 is not there; found 2 (0 to 1)"
    assert refused(path, z=3) == "stack.z: z plane 3 is not there; found 3 (0 to 2)"


@pytest.mark.parametrize("axes", ["CTZYX", "ZTCYX", "TCZYX"])
def test_ome_axes_in_any_order(tmp_path, axes):
    images = noise([{"T": 4, "Z": 3, "C": 2}[axis] for axis in axes[:3]] + [20, 31])
    tifffile.imwrite(tmp_path / "a.ome.tif", images, photometric="minisblack", metadata={"axes": axes})
    ordered = np.transpose(images, [axes.index(axis) for axis in "TZCYX"])
    same(pixels(tmp_path / "a.ome.tif", channel=1, z=1), ordered[:, 1, 1])


def test_without_time_points_every_z_plane_is_a_frame_of_one_channel(tmp_path):
    images = noise((3, 2, 20, 31))
    tifffile.imwrite(tmp_path / "a.tif", images, imagej=True, metadata={"axes": "ZCYX"})
    same(pixels(tmp_path / "a.tif", channel=1, z=7), images[:, 1])
    assert "no time points: each of 3 z planes is a frame" in sources.open_stack(tmp_path / "a.tif").notes
    tifffile.imwrite(tmp_path / "b.tif", images[0], imagej=True, metadata={"axes": "CYX"})
    same(pixels(tmp_path / "b.tif", channel=1), images[0, 1:])


@pytest.mark.parametrize("options", [{}, {"imagej": True}, {"imagej": True, "truncate": True}, {"ome": True}], ids=str)
def test_of_colour_pages_the_one_with_the_signal_is_taken(tmp_path, options):
    images = np.zeros((5, 20, 31, 3), np.uint8)
    images[..., 2] = noise(dtype="uint8")
    images[..., 0] = 7
    tifffile.imwrite(tmp_path / "a.tif", images, photometric="rgb", metadata={"axes": "TYXS"}, **options)
    same(pixels(tmp_path / "a.tif"), images[..., 2])


def test_pyramid_levels_and_thumbnails_are_no_frames(tmp_path):
    images = noise((3, 64, 64))
    with tifffile.TiffWriter(tmp_path / "a.tif") as tif:
        for image in images:
            tif.write(image, subifds=1, tile=(32, 32), metadata=None)
            tif.write(image[::2, ::2], subfiletype=1, tile=(32, 32), metadata=None)
            tif.write(image[::8, ::8], subfiletype=1, metadata=None)
    same(pixels(tmp_path / "a.tif"), images)
    assert "3 pages of reduced size left out" in sources.open_stack(tmp_path / "a.tif").notes


def test_a_file_of_more_than_4_gb_that_one_page_stands_for(tmp_path):
    count, image = 2200, noise((1000, 1000))
    text = f"ImageJ=1.54f\nimages={count}\nframes={count}\nhyperstack=true\nmode=grayscale\n"
    tifffile.imwrite(tmp_path / "a.tif", image, description=text, metadata=None, byteorder=">")
    with tifffile.TiffFile(tmp_path / "a.tif") as tif:
        start = tif.pages[0].dataoffsets[0]
    with open(tmp_path / "a.tif", "r+b") as file:  # sparse
        file.seek(start + (count - 1) * image.nbytes)
        file.write((image + 1).astype(">u2").tobytes())
    assert (tmp_path / "a.tif").stat().st_size > 2**32
    frames = sources.open_stack(tmp_path / "a.tif").frames
    assert len(frames) == count
    same([sources.read(frames[number]) for number in (0, 1, -1)], [image, image * 0, image + 1])


def test_a_metamorph_stack(tmp_path):
    """Read a stack with one page for all planes; the tag UIC2 holds six numbers for each, as that many fractions."""
    images = noise((4, 20, 31))
    tags = [(33628, 4, 4, (0, 1, 0, 1), True), (33629, 4, 24, tuple(range(1, 25)), True)]
    tifffile.imwrite(tmp_path / "a.stk", images[0], metadata=None, extratags=tags)
    content = bytearray((tmp_path / "a.stk").read_bytes())
    with tifffile.TiffFile(tmp_path / "a.stk") as tif:
        page = tif.pages[0]
        struct.pack_into("<HI", content, page.tags[33628].offset + 2, 4, 2)
        struct.pack_into("<HI", content, page.tags[33629].offset + 2, 5, 4)
        content = content[: page.dataoffsets[0]] + images.tobytes()
    (tmp_path / "a.stk").write_bytes(content)
    with tifffile.TiffFile(tmp_path / "a.stk") as tif:
        assert tif.is_stk
    same(pixels(tmp_path / "a.stk"), images)


@pytest.mark.parametrize("kind", KINDS)
def test_a_tiff_cut_anywhere_is_never_short_or_wrong(tmp_path, kind):
    images = noise((9, 20, 31))
    tifffile.imwrite(tmp_path / "a.tif", images, photometric="minisblack", **KINDS[kind])
    content = (tmp_path / "a.tif").read_bytes()
    partial = 0
    for length in np.random.default_rng(7).integers(8, len(content), 40):
        (tmp_path / "cut.tif").write_bytes(content[:length])
        try:
            frames = pixels(tmp_path / "cut.tif")
        except FrameError as error:
            assert "truncated" in str(error)
            continue
        good = [number for number, image in enumerate(frames) if not isinstance(image, str)]
        same([frames[number] for number in good], images[good])
        assert all(image.startswith("truncated") for image in frames if isinstance(image, str))
        assert len(frames) == 9 or (kind in ("plain", "lzw") and isinstance(frames[-1], str))  # these promise nothing
        partial += 0 < len(good) < 9
    if not kind.startswith("ome"):  # their description is at the end: without it nothing is
        assert partial > 5


def test_promised_pages_that_are_missing_are_failed_frames(tmp_path):
    images = noise()
    text = "ImageJ=1.54f\nimages=9\nslices=9\n"
    tifffile.imwrite(
        tmp_path / "a.tif", images, metadata=None, description=text, compression="zlib", photometric="minisblack"
    )
    read = pixels(tmp_path / "a.tif")
    same(read[:5], images)
    assert read[5:] == ["truncated: 9 planes are promised, the file has 5 page(s)"] * 4
    tifffile.imwrite(tmp_path / "b.ome.tif", images, metadata={"axes": "TYX"})
    xml = tifffile.tiffcomment(tmp_path / "b.ome.tif").replace('SizeT="5"', 'SizeT="8"')
    tifffile.tiffcomment(tmp_path / "b.ome.tif", xml.encode())
    read = pixels(tmp_path / "b.ome.tif")
    same(read[:5], images)
    assert len(read) == 8 and all("promised" in reason for reason in read[5:])


def test_pages_that_stand_one_by_one_are_not_taken_for_one_piece(tmp_path):
    """Read two pages of three, whose directories lie behind their pixels, as libtiff writes them."""
    images, text = noise((2, 20, 31)), b"ImageJ=1.54f\nimages=3\nslices=3\n\0"
    content, link = bytearray(b"II*\0\0\0\0\0"), 4
    for image in images:
        start = len(content)
        content += image.tobytes() + text
        struct.pack_into("<I", content, link, len(content))
        tags = [(256, 31), (257, 20), (258, 16), (259, 1), (262, 1), (273, start), (278, 20), (279, image.nbytes)]
        entries = sorted([(code, 4, 1, value) for code, value in tags] + [(270, 2, len(text), start + image.nbytes)])
        content += struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *entry) for entry in entries)
        link = len(content)
        content += bytes(4)
    (tmp_path / "a.tif").write_bytes(content)
    read = pixels(tmp_path / "a.tif")
    same(read[:2], images)
    assert read[2:] == ["truncated: 3 planes are promised, the file has 2 page(s)"]


def test_pages_unlike_most_fail_the_first_too(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as tif:
        for image in (noise((20, 30)), noise((20, 31), "uint8"), *noise((3, 20, 31))):
            tif.write(image, metadata=None)
    shape, dtype, *others = pixels(tmp_path / "a.tif")
    same(others, noise((3, 20, 31)))
    assert shape == "uint16 of shape (20, 30); expected uint16 of (20, 31) as in most frames"
    assert dtype == "uint8 of shape (20, 31); expected uint16 of (20, 31) as in most frames"


def test_pages_none_of_which_are_most_are_refused(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as tif:
        for image in (noise((20, 31)), noise((20, 30)), noise((20, 30), "uint8")):
            tif.write(image, metadata=None)
    assert refused(tmp_path / "a.tif") == (
        "found pages of several sizes or types (1 of uint16 (20, 31), 1 of uint16 (20, 30), 1 of uint8 (20, 30)), none "
        "of them most: which are the stack's?"
    )


def test_pages_after_those_that_an_imagej_description_states_are_left_out_with_a_note(tmp_path):
    planes = noise((3, 2, 2, 20, 31))
    text = "ImageJ=1.53t\nimages=12\nchannels=2\nslices=2\nframes=3\nhyperstack=true\n"
    with tifffile.TiffWriter(tmp_path / "a.tif") as tif:
        for number, image in enumerate((*planes.reshape(12, 20, 31), noise((20, 31), seed=9))):
            description = text if number == 0 else None
            tif.write(image, description=description, metadata=None, contiguous=False, photometric="minisblack")
    same(pixels(tmp_path / "a.tif"), planes[:, 0, 0])
    notes = sources.open_stack(tmp_path / "a.tif").notes
    assert notes[0] == "1 page(s) more than the 12 that its ImageJ description states: left out"


@pytest.mark.parametrize("count", [3, 4, 5])
def test_what_tifffile_stores_as_one_page_of_planes_are_frames_with_a_note(tmp_path, count):
    images = noise((count, 20, 31))
    tifffile.imwrite(tmp_path / "a.tif", images, planarconfig="separate", photometric="rgb" if count < 5 else None)
    for channel in ("auto", 0):
        same(pixels(tmp_path / "a.tif", channel=channel), images)
        note = sources.open_stack(tmp_path / "a.tif", channel=channel).notes[0]
        assert note.startswith(f"one page of {count} planes, as tifffile.imwrite stores {count} frames, or colours")
    assert "channel 1 is not there" in refused(tmp_path / "a.tif", channel=1)
    if count < 5:
        same(pixels(tmp_path / "a.tif", channel="green"), images[1:2])


# Channels and colours


def rgb(red, green=0, blue=0, count=9):
    """Return (count, 20, 31, 3) images; what varies of a colour, by frame, is given in grey levels."""
    pattern = np.random.default_rng(8).uniform(0, 1, (3, 20, 31))
    amplitudes = [np.broadcast_to(amplitude, count) for amplitude in (red, green, blue)]
    return np.stack(
        [100 + amplitude[:, None, None] * noise for amplitude, noise in zip(amplitudes, pattern, strict=True)], axis=-1
    ).astype(np.uint8)


def write_colours(path, images, kind):
    if kind == "pages":
        tifffile.imwrite(path, images, photometric="rgb", metadata=None)
    else:
        path.mkdir()
        for number, image in enumerate(images):
            iio.imwrite(path / f"t{number}.png", image)


@pytest.mark.parametrize("kind", ["pages", "folder"])
def test_a_named_colour_is_taken_of_every_frame(tmp_path, kind):
    images = rgb(80, 40, 20)
    write_colours(tmp_path / "a", images, kind)
    for number, name in enumerate(["red", "GREEN", "blue"]):
        same(pixels(tmp_path / "a", channel=number), images[..., number])
        same(pixels(tmp_path / "a", channel=name), images[..., number])
    for channel in (3, "DAPI"):
        assert f"channel {channel!r} is not there" in refused(tmp_path / "a", channel=channel)
    assert "colour shows signal (red 100 to " in refused(tmp_path / "a")


@pytest.mark.parametrize("kind", ["pages", "folder"])
def test_the_colour_that_alone_varies_is_that_of_the_whole_stack(tmp_path, kind):
    images = rgb(0, 0, 80)
    images[4] = 100  # nothing varies
    images[7] = rgb(0, 60)[7]
    write_colours(tmp_path / "a", images, kind)
    read = pixels(tmp_path / "a")
    reason = read.pop(7)
    same(read, [image for number, image in enumerate(images[..., 2]) if number != 7])
    assert reason == (
        "found an image in 3 colours, of which green alone shows signal; the stack's are in 3 colours, of which blue "
        "alone shows signal: stack.channel can name a colour"
    )
    assert sources.open_stack(tmp_path / "a").notes[-1:] == [
        "in colours, of which blue alone shows signal: it is taken"
    ]


@pytest.mark.parametrize("kind", ["pages", "folder"])
def test_colours_that_change_in_a_stack_are_refused(tmp_path, kind):
    images = np.concatenate([rgb(60, count=4), rgb(0, 60, count=4)])
    write_colours(tmp_path / "a", images, kind)
    assert "no kind is most: stack.channel can name a colour" in refused(tmp_path / "a")


@pytest.mark.parametrize("kind", ["ome", "imagej", "plain", "samples"])
def test_the_channel_counts_in_the_files_of_a_folder(tmp_path, kind):
    images = noise((4, 2, 20, 31))
    for number, image in enumerate(images):
        options = {
            "ome": {"ome": True, "metadata": {"axes": "CYX", "Channel": {"Name": ["DAPI", "GFP"]}}},
            "imagej": {"imagej": True, "metadata": {"axes": "CYX"}},
            "plain": {"metadata": None},
            "samples": {"metadata": None, "planarconfig": "separate"},
        }[kind]
        tifffile.imwrite(tmp_path / f"t{number}.tif", image, photometric="minisblack", **options)
    same(pixels(tmp_path, channel=1), images[:, 1])
    same(pixels(tmp_path, channel="gfp" if kind == "ome" else "2"), images[:, 1])
    assert "channel 2 is not there" in refused(tmp_path, channel=2)
    if kind == "ome":
        same(pixels(tmp_path), images[:, 0])  # the only DNA stain
        assert not sources.open_stack(tmp_path).decided
    elif kind == "imagej":
        same(pixels(tmp_path), images[:, 0])
        (doubt,) = sources.open_stack(tmp_path).decided
        assert doubt == "its 2 channels have no names; number 0, the first, is taken: stack.channel names another"


CHANNELS = {  # names, the number of the one that is taken, how it is doubtful
    "dna": (["Actin", "DAPI", "Tubulin"], 1, None),
    "several": (["Actin", "DAPI", "Hoechst"], 1, "several channels are named like a DNA stain (DAPI, Hoechst); DAPI, "),
    "none": (["Actin", "GFP", "Tubulin"], 0, "no channel is named like a DNA stain (Actin, GFP, Tubulin); Actin, the "),
}


@pytest.mark.parametrize("names", CHANNELS)
@pytest.mark.parametrize("kind", ["ome", "ome folder", "folder", "zarr"])
def test_of_several_channels_the_one_named_like_a_dna_stain_is_taken_else_the_first_with_a_doubt(tmp_path, kind, names):
    names, number, expected = CHANNELS[names]
    images, path = noise((4, 3, 20, 31)), tmp_path / "a"
    metadata = {"Channel": {"Name": names}}
    if kind == "ome":
        path = tmp_path / "a.ome.tif"
        tifffile.imwrite(path, images, photometric="minisblack", metadata={"axes": "TCYX", **metadata})
    elif kind == "zarr":
        ome_zarr(path, "0.5", "tcyx", images)
        group = zarr.open_group(path)
        group.attrs["ome"] = {**group.attrs["ome"], "omero": {"channels": [{"label": name} for name in names]}}
    else:
        path.mkdir()
        for time, image in enumerate(images):
            if kind == "folder":
                for name, plane in zip(names, image, strict=True):
                    tifffile.imwrite(path / f"film_t{time}_{name}.tif", plane)
            else:
                options = {"photometric": "minisblack", "ome": True, "metadata": {"axes": "CYX", **metadata}}
                tifffile.imwrite(path / f"{time}.tif", image, **options)
    same(pixels(path), images[:, number])
    stack = sources.open_stack(path)
    assert set(stack.decided) <= set(stack.notes) and len(stack.decided) == bool(expected)
    assert not expected or (expected in stack.decided[0] and "stack.channel names another" in stack.decided[0])
    same(pixels(path, channel=names[2].lower()), images[:, 2])
    same(pixels(path, channel=2), images[:, sorted(range(3), key=names.__getitem__)[2] if kind == "folder" else 2])
    assert not sources.open_stack(path, channel=names[2]).decided


@pytest.mark.parametrize(
    ("name", "channels"),
    [
        ("t{}_{}.tif", ["DAPI", "Actin"]),
        ("t{}_{}.png", ["red", "green"]),
        ("film_{1}_t{0}.tif", ["w1", "w2"]),
        ("film_{1}_t{0}.tif", ["w1DAPI", "w2GFP"]),
        ("B02_T{:04d}F001L01A01Z01{}.tif", ["C01", "C02"]),
        ("r01c01f01p01-{1}sk{0}fk1fl1.tiff", ["ch1", "ch2"]),
        ("AS_09125_05011603{:04d}_D03f00{}.tif", ["d0", "d1"]),
        ("img_{1}_position000_time{0:09d}_z000.tif", ["channel000", "channel001"]),
        ("img_{:03d}_{}.tif", ["405", "488"]),
    ],
)
def test_files_that_differ_in_a_channel_alone_are_no_frames_of_one_movie(tmp_path, name, channels):
    images = noise((2, 4, 20, 31), "uint8")
    for time in range(4):
        for number, channel in enumerate(channels):
            iio.imwrite(tmp_path / name.format(time, channel), images[number, time])
    taken = sorted(channels).index(channels[0]) and channels != ["DAPI", "Actin"]
    same(pixels(tmp_path), images[int(taken)])
    stack = sources.open_stack(tmp_path)
    assert f"4 {channels[1 - taken]}" in stack.notes[0]
    assert len(stack.decided) == (not any("DAPI" in channel for channel in channels))
    for number, channel in enumerate(channels):
        same(pixels(tmp_path, channel=channel), images[number])
    message = "stack.channel: channel 2 is not there; its files' names have 2"
    assert message in refused(tmp_path, channel=2)


@pytest.mark.parametrize(
    "names",
    [
        [f"frame_c{number}" for number in range(1, 30)],
        [f"c{number}" for number in range(1, 5)],
        [f"r{row}c{column}" for row in (1, 2) for column in (1, 2, 3)],
        [f"r{row}_c{column}" for row in (1, 2) for column in (1, 2, 3)],
        [f"DAPI_w1_{number}" for number in range(4)],
        [f"red_{number}" for number in range(3)] + [f"green_{number}" for number in range(3, 6)],
        [f"{number}" for number in range(400, 500)],
        [f"t{time}_z{plane}" for time in range(3) for plane in range(3)],
    ],
)
def test_names_without_channels_that_one_frame_has_two_of_are_all_frames(tmp_path, names):
    for name in names:
        iio.imwrite(tmp_path / f"{name}.png", noise((20, 31), "uint8"))
    stack = sources.open_stack(tmp_path)
    assert len(stack.frames) == len(names) and not stack.decided


def test_a_last_axis_that_looks_like_channels_is_no_width(tmp_path):
    images = noise((6, 20, 31, 2))
    np.save(tmp_path / "a.npy", images)
    assert "its last axis, of 2, looks like channels" in refused(tmp_path / "a.npy")
    zarr.create_array(tmp_path / "zarr", data=images)
    assert "its last axis, of 2, looks like channels" in refused(tmp_path / "zarr")
    tifffile.imwrite(tmp_path / "a.tif", images, photometric="minisblack")
    assert "its last axis, of 2, looks like channels" in refused(tmp_path / "a.tif")


@pytest.mark.parametrize("channel", [1, "GFP"])
def test_a_channel_that_is_not_there_is_refused_everywhere(tmp_path, channel):
    images = noise()
    for name in ("folder", "tiffs"):
        (tmp_path / name).mkdir()
        for number, image in enumerate(images):
            iio.imwrite(tmp_path / name / f"{number}.{'png' if name == 'folder' else 'tif'}", image)
    np.save(tmp_path / "a.npy", images)
    zarr.create_array(tmp_path / "zarr", data=images)
    tifffile.imwrite(tmp_path / "a.tif", images, photometric="minisblack")
    tifffile.imwrite(tmp_path / "a.ome.tif", images, metadata={"axes": "TYX", "Channel": {"Name": ["DAPI"]}})
    for name in ("folder", "tiffs", "a.npy", "zarr", "a.tif", "a.ome.tif"):
        assert f"channel {channel!r} is not there" in refused(tmp_path / name, channel=channel)
        same(pixels(tmp_path / name, channel=0), images)
    same(pixels(tmp_path / "a.ome.tif", channel="dapi"), images)


def test_the_majority_of_a_folder_in_grey_fails_a_picture_in_colours(tmp_path):
    images = noise((4, 20, 31), "uint8")
    for number, image in enumerate(images):
        iio.imwrite(tmp_path / f"{number}.png", image)
    iio.imwrite(tmp_path / "4.png", rgb(60, count=1)[0])
    read = pixels(tmp_path)
    same(read[:4], images)
    assert "several colours" in read[4] or read[4].startswith(
        "found an image in 3 colours, of which red alone shows signal"
    )


@pytest.mark.parametrize("tag", ["inverted", "palette"])
def test_display_tags_count_with_a_note(tmp_path, tag):
    images = noise((4, 20, 31), "uint8")
    options = {"photometric": "miniswhite"}
    if tag == "palette":
        options = {
            "photometric": "palette",
            "colormap": np.stack([np.arange(256) * 257] * 2 + [np.zeros(256)]).astype("u2"),
        }
    tifffile.imwrite(tmp_path / "a.tif", images, metadata=None, **options)
    read = pixels(tmp_path / "a.tif")
    expected = 255 - images
    if tag == "palette":
        expected = images.astype(np.uint16) * 2
    same(read, expected)
    word = {"inverted": "stored inverted", "palette": "has a palette"}[tag]
    assert sources.open_stack(tmp_path / "a.tif").notes[1].startswith(word)


def test_pages_of_which_some_are_stored_inverted_are_read_as_they_are_with_a_note(tmp_path):
    images = noise((4, 20, 31), "uint8")
    with tifffile.TiffWriter(tmp_path / "a.tif") as tif:
        for number, image in enumerate(images):
            kind = "miniswhite" if number == 2 else "minisblack"
            tif.write(255 - image if number == 2 else image, photometric=kind, metadata=None)
    same(pixels(tmp_path / "a.tif"), images)
    assert "its pages are of several kinds (1 inverted grey, 3 grey); each is read as its tags say" in (
        sources.open_stack(tmp_path / "a.tif").notes
    )


@pytest.mark.parametrize("bigtiff", [False, True])
def test_a_circle_of_pages_ends(tmp_path, bigtiff):
    tifffile.imwrite(tmp_path / "a.tif", noise(), photometric="minisblack", metadata=None, bigtiff=bigtiff)
    content = bytearray((tmp_path / "a.tif").read_bytes())
    with tifffile.TiffFile(tmp_path / "a.tif") as tif:
        struct.pack_into("<Q" if bigtiff else "<I", content, tif.pages.next_page_offset, tif.pages[0].offset)
    (tmp_path / "a.tif").write_bytes(content)
    assert refused(tmp_path / "a.tif") == "damaged: the list of its 5 pages goes in a circle"


@pytest.mark.parametrize("text", ["images=4000000000\nslices=4000000000\n", "images=-3\nframes=-3\nslices=-1\n"])
def test_monstrous_descriptions_are_refused_before_anything_is_allocated(tmp_path, text):
    tifffile.imwrite(tmp_path / "a.tif", noise((20, 31)), metadata=None, description="ImageJ=1.54f\n" + text)
    try:
        same(pixels(tmp_path / "a.tif"), [noise((20, 31))])
    except FrameError as error:
        assert "at most 1048576" in str(error)
    else:
        assert "-3" in text


@pytest.mark.parametrize("axes", ["TQYX", "RTYX", "HZYX"])
def test_other_axes_are_named(tmp_path, axes):
    tifffile.imwrite(tmp_path / "a.tif", noise((2, 3, 20, 31)), photometric="minisblack", metadata={"axes": axes})
    assert refused(tmp_path / "a.tif") == f"axes {axes}, sizes (2, 3); expected Y, X and at most T, Z and C"


# Folders


def test_a_folder_is_read_in_natural_order_and_what_is_left_out_is_noted(tmp_path):
    images = noise((5, 20, 31), "uint8")
    names = ["img1.tif", "img2.PNG", "img10.bmp", "img11.TIFF", "img100.gif"]
    for name, image in zip(names, images, strict=True):
        iio.imwrite(tmp_path / name, image)
    for name in ("notes.txt", "more.txt", ".img3.tif", "Thumbs"):
        (tmp_path / name).write_text("")
    (tmp_path / "img4.tif").mkdir()
    same(pixels(tmp_path), images)
    assert stack_files.files_of(tmp_path) == [str(tmp_path / name) for name in names]
    assert sources.open_stack(str(tmp_path)).notes == [
        "left out of the folder: 2 .txt, 1 folder, 1 hidden, 1 without suffix",
        "has a palette of greys, which count",  # the GIF
    ]


def test_bad_files_of_a_folder_are_failed_frames(tmp_path):
    tifffile.imwrite(tmp_path / "1.tif", noise((20, 31)))
    tifffile.imwrite(tmp_path / "2.tif", noise(), photometric="minisblack")
    (tmp_path / "3.tif").write_bytes(b"")
    (tmp_path / "4.tif").symlink_to("gone.tif")
    (tmp_path / "5.tif").symlink_to("5.tif")
    os.mkfifo(tmp_path / "6.tif")
    tifffile.imwrite(tmp_path / "7.tif", noise((10, 10)))
    read = pixels(tmp_path)
    same([read[0], read[6]], [noise((20, 31)), noise((10, 10))])
    assert read[1:6] == [
        "holds 5 planes; a file of a folder is one frame, so 1 is expected",
        "empty file (0 bytes)",
        "not read: broken link to gone.tif",
        "cannot be opened: Too many levels of symbolic links",
        "not a regular file",
    ]
    assert [os.path.basename(path) for path in stack_files.files_of(tmp_path)] == [
        "1.tif",
        "2.tif",
        "3.tif",
        "6.tif",
        "7.tif",
    ]


def test_a_folder_without_images_says_what_it_has(tmp_path):
    assert refused(tmp_path).startswith("a folder without images; found nothing; expected .tif")
    (tmp_path / "a.lif").write_text("")
    assert "found 1 .lif" in refused(tmp_path)


# NumPy


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int16", ">u2", "uint64", "float16", "float32", ">f8"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_npy_arrays(tmp_path, dtype, order):
    images = np.asarray(noise((4, 3, 20, 31)) % 99, dtype)
    expected = images.astype("uint8") if dtype == "bool" else images
    np.save(tmp_path / "tyx.npy", np.asarray(images[:, 1], order=order))
    same(pixels(tmp_path / "tyx.npy"), expected[:, 1])
    np.save(tmp_path / "tzyx.npy", np.asarray(images, order=order))
    same(pixels(tmp_path / "tzyx.npy", z=2), expected[:, 2])
    np.save(tmp_path / "yx.npy", np.asarray(images[0, 0], order=order))
    same(pixels(tmp_path / "yx.npy"), expected[0, :1])
    assert refused(tmp_path / "tzyx.npy", z=3) == "stack.z: z plane 3 is not there; found 3 (0 to 2)"


def test_npy_format_2(tmp_path):
    with open(tmp_path / "a.npy", "wb") as file:
        np.lib.format.write_array(file, noise(), version=(2, 0))
    same(pixels(tmp_path / "a.npy"), noise())


@pytest.mark.parametrize("order", ["C", "F"])
def test_the_frames_of_a_truncated_npy_that_are_whole_are_read(tmp_path, order):
    np.save(tmp_path / "a.npy", np.asarray(noise(), order=order))
    content = (tmp_path / "a.npy").read_bytes()
    (tmp_path / "a.npy").write_bytes(content[:-1241])  # a frame has 1240 bytes
    read = pixels(tmp_path / "a.npy")
    good = 3 if order == "C" else 0
    same(read[:good], noise()[:good])
    assert [reason[:10] for reason in read[good:]] == ["truncated:"] * (5 - good)


@pytest.mark.parametrize(
    ("array", "why"),
    [
        (np.array([[1, "a"]], object), "array of object, shape (1, 2); expected integers or real"),
        (np.zeros((2, 5, 6), "u2,u2"), "expected integers or real"),
        (np.zeros((2, 5, 6), complex), "expected integers or real"),
        (np.zeros((2, 5, 6), "M8[s]"), "expected integers or real"),
        (np.zeros((2, 5, 6), np.longdouble), "at most 64 bits"),
        (np.zeros((0, 5, 6)), "at least one value"),
        (np.zeros((2, 0, 6)), "at least one value"),
        (np.zeros(5), "expected the axes (t, y, x)"),
        (np.zeros((1, 1, 2, 5, 6)), "expected the axes (t, y, x)"),
        (np.zeros((2, 5, 6, 3)), "expected the axes (t, y, x)"),
    ],
)
def test_npy_arrays_that_are_no_stack_are_refused(tmp_path, array, why):
    np.save(tmp_path / "a.npy", array, allow_pickle=True)
    assert why in refused(tmp_path / "a.npy")


@pytest.mark.parametrize(
    "shape", ["(2, 99999999, 99999999)", "(999999999999, 20, 31)", "(-1, 20, -31)", "(2, 1.5)", "9"]
)
def test_hostile_npy_headers_are_refused_before_anything_is_allocated(tmp_path, shape):
    header = f"{{'descr': '<u2', 'fortran_order': False, 'shape': {shape}, }}".encode()
    (tmp_path / "a.npy").write_bytes(b"\x93NUMPY\x01\0" + struct.pack("<H", len(header)) + header + bytes(3000))
    refused(tmp_path / "a.npy")
    (tmp_path / "a.npy").write_bytes(b"\x93NUMPY\x02\0" + struct.pack("<I", 2**32 - 1) + header)
    refused(tmp_path / "a.npy")


# Zarr


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("chunks", [(1, 20, 31), (1, 8, 8), (3, 16, 16)])
def test_zarr_arrays(tmp_path, zarr_format, chunks):
    images = noise((4, 3, 20, 31))
    for name, array in {"tyx": images[:, 1], "tzyx": images, "yx": images[0, 0]}.items():
        where = (1, *chunks)[-array.ndim :]
        stored = zarr.create_array(tmp_path / name, data=array, chunks=where, zarr_format=zarr_format)
        assert stored.metadata.zarr_format == zarr_format
    same(pixels(tmp_path / "tyx"), images[:, 1])
    same(pixels(tmp_path / "tzyx", z=2), images[:, 2])
    same(pixels(tmp_path / "yx"), images[0, :1])
    files = {str(path) for path in (tmp_path / "tyx").rglob("*") if path.is_file()}
    assert set(stack_files.files_of(tmp_path / "tyx")) == files and len(files) > 2


@pytest.mark.parametrize("options", [{"dtype": ">u2"}, {"dtype": "bool"}, {"dtype": "float32", "shards": (2, 20, 32)}])
def test_zarr_dtypes_and_shards(tmp_path, options):
    images = np.asarray(noise() % 7, options["dtype"])
    array = zarr.create_array(tmp_path / "a", shape=images.shape, chunks=(1, 10, 16), **options)
    array[:] = images
    same(pixels(tmp_path / "a"), images.astype("uint8") if options["dtype"] == "bool" else images)


def ome_zarr(path, version, axes, images):
    """Write an image of two levels."""
    root = zarr.create_group(path, zarr_format=2 if version == "0.4" else 3)
    root.create_array("full", data=images, chunks=(1,) * (images.ndim - 2) + (16, 16))
    root.create_array("half", data=images[..., ::2, ::2])
    scales = [
        {"path": name, "coordinateTransformations": [{"type": "scale", "scale": [1.0]}]} for name in ("full", "half")
    ]
    meta = {"axes": [{"name": axis, "type": "space"} for axis in axes], "datasets": scales}
    if version == "0.4":
        root.attrs["multiscales"] = [{"version": "0.4", **meta}]
    else:
        root.attrs["ome"] = {"version": "0.5", "multiscales": [meta]}


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_ome_zarr_axes_go_by_name(tmp_path, version):
    images = noise(HYPER)
    ome_zarr(tmp_path / "a", version, "tczyx", images.transpose(0, 2, 1, 3, 4))
    same(pixels(tmp_path / "a", channel=1, z=2), images[:, 2, 1])
    ome_zarr(tmp_path / "b", version, "czyx", images[0].transpose(1, 0, 2, 3))
    same(pixels(tmp_path / "b", channel=1), images[0, :, 1])
    ome_zarr(tmp_path / "c", version, "tyx", images[:, 0, 0])
    same(pixels(tmp_path / "c"), images[:, 0, 0])
    ome_zarr(tmp_path / "d", version, "xyt", images[:, 0, 0].transpose(2, 1, 0))
    same(pixels(tmp_path / "d"), images[:, 0, 0])
    ome_zarr(tmp_path / "e", version, "xyq", images[:, 0, 0])
    assert "expected names of all axes" in refused(tmp_path / "e")
    assert refused(tmp_path / "a", channel=2) == "stack.channel: channel 2 is not there; found 2 (0 to 1)"


def test_the_names_of_a_zarr_3_arrays_axes_count(tmp_path):
    images = noise((2, 5, 20, 31))
    zarr.create_array(tmp_path / "a", data=images, chunks=(1, 1, 20, 31), dimension_names=["c", "t", "y", "x"])
    same(pixels(tmp_path / "a", channel=1), images[1])


@pytest.mark.parametrize("kind", ["zarr 3", "xarray"])
@pytest.mark.parametrize(
    ("names", "order"),
    [
        (["time", "y", "x"], "TYX"),
        (["y", "x", "time"], "YXT"),
        (["col", "Frame", "row"], "XTY"),
        (["channel", "x", "time", "y"], "CXTY"),
    ],
)
def test_named_dimensions_may_stand_in_any_order(tmp_path, kind, names, order):
    images = noise((5, 2, 20, 31))
    source = images if "C" in order else images[:, 1]
    letters = "TCYX" if "C" in order else "TYX"
    turned = source.transpose([letters.index(letter) for letter in order])
    options = {"dimension_names": names} if kind == "zarr 3" else {"attributes": {"_ARRAY_DIMENSIONS": names}}
    chunks = tuple(min(8, length) for length in turned.shape)
    zarr.create_array(tmp_path / "a", data=turned, chunks=chunks, zarr_format=3 if kind == "zarr 3" else 2, **options)
    same(pixels(tmp_path / "a", channel=1 if "C" in order else "auto"), images[:, 1])


@pytest.mark.parametrize("names", [["lat", "y", "x"], ["t", None, "x"], ["y", "y", "x"], ["t", "z", "c"]])
def test_dimensions_that_are_not_understood_are_refused(tmp_path, names):
    zarr.create_array(tmp_path / "a", data=noise(), dimension_names=names)
    assert "expected names of all axes, each once: y, x and at most t (time), z and c (channel)" in refused(
        tmp_path / "a"
    )


def test_dimensions_that_are_named_in_two_ways_are_refused(tmp_path):
    array = zarr.create_array(tmp_path / "a", data=noise(), dimension_names=["t", "y", "x"])
    array.attrs["_ARRAY_DIMENSIONS"] = ["t", "y", "x"]
    same(pixels(tmp_path / "a"), noise())
    array.attrs["_ARRAY_DIMENSIONS"] = ["y", "x", "t"]
    assert "its _ARRAY_DIMENSIONS ['y', 'x', 't']; expected the same" in refused(tmp_path / "a")


def test_dimensions_that_xarray_numbers_have_no_names(tmp_path):
    zarr.create_array(tmp_path / "a", data=noise(), dimension_names=["dim_0", "dim_1", "dim_2"])
    same(pixels(tmp_path / "a"), noise())


def test_groups(tmp_path):
    root = zarr.create_group(tmp_path / "a")
    assert "a Zarr group of nothing" in refused(tmp_path / "a")
    root.create_array("film", data=noise())
    same(pixels(tmp_path / "a"), noise())
    root.create_array("mask", data=noise())
    root.create_group("0")
    assert "a Zarr group of film, mask, 0/; expected" in refused(tmp_path / "a")
    same(pixels(tmp_path / "a" / "mask"), noise())


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_a_damaged_chunk_is_a_failed_frame_and_a_missing_one_is_background(tmp_path, zarr_format):
    zarr.create_array(tmp_path / "a", data=noise(), chunks=(1, 20, 31), zarr_format=zarr_format, fill_value=7)
    damaged, missing = ("1.0.0", "3.0.0") if zarr_format == 2 else ("c/1/0/0", "c/3/0/0")
    content = (tmp_path / "a" / damaged).read_bytes()
    (tmp_path / "a" / damaged).write_bytes(content[: len(content) // 2])
    (tmp_path / "a" / missing).unlink()
    read = pixels(tmp_path / "a")
    assert read[1].startswith("cannot be decoded")
    same([read[0], *read[2:]], [noise()[0], noise()[2], np.full((20, 31), 7, "uint16"), noise()[4]])


@pytest.mark.parametrize(
    ("valid", "hostile"),
    [
        ('"shape": [\n    5,', '"shape": [\n    99999999999,'),
        ('"chunk_shape": [\n        1,\n        20,', '"chunk_shape": [\n        1,\n        2000000000,'),
        ('    20,\n    31\n  ],\n  "data_type"', '    2000000000,\n    31\n  ],\n  "data_type"'),
        ('"uint16"', '"complex64"'),
        ('"uint16"', '"r16"'),
        ('"zstd"', '"nonsense"'),
        ("{", "["),
    ],
)
def test_hostile_zarr_metadata_are_refused(tmp_path, valid, hostile):
    zarr.create_array(tmp_path / "a", data=noise(), chunks=(1, 20, 31))
    text = (tmp_path / "a" / "zarr.json").read_text()
    assert valid in text
    (tmp_path / "a" / "zarr.json").write_text(text.replace(valid, hostile, 1))
    refused(tmp_path / "a")


def test_a_shard_of_too_many_chunks_is_refused(tmp_path):
    zarr.create_array(tmp_path / "a", shape=(1, 8192, 8192), chunks=(1, 2, 2), shards=(1, 8192, 8192), dtype="uint8")
    assert "at most 1048576" in refused(tmp_path / "a")


def test_pipes_and_broken_links_in_a_zarr_store(tmp_path):
    zarr.create_array(tmp_path / "a", data=noise(), chunks=(1, 20, 31))
    chunk = tmp_path / "a" / "c" / "2" / "0" / "0"
    chunk.unlink()
    os.mkfifo(chunk)
    assert refused(tmp_path / "a") == "holds 'c/2/0/0', which is not a file"
    chunk.unlink()
    chunk.symlink_to("gone")
    assert refused(tmp_path / "a") == "holds 'c/2/0/0', which is not a file"
    (tmp_path / "b").mkdir()
    os.mkfifo(tmp_path / "b" / "zarr.json")
    assert "found 1 .json" in refused(tmp_path / "b")


# All


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("kind", ["tif", "npy", "zarr"])
def test_a_frame_with_nan_or_infinity_fails(tmp_path, kind, value):
    images = noise(dtype="float32")
    images[2, 3, 4] = value
    path = tmp_path / f"a.{kind}"
    if kind == "tif":
        tifffile.imwrite(path, images, photometric="minisblack")
    elif kind == "npy":
        np.save(path, images)
    else:
        zarr.create_array(path, data=images, chunks=(1, 20, 31))
    read = pixels(path)
    assert read.pop(2) == "1 of 620 pixels are NaN or infinite"
    same(read, np.delete(images, 2, axis=0))


@pytest.mark.parametrize("kind", ["tif", "npy", "zarr"])
def test_a_stack_that_is_replaced_is_not_mixed_up(tmp_path, kind):
    def write(images):
        if kind == "zarr":
            zarr.create_array(tmp_path / "a", data=images, chunks=(1, *images.shape[1:]), overwrite=True)
        elif kind == "npy":
            with open(tmp_path / "a", "wb") as file:
                np.save(file, images)
        else:
            tifffile.imwrite(tmp_path / "a", images, photometric="minisblack")

    write(noise())
    before = sources.open_stack(tmp_path / "a").frames
    sources.read(before[0])
    write(noise((6, 40, 30), "uint8"))
    for frame in before:
        with pytest.raises(FrameError, match="has changed since the frames were listed; run again"):
            sources.read(frame)
    same(pixels(tmp_path / "a"), noise((6, 40, 30), "uint8"))


def test_what_is_no_stack_is_refused(tmp_path):
    assert refused(tmp_path / "gone") == "not read: No such file or directory"
    assert stack_files.files_of(tmp_path / "gone") == [str(tmp_path / "gone")]
    (tmp_path / "a.npy").write_bytes(b"")
    assert refused(tmp_path / "a.npy") == "empty file (0 bytes)"
    (tmp_path / "a.npy").write_bytes(b"Well,Count\n")
    assert refused(tmp_path / "a.npy").startswith("begins with b'Well,Cou'; expected a TIFF or .npy file, a folder")
    os.mkfifo(tmp_path / "pipe")
    assert refused(tmp_path / "pipe") == "not a regular file"
    (tmp_path / "loop").symlink_to("loop")
    assert "Too many levels" in refused(tmp_path / "loop")


def test_a_folder_that_may_not_be_listed(tmp_path, monkeypatch):
    def denied(path):
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(os, "scandir", denied)
    with pytest.raises(InputError, match=re.escape(f"{tmp_path}: Permission denied; expected a folder")):
        stack_files.files_of(tmp_path)
    assert "Permission denied" in refused(tmp_path)


@pytest.mark.parametrize("kind", ["plain", "imagej in one piece", "ome", "lzw", "npy"])
def test_damaged_bytes_give_frames_or_an_error(tmp_path, kind):
    if kind == "npy":
        np.save(tmp_path / "whole.npy", noise((4, 12, 14)))
        content = np.frombuffer((tmp_path / "whole.npy").read_bytes(), np.uint8)
    else:
        tifffile.imwrite(tmp_path / "whole.tif", noise((4, 12, 14)), photometric="minisblack", **KINDS[kind])
        content = np.frombuffer((tmp_path / "whole.tif").read_bytes(), np.uint8)
    rng = np.random.default_rng(5)
    refusals = frames = 0
    for turn in range(200):
        damaged = content.copy()
        where = rng.integers(0, len(content) if turn % 2 else min(len(content), 300), rng.integers(1, 4))
        damaged[where] = rng.integers(0, 256, len(where)) if turn % 3 else damaged[where] ^ 128
        (tmp_path / "damaged").unlink(missing_ok=True)  # ext4 flushes a file that is written anew: 2 ms
        (tmp_path / "damaged").write_bytes(damaged[: rng.integers(len(content)) if turn % 5 == 0 else None].tobytes())
        try:
            frames += len(pixels(tmp_path / "damaged"))
        except FrameError:
            refusals += 1
    assert refusals > 20
    assert frames > 100


def test_listing_files_imports_no_reader_and_reading_only_its_own(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", noise(), photometric="minisblack")
    np.save(tmp_path / "a.npy", noise())
    zarr.create_array(tmp_path / "a.zarr", data=noise())
    program = (
        "import sys, threading\n"
        "from fieldwork.inputs import stack_files\n"
        f"paths = [{str(tmp_path)!r} + name for name in ('', '/a.tif', '/a.npy', '/a.zarr')]\n"
        "print([len(stack_files.files_of(path)) > 0 for path in paths])\n"
        "print(sorted({'numpy', 'tifffile', 'zarr', 'PIL', 'cv2'} & set(sys.modules)))\n"
        "threading.Thread.start = None\n"
        "from fieldwork.stacks import sources\n"
        "print([sources.read(sources.open_stack(path).frames[0]).shape for path in paths[1:3]])\n"
        "print(sorted({'zarr', 'PIL', 'cv2'} & set(sys.modules)))\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(SCRIPTS)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert done.stdout.splitlines() == ["[True, True, True, True]", "[]", "[(20, 31), (20, 31)]", "[]"], done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_is_that_of_one_frame(tmp_path):
    """Read every tenth frame of a sparse file of 6.3 GB."""
    header = b"{'descr': '<u2', 'fortran_order': False, 'shape': (3000, 1024, 1024), }\n"
    with open(tmp_path / "a.npy", "wb") as file:
        file.write(b"\x93NUMPY\x01\0" + struct.pack("<H", len(header)) + header)
        file.truncate(file.tell() + 3000 * 1024 * 1024 * 2)
    program = (
        "from fieldwork.stacks import sources\n"
        f"for frame in sources.open_stack({str(tmp_path / 'a.npy')!r}).frames[::10]:\n"
        "    assert sources.read(frame).shape == (1024, 1024)\n"
        # Not getrusage's: that is at least what this process had when it started the other one.
        "print(next(line for line in open('/proc/self/status') if line.startswith('VmHWM')).split()[1])\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(SCRIPTS)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert 20_000 < int(done.stdout) < 200_000, done.stderr


@pytest.mark.skipif(not (DATA / "stacks" / "mitocheck").is_dir(), reason="the real stack is not here")
def test_a_real_film_is_the_same_as_folder_tiff_npy_and_zarr(tmp_path):
    folder = DATA / "stacks" / "mitocheck"
    images = np.stack([tifffile.imread(path) for path in sorted(folder.glob("*.tif"))])
    assert images.shape == (30, 190, 211)
    tifffile.imwrite(tmp_path / "a.tif", images, imagej=True, metadata={"axes": "TYX"})
    tifffile.imwrite(tmp_path / "b.tif", images, photometric="minisblack", metadata=None, compression="zlib")
    np.save(tmp_path / "a.npy", images)
    zarr.create_array(tmp_path / "a.zarr", data=images, chunks=(1, 190, 211))
    for path in (folder, *(tmp_path / name for name in ("a.tif", "b.tif", "a.npy", "a.zarr"))):
        same(pixels(path), images)


BLOSC = {
    2: {"compressors": numcodecs.Blosc(blocksize=1024)},
    3: {"compressors": zarr.codecs.BloscCodec(blocksize=1024)},
}


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_a_chunk_that_was_cut_anywhere_fails_its_frame(tmp_path, zarr_format):
    images = noise((3, 64, 64))
    array = zarr.create_array(
        tmp_path / "a", data=images, chunks=(1, 64, 64), zarr_format=zarr_format, **BLOSC[zarr_format]
    )
    chunk = tmp_path / "a" / array.metadata.encode_chunk_key((1, 0, 0))
    content = chunk.read_bytes()
    for length in range(0, len(content), len(content) // 60):
        chunk.write_bytes(content[:length])
        first, second, third = pixels(tmp_path / "a")
        assert "empty file" in second if not length else second.startswith("truncated: its chunk ")
        same([first, third], images[::2])
    chunk.write_bytes(content)
    same(pixels(tmp_path / "a"), images)


def test_an_empty_shard_is_no_absent_one(tmp_path):
    images = noise((3, 64, 64))
    array = zarr.create_array(tmp_path / "a", data=images, chunks=(1, 32, 32), shards=(1, 64, 64))
    (tmp_path / "a" / array.metadata.encode_chunk_key((1, 0, 0))).write_bytes(b"")
    first, second, third = pixels(tmp_path / "a")
    assert second == "its chunk c/1/0/0 is an empty file (0 bytes)"
    same([first, third], images[::2])
