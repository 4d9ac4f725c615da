"""Cases of slides: tiles that are damaged, and files that are no slides."""

import io
import struct
from collections.abc import Callable, Iterator

import numpy as np
import simplejpeg
import tifffile

from faults import damage, pictures
from faults.cases.tags import with_tag
from faults.catalogue import DAMAGED, Failed, SlideCase, Tiles, random_numbers
from slide_files import picture

SHAPE, TILE_PX = (384, 512), 64
ACROSS = SHAPE[1] // TILE_PX
STRUCK = 21  # a tile in the middle
KINDS = (damage.nothing, damage.hole, damage.tail_of_zeros, damage.noise)
CODECS: dict[str, tuple[str | None, Callable[[bytes], bytes | np.ndarray]]] = {
    "uncompressed": (None, bytes),
    "Deflate": ("zlib", pictures.by_zlib),
    "LZW": ("lzw", None),
    "Zstandard": ("zstd", pictures.by_arrow),
    "JPEG": ("jpeg", lambda data: simplejpeg.decode_jpeg(data, "RGB", strict=True)),
    "JPEG 2000": ("jpeg2000", pictures.by_pillow),
}


def cases() -> Iterator[SlideCase]:
    """Yield every case of a slide."""
    for codec in CODECS:
        for kind in KINDS:
            yield _case(codec, kind)
        data = _written(codec)
        yield _file(f"{codec}, cut in the middle", data[: len(data) // 2], Failed(DAMAGED))
    yield from _specials()


def _written(codec):
    """Return the bytes of a slide."""
    stream = io.BytesIO()
    image = picture(*SHAPE, seed=26)
    with tifffile.TiffWriter(stream) as tif:
        options = {"compression": CODECS[codec][0], "photometric": "ycbcr" if codec == "JPEG" else "rgb"}
        tif.write(image, tile=(TILE_PX, TILE_PX), resolution=(20000, 20000), resolutionunit=3, metadata=None, **options)
    return stream.getvalue()


def _case(codec, kind):
    """Return the case of a damaged tile."""
    before = _written(codec)
    with tifffile.TiffFile(io.BytesIO(before)) as tif:
        offsets, counts = tif.pages[0].dataoffsets, tif.pages[0].databytecounts
    struck = range(offsets[STRUCK], offsets[STRUCK] + counts[STRUCK])
    after = kind(before, struck, random_numbers("slides", codec, kind.__name__))
    image, failed = np.zeros((*SHAPE, 3), np.uint8), set()
    for number, (start, count) in enumerate(zip(offsets, counts, strict=True)):
        row, column = (TILE_PX * part for part in divmod(number, ACROSS))
        try:
            image[row : row + TILE_PX, column : column + TILE_PX] = _seen(codec, after[start : start + count])
        except Exception:  # whatever decoders raise
            failed.add(number)
    if codec == "JPEG" and kind in (damage.hole, damage.tail_of_zeros):
        failed.add(STRUCK)
    return _file(f"{codec}, {kind.__name__.replace('_', ' ')}", after, Tiles(image, failed))


def _seen(codec, data):
    """Return what a second decoder sees in a tile."""
    decode = CODECS[codec][1]
    if decode is None:  # libtiff, of a file that has the tile alone
        tile = pictures.tiff(compression=CODECS[codec][0], photometric="rgb", tile=(TILE_PX, TILE_PX))
        alone = bytearray(tile(np.zeros((TILE_PX, TILE_PX, 3), np.uint8)))
        start = len(alone)
        alone = with_tag(bytes(alone), "TileOffsets", start)
        return pictures.by_libtiff(with_tag(alone, "TileByteCounts", len(data)) + data)
    pixels = decode(data)
    return pixels if isinstance(pixels, np.ndarray) else np.frombuffer(pixels, np.uint8).reshape(TILE_PX, TILE_PX, 3)


def _specials():
    """Yield cases of files that are no slides, or claim what is not so."""
    data = _written("Deflate")
    wide = with_tag(data, "ImageWidth", 10**6)
    contents = {
        "empty": (b"", r"empty|not a TIFF"),
        "text": (b"not a slide\n" * 100, r"no reader|not a TIFF|expected"),
        "zeros": (bytes(5000), r"no reader|not a TIFF|expected"),
        "a PNG": (pictures.saved("PNG")(picture(*SHAPE)), r"no reader|not a TIFF|expected|PNG"),
        "the header alone": (data[:8], DAMAGED),
        "no page": (data[:4] + bytes(4) + data[8:], rf"no page|without pages|{DAMAGED}"),
        "10^6 x 10^6 px": (with_tag(wide, "ImageLength", 10**6), r"\d+ of \d+ tiles|tiles"),
        "0 px wide": (with_tag(data, "ImageWidth", 0), rf"0|{DAMAGED}"),
        "twice as high": (with_tag(data, "ImageLength", 768), r"\d+ of \d+ tiles|tiles|blank|missing"),
        "tiles of 0 px": (with_tag(data, "TileWidth", 0), rf"tile|{DAMAGED}"),
        "tiles of 10^9 px": (with_tag(data, "TileWidth", 10**9), rf"tile|at most|large|{DAMAGED}"),
        "tiles that are Fax": (with_tag(data, "Compression", 3), rf"Fax|CCITT|bilevel|{DAMAGED}"),
        "tiles of a codec that nobody knows": (with_tag(data, "Compression", 9999), rf"ompression|{DAMAGED}"),
        "tiles beyond the end": (with_tag(data, "TileOffsets", (10**9,) * 48), DAMAGED),
        "tiles without bytes": (with_tag(data, "TileByteCounts", (0,) * 48), DAMAGED),
        "pages in a circle": (_circle(data), r"circle"),
    }
    for name, (content, reason) in contents.items():
        yield _file(name, content, Failed(reason))


def _circle(data):
    """Return a TIFF whose first page is followed by itself."""
    (directory,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, directory)
    place = directory + 2 + 12 * count
    return data[:place] + data[4:8] + data[place + 4 :]


def _file(name, data, must):
    return SlideCase("Slides", name, lambda path: path.write_bytes(data), must)
