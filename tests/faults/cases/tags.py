"""Cases of TIFF files whose tags claim what is not so."""

import io
import struct
from collections.abc import Iterator

import numpy as np
import tifffile

from faults import pictures
from faults.catalogue import DAMAGED, Failed, FieldCase, Good, random_numbers

CATEGORY = "TIFF, tags"
OTHER_FORM = r"wrong shape or type"
NO_PIXELS = r"at least one value|0 x|damaged|no pixels|expected"
TOO_LARGE = rf"at most|large|memory|{DAMAGED}"
UNKNOWN = r"ompression|cannot be decoded|damaged"
SHORT, LONG = 3, 4  # types of tags
PRIVATE_TAG = 60001

# Tag, value, what must happen: None if the image is as planted. Of uncompressed strips.
PLAIN: list[tuple[str, int | tuple[int, ...], Failed | None]] = [
    ("ImageWidth", 0, Failed(NO_PIXELS)),
    ("ImageLength", 0, Failed(NO_PIXELS)),
    ("ImageWidth", 10**6, Failed(TOO_LARGE)),
    ("ImageLength", 10**6, Failed(TOO_LARGE)),
    ("ImageWidth", 2**32 - 1, Failed(TOO_LARGE)),
    ("ImageLength", 2**32 - 1, Failed(TOO_LARGE)),
    ("ImageLength", 97, Failed(DAMAGED)),
    ("ImageLength", 90, Failed(OTHER_FORM)),
    ("ImageWidth", 129, Failed(f"{OTHER_FORM}|{DAMAGED}")),
    ("BitsPerSample", 8, Failed(OTHER_FORM)),
    ("BitsPerSample", 32, Failed(f"{OTHER_FORM}|{DAMAGED}")),
    ("BitsPerSample", 7, Failed(f"{OTHER_FORM}|{DAMAGED}|7 bits")),
    ("BitsPerSample", 0, Failed(f"{OTHER_FORM}|{DAMAGED}|0 bits")),
    ("BitsPerSample", 65535, Failed(f"{DAMAGED}|65535")),
    ("SampleFormat", 2, Failed(OTHER_FORM)),
    ("SampleFormat", 3, Failed(OTHER_FORM)),
    ("SampleFormat", 6, Failed(r"complex|real numbers|sample format")),
    ("SampleFormat", 99, Failed(f"sample|99|{DAMAGED}")),
    ("Compression", 9999, Failed(UNKNOWN)),
    ("Compression", 5, Failed(DAMAGED)),
    ("Compression", 8, Failed(DAMAGED)),
    ("Compression", 7, Failed(DAMAGED)),
    ("Compression", 50000, Failed(DAMAGED)),
    ("Compression", 34925, Failed(DAMAGED)),
    ("Compression", 34712, Failed(DAMAGED)),
    ("Compression", 22610, Failed(DAMAGED)),
    ("Compression", 2, Failed(f"Fax|CCITT|bilevel|expected|{DAMAGED}")),
    ("Compression", 3, Failed(f"Fax|CCITT|bilevel|expected|{DAMAGED}")),
    ("Compression", 4, Failed(f"Fax|CCITT|bilevel|expected|{DAMAGED}")),
    ("SamplesPerPixel", 3, Failed(DAMAGED)),
    ("SamplesPerPixel", 0, Failed(f"{NO_PIXELS}|{DAMAGED}")),
    ("SamplesPerPixel", 65535, Failed(TOO_LARGE)),
    ("RowsPerStrip", 17, Failed(DAMAGED)),
    ("RowsPerStrip", 8, Failed(DAMAGED)),
    ("StripOffsets", 10**8, Failed(DAMAGED)),
    ("StripOffsets", (8, 10**9, 10**9, 10**9, 10**9, 10**9), Failed(DAMAGED)),
    ("StripByteCounts", (0, 0, 0, 0, 0, 0), Failed(DAMAGED)),
    ("StripByteCounts", (4096, 4096, 4096, 4096, 4096, 2**31), Failed(DAMAGED)),
    ("PhotometricInterpretation", 1, None),
    ("NewSubfileType", 0, None),
    ("Orientation", 3, None),
    ("Predictor", 2, None),
    ("Predictor", 3, None),
]

# Of strips that Deflate packed.
PACKED: list[tuple[str, int | tuple[int, ...], Failed | None]] = [
    ("Compression", 1, Failed(DAMAGED)),
    ("Compression", 5, Failed(DAMAGED)),
    ("Compression", 50000, Failed(DAMAGED)),
    ("Compression", 32773, Failed(DAMAGED)),
    ("Compression", 34925, Failed(DAMAGED)),
    ("Compression", 32946, None),  # Deflate's old number
    ("ImageLength", 97, Failed(DAMAGED)),
    ("ImageLength", 10**6, Failed(TOO_LARGE)),
    ("ImageWidth", 120, Failed(f"{OTHER_FORM}|{DAMAGED}")),
    ("ImageWidth", 256, Failed(f"{OTHER_FORM}|{DAMAGED}")),
    ("BitsPerSample", 8, Failed(f"{OTHER_FORM}|{DAMAGED}")),
    ("BitsPerSample", 32, Failed(f"{OTHER_FORM}|{DAMAGED}")),
    ("RowsPerStrip", 17, Failed(DAMAGED)),
    ("RowsPerStrip", 32, Failed(DAMAGED)),
    ("RowsPerStrip", 1, Failed(DAMAGED)),
    ("SamplesPerPixel", 2, Failed(f"samples|{DAMAGED}")),
    ("Predictor", 99, Failed(f"redictor|{DAMAGED}")),
]


