"""OME-Zarr stores: valid for other tools, pixels and bytes as written, by any number of processes."""

import json
import multiprocessing
import subprocess
import sys
from pathlib import Path

import cv2
import dask
import imagecodecs
import imagecodecs.numcodecs
import numpy as np
import pytest
import zarr

from fieldwork.omezarr import metadata as omezarr_metadata
from fieldwork.omezarr import slides

imagecodecs.numcodecs.register_codecs("imagecodecs_jpeg", verbose=False)

STORES = [(version, codec) for version, codecs in slides.CODECS.items() for codec in codecs if codec != "keep"]
OPTIONS = dict(chunk=64, shard=256, level=1, mpp=(0.5, 0.25), name="A slide")


def picture(height, width, seed=0):
    """Draw smooth colours, which show a mistake of one pixel or channel, and a white corner: chunks of fill value."""
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    image = cv2.GaussianBlur(noise, (0, 0), 2).reshape(height, width, 3)
    image[: height // 2, : width // 3] = 255
    return image


def pyramid(image, *, chunk=64):
    return [
        np.ascontiguousarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)).reshape(height, width, 3)
        for height, width in omezarr_metadata.level_shapes(*image.shape[:2], chunk=chunk)
    ]


def write_blocks(path, images, *, start=0, step=1, shard=256):
    """Write every `step`-th block of level 0; the process that starts at 0 also writes the other levels."""
    arrays = slides.open_levels(path)
    height, width = images[0].shape[:2]
    blocks = [(y, x) for y in range(0, height, shard) for x in range(0, width, shard)]
    for y, x in blocks[start::step]:
        slides.write_block(arrays[0], images[0][y : y + shard, x : x + shard], y, x)
    if start == 0:
        for array, image in zip(arrays[1:], images[1:], strict=True):
            slides.write_block(array, image, 0, 0)


def written(path, image, *, version="0.5", codec="zstd", **options):
    """Write a store of an image and its pyramid."""
    slides.create_slide(path, shape=image.shape[:2], version=version, codec=codec, **(OPTIONS | options))
    write_blocks(path, pyramid(image))
    return path


def bytes_of(folder):
    return {str(file.relative_to(folder)): file.read_bytes() for file in Path(folder).rglob("*") if file.is_file()}


def validate(path, version):
    """Validate an image group with ome-zarr-models and return its OME attributes."""
    from ome_zarr_models import v04, v05

    group = zarr.open_group(path, mode="r")
    if version == "0.5":
        return v05.Image.from_zarr(group).ome_attributes
    return v04.Image.from_zarr(group).attributes


def ome_zarr_py(path):
    """Read a store with ome-zarr-py: lists of levels by node, the image first."""
    from ome_zarr.io import parse_url
    from ome_zarr.reader import Reader

    with dask.config.set(scheduler="synchronous"):
        return [[np.asarray(level) for level in node.data] for node in Reader(parse_url(str(path)))() if node.data]


def placement(dataset):
    """Return scale and translation of a level."""
    scale, translation = dataset.coordinateTransformations
    return [tuple(scale.scale), tuple(translation.translation)]


def test_levels_halve_until_one_chunk_holds_all():
    assert omezarr_metadata.level_shapes(777, 1301, chunk=64) == [
        (777, 1301), (389, 651), (195, 326), (98, 163), (49, 82), (25, 41)
    ]  # fmt: skip
    assert omezarr_metadata.level_shapes(64, 64, chunk=64) == [(64, 64)]
    assert omezarr_metadata.level_shapes(1, 65, chunk=64) == [(1, 65), (1, 33)]


