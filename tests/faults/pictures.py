"""Planted pictures, the containers that hold them, and what decoders other than the workflow's see in them."""

import io
import lzma
import zlib
from collections.abc import Callable
from typing import NamedTuple

import imagecodecs
import numpy as np
import PIL.Image
import pyarrow as pa
import simplejpeg
import tifffile

from fieldwork import synthetic

SHAPE = (96, 128)  # rows, columns
STRIP_ROWS, TILE_PX = 16, 32
MEANINGS = {"u16": np.uint16, "u8": np.uint8, "f32": np.float32}  # of the names of plates, each of one type


class Container(NamedTuple):
    """A way to store an image in a file."""

    category: str
    name: str
    plate: str  # key of `MEANINGS`
    suffix: str
    write: Callable[[np.ndarray], bytes]
    decode: Callable[[bytes], np.ndarray] | None = None  # of one strip or tile, or of a file that is no TIFF
    predictor: int = 1  # as TIFF numbers them


def picture(plate: str, rng: np.random.Generator) -> np.ndarray:
    """Draw a field of planted nuclei in the type of a plate."""
    image, _ = synthetic.plant_field(rng, shape=SHAPE, count=5)
    if plate == "u8":
        return (image // 64).clip(0, 255).astype(np.uint8)
    return image if plate == "u16" else (image / np.float32(65535)).astype(np.float32)


def tiff(**options: object) -> Callable[[np.ndarray], bytes]:
    """Return a function that writes an image as TIFF with these options of tifffile."""
    layout = {"rowsperstrip": STRIP_ROWS} if "tile" not in options else {}

    def write(image):
        stream = io.BytesIO()
        keys = {key: options[key] for key in ("bigtiff", "byteorder", "imagej", "ome") if key in options}
        others = {key: value for key, value in options.items() if key not in keys}
        with tifffile.TiffWriter(stream, **keys) as tif:
            tif.write(image, **{"metadata": None if not keys.keys() & {"imagej", "ome"} else {}} | layout | others)
        return stream.getvalue()

    return write


def saved(kind: str, **options: object) -> Callable[[np.ndarray], bytes]:
    """Return a function that writes an image by Pillow."""

    def write(image):
        stream = io.BytesIO()
        PIL.Image.fromarray(image).save(stream, kind, **options)
        return stream.getvalue()

    return write


def by_zlib(data: bytes) -> bytes:
    """Decompress by Python's zlib; raise ValueError unless the stream is complete."""
    stream = zlib.decompressobj()
    pixels = stream.decompress(data)
    if not stream.eof:
        raise ValueError("incomplete")
    return pixels


def by_arrow(data: bytes) -> bytes:
    """Decompress Zstandard by Arrow."""
    with pa.CompressedInputStream(pa.BufferReader(data), "zstd") as stream:
        return stream.read()


def by_libjpeg(data: bytes) -> np.ndarray:
    """Decode a grey JPEG stream by libjpeg; its warnings are errors."""
    return simplejpeg.decode_jpeg(data, "GRAY", strict=True)[..., 0]


def by_libtiff(data: bytes, page: int = 0) -> np.ndarray:
    """Decode a page of a TIFF file by libtiff; the workflow's reader of tags and pages is tifffile."""
    return imagecodecs.tiff_decode(data, index=page)


def by_pillow(data: bytes) -> np.ndarray:
    """Decode an image by Pillow with its own OpenJPEG."""
    with PIL.Image.open(io.BytesIO(data)) as image:
        return np.array(image)


def by_libpng(data: bytes) -> np.ndarray:
    """Decode a PNG by libpng; the sums of its chunks must be right."""
    position = 8
    while position < len(data):
        length = int.from_bytes(data[position : position + 4])
        chunk = data[position + 4 : position + 8 + length]
        if zlib.crc32(chunk) != int.from_bytes(data[position + 8 + length : position + 12 + length]):
            raise ValueError(f"sum of {chunk[:4]!r}")
        position += 12 + length
        if chunk.startswith(b"IEND"):
            return imagecodecs.png_decode(data)
    raise ValueError("no end")


def by_lzma(data: bytes) -> bytes:
    """Decompress by Python's lzma, which checks sums."""
    stream = lzma.LZMADecompressor()
    pixels = stream.decompress(data)
    if not stream.eof:
        raise ValueError("incomplete")
    return pixels


_TILE = {"tile": (TILE_PX, TILE_PX)}
_PACKED = {"LZW": ("lzw", None), "Deflate": ("zlib", by_zlib), "Zstandard": ("zstd", by_arrow)}
CONTAINERS = [
    Container("TIFF, uncompressed", "strips", "u16", ".tif", tiff()),
    Container("TIFF, uncompressed", "one strip", "u16", ".tif", tiff(rowsperstrip=SHAPE[0])),
    Container("TIFF, uncompressed", "tiles", "u16", ".tif", tiff(**_TILE)),
    Container("TIFF, uncompressed", "big-endian", "u16", ".tiff", tiff(byteorder=">")),
    Container("TIFF, uncompressed", "BigTIFF", "u16", ".tif", tiff(bigtiff=True)),
    Container("TIFF, uncompressed", "ImageJ", "u16", ".tif", tiff(imagej=True)),
    Container("TIFF, uncompressed", "OME", "u16", ".ome.tif", tiff(ome=True)),
    Container("TIFF, uncompressed", "floats", "f32", ".tif", tiff()),
    *(
        Container(f"TIFF, {name}", kind, plate, ".tif", tiff(compression=code, **options), decode, predictor)
        for name, (code, decode) in _PACKED.items()
        for kind, plate, options, predictor in (
            ("strips", "u16", {}, 1),
            ("tiles", "u16", _TILE, 1),
            ("tiles, predictor", "u16", _TILE | {"predictor": 2}, 2),
            ("strips, 8 bits", "u8", {}, 1),
        )
    ),
    Container("TIFF, LZMA", "strips", "u16", ".tif", tiff(compression="lzma"), by_lzma),
    Container("TIFF, JPEG", "strips", "u8", ".tif", tiff(compression="jpeg"), by_libjpeg),
    Container("TIFF, JPEG", "tiles", "u8", ".tif", tiff(compression="jpeg", **_TILE), by_libjpeg),
    Container("TIFF, JPEG", "one strip", "u8", ".tif", tiff(compression="jpeg", rowsperstrip=SHAPE[0]), by_libjpeg),
    Container("TIFF, JPEG 2000", "tiles", "u16", ".tif", tiff(compression="jpeg2000", **_TILE), by_pillow),
    Container("TIFF, JPEG 2000", "strips", "u8", ".tif", tiff(compression="jpeg2000"), by_pillow),
    Container("PNG", "16 bits", "u16", ".png", saved("PNG"), by_libpng),
    Container("PNG", "8 bits", "u8", ".png", saved("PNG", compress_level=9), by_libpng),
    Container("JPEG", "baseline", "u8", ".jpg", saved("JPEG", quality=95), by_libjpeg),
    Container("JPEG", "progressive", "u8", ".jpg", saved("JPEG", quality=95, progressive=True), by_libjpeg),
    Container("JPEG", "restart markers", "u8", ".jpeg", saved("JPEG", quality=95, restart_marker_rows=1), by_libjpeg),
    Container("BMP", "grey", "u8", ".bmp", saved("BMP")),
]


def pixels_in(container: Container, data: bytes, page: int = 0) -> list[range]:
    """Return where the pixels of a whole file are: of a TIFF, each strip or tile of a page."""
    if container.suffix.endswith((".tif", ".tiff")):
        with tifffile.TiffFile(io.BytesIO(data)) as tif:
            counted = zip(tif.pages[page].dataoffsets, tif.pages[page].databytecounts, strict=True)
            return [range(start, start + count) for start, count in counted]
    if container.category == "PNG":
        start = data.index(b"IDAT") + 4
        return [range(start, data.rindex(b"IEND") - 8)]
    if container.category == "JPEG":
        return [range(data.index(b"\xff\xda") + 14, len(data))]
    return [range(int.from_bytes(data[10:14], "little"), len(data))]


def seen_in(container: Container, data: bytes, before: bytes, page: int = 0) -> np.ndarray | None:
    """Return what a second decoder sees in damaged bytes; None where it calls them damaged, or some are missing.

    Parameters
    ----------
    container : Container
    data : bytes
        Damaged, but for the tags that say where pixels are.
    before : bytes
        Of the whole file.
    page : int
        Of a TIFF file, from 0.
    """
    ranges = pixels_in(container, before, page)
    if any(part.stop > len(data) for part in ranges):
        return None
    try:
        if container.category in ("PNG", "JPEG"):
            return container.decode(data)
        if container.category == "BMP":
            return by_pillow(data)
        if container.category == "TIFF, LZW":
            return by_libtiff(data, page)
        return _joined(container, data, before, page)
    except Exception:  # whatever decoders raise
        return None


def _joined(container, data, before, page):
    """Return the image of the strips or tiles of a page of a TIFF file."""
    with tifffile.TiffFile(io.BytesIO(before)) as tif:
        key = tif.pages[page].keyframe
        shape = (TILE_PX, TILE_PX) if key.is_tiled else (key.rowsperstrip, SHAPE[1])
        dtype = np.dtype(key.dtype).newbyteorder(tif.byteorder)
    image = np.empty(SHAPE, MEANINGS[container.plate])
    for number, part in enumerate(pixels_in(container, before, page)):
        stored = data[part.start : part.stop]
        pixels = container.decode(stored) if container.decode else stored
        if isinstance(pixels, bytes):
            pixels = np.frombuffer(pixels, dtype).reshape(shape)
        elif pixels.shape != shape:
            raise ValueError(f"{pixels.shape} in place of {shape}")
        if container.predictor == 2:
            pixels = np.cumsum(pixels, axis=1, dtype=pixels.dtype)
        row, column = divmod(number, SHAPE[1] // shape[1])
        row, column = row * shape[0], column * shape[1]
        image[row : row + shape[0], column : column + shape[1]] = pixels
    return image