def cases() -> Iterator[FieldCase]:
    """Yield every case of a tag."""
    for kind, table, options in (("uncompressed", PLAIN, {}), ("Deflate", PACKED, {"compression": "zlib"})):
        for number, (tag, value, must) in enumerate(table):
            image = pictures.picture("u16", random_numbers(CATEGORY, kind, number))
            after = with_tag(_written(image, tag, **options), tag, value)
            yield _case(f"{kind}, {tag} {value}", after, must or Good(image))
    yield from _transformed()
    yield from _directories()


def _transformed():
    """Yield cases of images that are stored in another form than they have."""
    image = pictures.picture("u16", random_numbers(CATEGORY, "transformed"))
    inverted = with_tag(pictures.tiff()(65535 - image), "PhotometricInterpretation", 0)
    yield _case("inverted grey", inverted, Good(image))
    differences = np.diff(image, axis=1, prepend=image.dtype.type(0))
    stored = _written(differences, "Predictor", compression="zlib")
    yield _case("Deflate, Predictor 2 of differences", with_tag(stored, "Predictor", 2), Good(image))


def _written(image, tag, **options):
    """Write an image as TIFF with a private tag, which becomes the wanted one if there is none."""
    data = pictures.tiff(extratags=[(PRIVATE_TAG, SHORT, 1, 1)], **options)(image)
    code = tifffile.TIFF.TAGS[tag]
    with tifffile.TiffFile(io.BytesIO(data)) as tif:
        if code in tif.pages[0].tags:
            return data
    return data.replace(struct.pack("<HH", PRIVATE_TAG, SHORT), struct.pack("<HH", code, SHORT))


def with_tag(data: bytes, name: str, value: int | tuple[int, ...]) -> bytes:
    """Return the bytes of a little-endian TIFF with another value of a tag of its first page."""
    data = bytearray(data)
    code = tifffile.TIFF.TAGS[name]
    (directory,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, directory)
    for entry in range(directory + 2, directory + 2 + 12 * count, 12):
        if struct.unpack_from("<H", data, entry)[0] == code:
            if isinstance(value, tuple):
                (place,) = struct.unpack_from("<I", data, entry + 8)
                struct.pack_into("<HI", data, entry + 2, LONG, len(value))
                struct.pack_into("<I", data, entry + 8, len(data))
                data += struct.pack(f"<{len(value)}I", *value)
            else:
                struct.pack_into("<HII", data, entry + 2, LONG if value > 65535 else SHORT, 1, value)
            return bytes(data)
    raise ValueError(f"no tag {name}")


def _directories():
    """Yield cases of the header and of the list of pages."""
    image = pictures.picture("u16", random_numbers(CATEGORY, "directories"))
    data = pictures.tiff()(image)
    (directory,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, directory)
    following = directory + 2 + 12 * count
    size = len(data)

    def patched(position, layout, *values):
        patch = struct.pack(layout, *values)
        return data[:position] + patch + data[position + len(patch) :]

    other = r"not a TIFF|not an image|damaged|truncated|cannot be decoded|without pages"
    yield _case("header, no page", patched(4, "<I", 0), Failed(other))
    yield _case("header, first page beyond the end", patched(4, "<I", size + 100), Failed(other))
    yield _case("header, first page at the last byte", patched(4, "<I", size - 1), Failed(other))
    yield _case("header, first page among the pixels", patched(4, "<I", size // 2), Failed(other))
    yield _case("header, version 44", patched(2, "<H", 44), Failed(other))
    yield _case("header, the other byte order", patched(0, "<2s", b"MM"), Failed(other))
    yield _case("header, says BigTIFF", patched(2, "<H", 43), Failed(other))
    yield _case("pages, 65535 tags", patched(directory, "<H", 65535), Failed(other))
    yield _case("pages, no tags", patched(directory, "<H", 0), Failed(other))
    yield _case("pages, in a circle", patched(following, "<I", directory), Failed(r"circle"))
    yield _case("pages, next beyond the end", patched(following, "<I", size + 8), Failed(other))
    for tag in ("ImageWidth", "ImageLength", "StripOffsets", "StripByteCounts"):
        entry = data.index(struct.pack("<H", tifffile.TIFF.TAGS[tag]), directory)
        yield _case(f"pages, without {tag}", patched(entry, "<H", 60000), Failed(rf"{tag}|{NO_PIXELS}|{DAMAGED}"))
        yield _case(f"pages, {tag} of type 99", patched(entry + 2, "<H", 99), Failed(rf"{tag}|{NO_PIXELS}|{DAMAGED}"))
    for tag in ("ImageWidth", "ImageLength", "BitsPerSample", "Compression", "StripOffsets", "StripByteCounts"):
        entry = data.index(struct.pack("<H", tifffile.TIFF.TAGS[tag]), directory)
        for part, start in {"type": 2, "value": 4}.items():
            after = patched(entry + start, "<8s", random_numbers(CATEGORY, "noise", tag, part).bytes(8))
            yield _case(f"pages, noise in the {part} of {tag}", after, _as_libtiff(after))


def _as_libtiff(data):
    """Return what must happen to a file of which libtiff reads all, or not."""
    try:
        seen = pictures.by_libtiff(data)
    except Exception:  # whatever imagecodecs raises
        seen = None
    return Failed(rf"{OTHER_FORM}|{DAMAGED}|{NO_PIXELS}|{UNKNOWN}") if seen is None else Good(seen)


def _case(name, data, must):
    return FieldCase(CATEGORY, name, "u16", ".tif", lambda path: path.write_bytes(data), must)