@pytest.mark.parametrize("size", [(777, 1301), (1, 1), (256, 512), (65, 1)])
@pytest.mark.parametrize(("version", "codec"), STORES)
def test_every_reader_gives_the_pixels_that_were_written(tmp_path, version, codec, size):
    image = picture(*size)
    path = written(tmp_path / "slide.zarr", image, version=version, codec=codec)
    expected = pyramid(image)
    arrays = slides.open_levels(path)
    plain = zarr.open_group(path, mode="r")
    (levels,) = ome_zarr_py(path)
    assert len(arrays) == len(levels) == len(expected)
    for n, level in enumerate(expected):
        pixels = slides.read_block(arrays[n], 0, 0, *level.shape[:2])
        assert pixels.flags.c_contiguous
        np.testing.assert_array_equal(pixels, level)
        np.testing.assert_array_equal(plain[str(n)][:], level.transpose(2, 0, 1))
        np.testing.assert_array_equal(levels[n], level.transpose(2, 0, 1))
    if size == (777, 1301):
        np.testing.assert_array_equal(slides.read_block(arrays[0], 50, 700, 300, 601), image[50:350, 700:1301])


@pytest.mark.parametrize(("version", "codec"), [("0.5", "zstd"), ("0.5", "lz4"), ("0.4", "zstd"), ("0.4", "lz4")])
def test_zarr_without_zarrs_reads_the_same(tmp_path, version, codec):
    image = picture(300, 200)
    path = written(tmp_path / "slide.zarr", image, version=version, codec=codec)
    code = (
        "import sys, zarr; array = zarr.open_array(sys.argv[1], mode='r');"
        "assert 'Batched' in type(array.async_array.codec_pipeline).__name__;"
        "sys.stdout.buffer.write(array[:].tobytes())"
    )
    reader = subprocess.run([sys.executable, "-c", code, path / "0"], stdout=subprocess.PIPE, check=True)
    np.testing.assert_array_equal(np.frombuffer(reader.stdout, np.uint8).reshape(3, 300, 200), image.transpose(2, 0, 1))


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_metadata_are_valid_and_say_where_the_pixels_are(tmp_path, version):
    path = written(tmp_path / "slide.zarr", picture(200, 300), version=version, attributes={"vendor": {"MPP": "0.5"}})
    (multiscale,) = validate(path, version).multiscales
    assert [(axis.name, axis.type, axis.unit) for axis in multiscale.axes] == [
        ("c", "channel", None), ("y", "space", "micrometer"), ("x", "space", "micrometer")
    ]  # fmt: skip
    assert [placement(level) for level in multiscale.datasets] == [
        [(1, 0.5, 0.25), (0, 0, 0)],
        [(1, 1, 0.5), (0, 0.25, 0.125)],  # the first mean of 2 x 2 is half a pixel in
        [(1, 2, 1), (0, 0.75, 0.375)],
        [(1, 4, 2), (0, 1.75, 0.875)],
    ]
    attributes = zarr.open_group(path, mode="r").attrs.asdict()
    assert attributes["fieldwork"] == {"vendor": {"MPP": "0.5"}}
    omero = attributes.get("ome", attributes)["omero"]
    assert [(channel["label"], channel["color"], channel["active"]) for channel in omero["channels"]] == [
        ("Red", "FF0000", True), ("Green", "00FF00", True), ("Blue", "0000FF", True)
    ]  # fmt: skip
    assert omero["rdefs"]["model"] == "color"


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_without_a_pixel_size_there_is_no_unit(tmp_path, version):
    path = written(tmp_path / "slide.zarr", picture(100, 90), version=version, mpp=None)
    (multiscale,) = validate(path, version).multiscales
    assert [axis.unit for axis in multiscale.axes] == [None] * 3
    assert multiscale.datasets[1].coordinateTransformations[0].scale == [1, 2, 2]


def test_shards_halve_with_the_levels(tmp_path):
    path = written(tmp_path / "slide.zarr", picture(777, 1301))
    arrays = slides.open_levels(path)
    assert [array.shards[1:] for array in arrays] == [(256, 256), (128, 128)] + [(64, 64)] * 4
    assert {array.chunks for array in arrays} == {(3, 64, 64)}


@pytest.mark.parametrize(("version", "codec"), STORES)
def test_forked_writers_make_the_bytes_of_one_writer(tmp_path, version, codec):
    image = picture(600, 700)
    alone = written(tmp_path / "alone.zarr", image, version=version, codec=codec)  # this process has threads now
    np.testing.assert_array_equal(slides.read_block(slides.open_levels(alone)[0], 0, 0, 600, 700), image)
    path = tmp_path / "shared.zarr"
    slides.create_slide(path, shape=(600, 700), version=version, codec=codec, **OPTIONS)
    writers = [
        multiprocessing.get_context("fork").Process(
            target=write_blocks, args=(path, pyramid(image)), kwargs={"start": start, "step": 2}, daemon=True
        )
        for start in (1, 0)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(30)
    assert [writer.exitcode for writer in writers] == [0, 0]
    assert bytes_of(path) == bytes_of(alone)
    assert len(bytes_of(path)) > 10


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_white_takes_no_bytes(tmp_path, version):
    path = written(tmp_path / "slide.zarr", np.full((300, 300, 3), 255, np.uint8), version=version)
    assert {Path(name).name for name in bytes_of(path)} <= {"zarr.json", ".zarray", ".zgroup", ".zattrs"}
    assert (slides.read_block(slides.open_levels(path)[0], 0, 0, 300, 300) == 255).all()


@pytest.mark.parametrize("options", [{}, {"subsampling": "420"}, {"outcolorspace": "rgb"}])
def test_kept_tiles_are_the_streams_and_decode_to_their_pixels(tmp_path, options):
    image = np.pad(picture(300, 200), ((0, 84), (0, 56), (0, 0)), mode="edge")  # whole tiles
    path = tmp_path / "slide.zarr"
    slides.create_slide(path, shape=(300, 200), version="0.4", codec="keep", **OPTIONS | {"chunk": 128})
    decoded = np.empty_like(image)
    for row in range(3):
        for column in range(2):
            area = np.s_[row * 128 : row * 128 + 128, column * 128 : column * 128 + 128]
            stream = imagecodecs.jpeg8_encode(np.ascontiguousarray(image[area]), level=90, **options)
            slides.put_tile(path, 0, row, column, stream)
            decoded[area] = imagecodecs.jpeg8_decode(stream)
            assert (path / f"0/0/{row}/{column}").read_bytes() == stream
    assert len(list((path / "0/0").rglob("*.*"))) == 0  # no parts of files
    assert abs(decoded.astype(int) - image).mean() < 3
    expected = decoded[:300, :200]
    arrays = slides.open_levels(path)
    for number, level in list(enumerate(pyramid(expected)))[1 : len(arrays)]:
        slides.write_jpegs(path, number, level, 0, 0, tile=128)
        pixels = slides.read_block(arrays[number], 0, 0, *level.shape[:2])
        assert abs(pixels.astype(int) - level).mean() < 10  # the picture is noisy
    np.testing.assert_array_equal(slides.read_block(arrays[0], 0, 0, 300, 200), expected)
    np.testing.assert_array_equal(slides.read_block(arrays[0], 120, 30, 100, 150), expected[120:220, 30:180])
    validate(path, "0.4")
    (levels,) = ome_zarr_py(path)
    for level, array in zip(levels, arrays, strict=True):
        np.testing.assert_array_equal(level, array[:])
    metadata = json.loads((path / "0/.zarray").read_text())
    assert metadata["compressor"] == {"id": "imagecodecs_jpeg"}
    assert metadata["filters"] == [{"id": "shuffle", "elementsize": 128 * 128}]


def test_kept_tiles_that_are_missing_are_white(tmp_path):
    slides.create_slide(tmp_path / "a", shape=(300, 200), version="0.4", codec="keep", **OPTIONS | {"chunk": 128})
    assert (slides.read_block(slides.open_levels(tmp_path / "a")[0], 0, 0, 300, 200) == 255).all()


@pytest.mark.parametrize("dtype", ["uint8", "int32"])
@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_labels_lie_on_the_level_they_were_made_from(tmp_path, version, dtype):
    path = written(tmp_path / "slide.zarr", picture(400, 600), version=version)
    levels = len(omezarr_metadata.level_shapes(400, 600, chunk=64))
    mask = np.random.default_rng(0).integers(0, 100, (100, 150)).astype(dtype)  # of level 2
    slides.add_label(path, "tissue", mask, factor=4, mpp=(0.5, 0.25))
    slides.add_label(path, "nuclei", mask + 1, factor=4, mpp=(0.5, 0.25))
    image = validate(path, version).multiscales[0]  # with its labels
    group = zarr.open_group(path / "labels", mode="r")
    assert group.attrs.asdict().get("ome", group.attrs)["labels"] == ["tissue", "nuclei"]
    (label,) = validate(path / "labels/tissue", version).multiscales
    assert [axis.name for axis in label.axes] == ["y", "x"]
    assert len(label.datasets) == len(image.datasets) == levels  # OME-Zarr: MUST have the same number
    assert placement(label.datasets[0]) == [values[1:] for values in placement(image.datasets[2])]
    attributes = group["tissue"].attrs.asdict()
    assert attributes.get("ome", attributes)["image-label"]["version"] == version
    nodes = ome_zarr_py(path)
    assert len(nodes) == 3
    for n, label in enumerate(nodes[1]):
        assert label.dtype == dtype
        np.testing.assert_array_equal(label, mask[:: 2**n, :: 2**n])


def test_labels_fit_a_store_of_kept_tiles(tmp_path):
    path = tmp_path / "slide.zarr"
    slides.create_slide(path, shape=(300, 200), version="0.4", codec="keep", **OPTIONS | {"chunk": 128})
    slides.add_label(path, "tissue", np.eye(75, 50, dtype=np.uint8), factor=4, mpp=(0.5, 0.25))
    validate(path, "0.4")
    np.testing.assert_array_equal(ome_zarr_py(path)[1][0], np.eye(75, 50))


@pytest.mark.parametrize("mask", [np.zeros((3, 3), bool), np.zeros((3, 3)), np.zeros((1, 3, 3), int)])
def test_labels_are_two_dimensional_integers(tmp_path, mask):
    with pytest.raises(ValueError, match="expected 2-D integers"):
        slides.add_label(tmp_path, "tissue", mask, factor=1, mpp=None)


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_associated_images_are_images_beside_the_slide(tmp_path, version):
    path = written(tmp_path / "slide.zarr", picture(100, 100), version=version)
    pictures = {"macro": picture(431, 1280, seed=1), "label": picture(40, 30, seed=2)}
    for name, image in pictures.items():
        slides.add_associated(path, name, image)
    validate(path, version)
    for name, image in pictures.items():
        validate(path / "associated" / name, version)
        ((level,),) = ome_zarr_py(path / "associated" / name)
        np.testing.assert_array_equal(level, image.transpose(2, 0, 1))
        (array,) = slides.open_levels(path / "associated" / name)
        np.testing.assert_array_equal(slides.read_block(array, 0, 0, *image.shape[:2]), image)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"version": "0.6"}, "expected one of"),
        ({"codec": "keep"}, "expected one of"),
        ({"codec": "jpeg"}, "expected one of"),
        ({"shard": 192}, "power of two"),
        ({"shard": 32}, "power of two"),
    ],
)
def test_what_cannot_be_written_is_refused_before_a_folder_appears(tmp_path, options, reason):
    with pytest.raises(ValueError, match=reason):
        slides.create_slide(
            tmp_path / "slide.zarr", **(OPTIONS | {"shape": (9, 9), "version": "0.5", "codec": "zstd"} | options)
        )
    assert not (tmp_path / "slide.zarr").exists()


def test_an_existing_folder_is_not_written_into(tmp_path):
    with pytest.raises(FileExistsError, match="expected a new folder"):
        written(tmp_path, picture(9, 9))
    assert not list(tmp_path.iterdir())
