"""Cases of files that are no images, or not what their names say; of PNG, JPEG and metadata with odd parts."""

import gzip
import io
import os
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import PIL.Image
import tifffile

from faults import pictures
from faults.catalogue import DAMAGED, NOT_READ, Failed, FieldCase, Good, random_numbers

NO_IMAGE = r"not a TIFF|not an image|expected a TIFF"
TOO_LARGE = rf"at most|large|memory|{DAMAGED}"


def cases() -> Iterator[FieldCase]:
    """Yield every special case."""
    image = pictures.picture("u16", random_numbers("specials"))
    grey = pictures.picture("u8", random_numbers("specials, 8 bits"))
    yield from _no_images(image)
    yield from _kinds_of_files(image)
    yield from _png(image)
    yield from _jpeg(grey)
    yield from _metadata(image)
    yield from _other_forms(image)


def _bytes(category, plate="u16"):
    """Return a function that returns the case of a file with these bytes."""

    def case(name: str, data: bytes, must: Good | Failed, suffix: str = ".tif") -> FieldCase:
        return FieldCase(category, name, plate, suffix, lambda path: path.write_bytes(data), must)

    return case


def _no_images(image):
    """Yield cases of bytes that are no image."""
    case = _bytes("No images")
    whole = pictures.tiff()(image)
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w") as archive:
        archive.writestr("a.tif", whole)
    contents = {
        "one byte": b"I",
        "the signature alone": whole[:4],
        "the header alone": whole[:8],
        "zeros": bytes(len(whole)),
        "ones": b"\xff" * len(whole),
        "random": random_numbers("random bytes").bytes(len(whole)),
        "text": b"not an image\n" * 100,
        "UTF-16": ("\ufeffnot an image\n" * 100).encode("utf-16"),
        "a page of a web server": b"<!DOCTYPE html><html><body>404 Not Found</body></html>",
        "a pointer of Git LFS": b"version https://git-lfs.github.com/spec/v1\noid sha256:"
        + b"0" * 64
        + b"\nsize 24816\n",
        "zip": zipped.getvalue(),
        "gzip": gzip.compress(whole, mtime=0),
        "PDF": b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n" + bytes(1000),
        "HDF5": b"\x89HDF\r\n\x1a\n" + bytes(1000),
        "DICOM": bytes(128) + b"DICM" + bytes(1000),
        "an .npy array": b"\x93NUMPY\x01\x00v\x00{'descr': '<u2', 'fortran_order': False, 'shape': (4, 4), }"
        + bytes(90),
        "a script": b"#!/bin/sh\nexit 0\n",
        "an archive": b"a.tif" + bytes(95) + b"0000644" + bytes(405),
    }
    for name, data in contents.items():
        yield case(f"{name}, .tif", data, Failed(rf"{NO_IMAGE}|{DAMAGED}"))
        yield case(f"{name}, .png", data, Failed(rf"{NO_IMAGE}|{DAMAGED}"), ".png")
    yield case("empty, .tif", b"", Failed(r"empty file \(0 bytes\)"))
    yield case("empty, .jpg", b"", Failed(r"empty file \(0 bytes\)"), ".jpg")
    png = pictures.saved("PNG")(image)
    yield case("PNG that is called .tif", png, Failed(NO_IMAGE))
    yield case("PNG that is called .jpg", png, Good(image), ".jpg")
    yield case("TIFF that is called .png", whole, Good(image), ".png")
    yield case("TIFF that is called .TIF", whole, Good(image), ".TIF")
    yield case("TIFF behind a byte order mark", b"\xef\xbb\xbf" + whole, Failed(NO_IMAGE))
    yield case("TIFF in UTF-8", whole.decode("latin-1").encode("utf-8"), Failed(rf"{NO_IMAGE}|{DAMAGED}"))
    yield case("two TIFF files in one", whole + whole, Good(image))


def _kinds_of_files(image):
    """Yield cases of what a file system may have in a file's place."""
    whole = pictures.tiff()(image)

    def linked(path: Path) -> None:
        (path.parent.parent / "elsewhere.bin").write_bytes(whole)
        path.symlink_to("../elsewhere.bin")

    def sparse(path: Path) -> None:
        path.touch()
        os.truncate(path, 2**40)

    def sparse_image(path: Path) -> None:
        path.write_bytes(whole)
        os.truncate(path, 2**40)

    writers: dict[str, tuple[Callable[[Path], None], Good | Failed]] = {
        "a folder": (Path.mkdir, Failed(r"folder")),
        "a pipe": (os.mkfifo, Failed(r"not a regular file")),
        "a link to nothing": (lambda path: path.symlink_to("gone.tif"), Failed(f"{NOT_READ}broken link")),
        "a link to itself": (lambda path: path.symlink_to(path.name), Failed(r"\blink|loop|Too many levels")),
        "a link to a folder": (lambda path: path.symlink_to(".."), Failed(r"folder")),
        "a link to /dev/zero": (lambda path: path.symlink_to("/dev/zero"), Failed(r"not a regular file")),
        "a link to /dev/full": (lambda path: path.symlink_to("/dev/full"), Failed(r"not a regular file")),
        "a link to a pipe": (
            lambda path: path.symlink_to("/dev/stdin"),
            Failed(r"not a regular file|link|no such|begins"),
        ),
        "a link to /proc/self/mem": (
            lambda path: path.symlink_to("/proc/self/mem"),
            Failed(r"empty|begins|regular|read"),
        ),
        "a link to an image": (linked, Good(image)),
        "a terabyte of nothing": (sparse, Failed(NO_IMAGE)),
        "an image with a terabyte behind it": (sparse_image, Good(image)),
    }
    for name, (write, must) in writers.items():
        if name != "a link to a folder":  # it would be searched
            yield FieldCase("Kinds of files", name, "u16", ".tif", write, must)


def _chunk(kind: bytes, data: bytes, *, right: bool = True) -> bytes:
    """Return a chunk of a PNG, with the right sum or a wrong one."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data) ^ (not right))


def _png(image):
    """Yield cases of PNG files with odd parts."""
    case = _bytes("PNG, parts")
    lines = [b"\0" + line.astype(">u2").tobytes() for line in image]
    packed = zlib.compress(b"".join(lines))

    def head(width: int = 128, height: int = 96, bits: int = 16, colour: int = 0, method: int = 0, interlace: int = 0):
        return struct.pack(">IIBBBBB", width, height, bits, colour, method, 0, interlace)

    def file(*chunks: bytes, ihdr: bytes = head(), pixels: bytes = packed, end: bytes = _chunk(b"IEND", b"")) -> bytes:
        parts = [_chunk(b"IHDR", ihdr), *chunks, _chunk(b"IDAT", pixels), end]
        return b"\x89PNG\r\n\x1a\n" + b"".join(parts)

    good = {
        "as it is": file(),
        "a rubbish eXIf": file(_chunk(b"eXIf", b"rubbish" * 9)),
        "a rubbish iCCP": file(_chunk(b"iCCP", b"name\0\0rubbish" * 9)),
        "an iCCP that unpacks to nothing": file(_chunk(b"iCCP", b"name\0\0" + zlib.compress(b""))),
        "a rubbish tEXt": file(_chunk(b"tEXt", b"\xff\xfe" * 40)),
        "an unknown chunk": file(_chunk(b"abCd", bytes(100))),
        "pixels in two chunks": file(_chunk(b"IDAT", packed[:1000]), pixels=packed[1000:]),
        "an empty chunk of pixels": file(_chunk(b"IDAT", b"")),
    }
    for name, data in good.items():
        yield case(name, data, Good(image), ".png")
    half = zlib.compress(b"".join(lines[:48]))
    bomb = zlib.compress(bytes(2**24), 9)
    bad = {
        "half of the rows": (file(pixels=half), DAMAGED),
        "all rows but the last": (file(pixels=zlib.compress(b"".join(lines[:-1]))), DAMAGED),
        "no rows": (file(pixels=zlib.compress(b"")), DAMAGED),
        "no pixels": (file(pixels=b""), DAMAGED),
        "an unfinished stream": (file(pixels=packed[:-6]), DAMAGED),
        "a wrong sum of the stream": (file(pixels=packed[:-4] + b"\0\0\0\0"), DAMAGED),
        "a filter that is none": (file(pixels=zlib.compress(b"\x09" + b"".join(lines)[1:])), DAMAGED),
        "a wrong sum of the header": (
            file().replace(_chunk(b"IHDR", head()), _chunk(b"IHDR", head(), right=False)),
            DAMAGED,
        ),
        "a wrong sum of the pixels": (
            file().replace(_chunk(b"IDAT", packed), _chunk(b"IDAT", packed, right=False)),
            DAMAGED,
        ),
        "no end": (file(end=b""), DAMAGED),
        "a critical chunk that nobody knows": (file(_chunk(b"ABCD", bytes(9))), rf"ABCD|{DAMAGED}"),
        "3 bits": (file(ihdr=head(bits=3)), rf"bit|mode|{DAMAGED}"),
        "a colour that is none": (file(ihdr=head(colour=5)), rf"colour|color|mode|{DAMAGED}"),
        "0 px wide": (file(ihdr=head(width=0)), rf"at least one value|{DAMAGED}"),
        "2147483647 px wide": (file(ihdr=head(width=2**31 - 1)), TOO_LARGE),
        "100000 x 100000 px": (file(ihdr=head(100000, 100000), pixels=bomb), TOO_LARGE),
        "unpacked in no way that is known": (file(ihdr=head(method=7)), rf"compression|{DAMAGED}"),
        "twice as high": (file(ihdr=head(height=192)), DAMAGED),
    }
    for name, (data, reason) in bad.items():
        yield case(name, data, Failed(reason), ".png")


def _jpeg(image):
    """Yield cases of JPEG files with odd parts."""
    case = _bytes("JPEG, parts", "u8")
    data = pictures.saved("JPEG", quality=95)(image)
    seen, frame, start = pictures.by_libjpeg(data), data.index(b"\xff\xc0"), data.index(b"\xff\xda")

    def with_size(height: int, width: int) -> bytes:
        return data[: frame + 5] + struct.pack(">HH", height, width) + data[frame + 9 :]

    def with_part(marker: int, content: bytes) -> bytes:
        return data[:2] + struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content + data[2:]

    good = {
        "as it is": data,
        "a rubbish EXIF": with_part(0xE1, b"Exif\0\0" + b"rubbish" * 9),
        "a rubbish ICC profile": with_part(0xE2, b"ICC_PROFILE\0\1\1" + b"rubbish" * 9),
        "a comment": with_part(0xFE, b"comment" * 9),
        "fill bytes": data[:2] + b"\xff\xff\xff" + data[2:],
        "two ends": data + b"\xff\xd9",
        "zeros behind the end": data + bytes(1000),
        "no Huffman codes, but those of the standard": data[: data.index(b"\xff\xc4")] + data[start:],
    }
    for name, content in good.items():
        yield case(name, content, Good(seen), ".jpg")
    middle = start + 14 + (len(data) - start) // 2
    bad = {
        "no end": data[:-2],
        "zeros in place of the end": data[:-2] + bytes(2),
        "half of the stream, and an end": data[:middle] + b"\xff\xd9",
        "twice as high": with_size(192, 128),
        "half as high": with_size(48, 128),
        "0 px high": with_size(0, 128),
        "0 px wide": with_size(96, 0),
        "no quantization": data[: data.index(b"\xff\xdb")] + data[frame:],
        "no frame": data[:frame] + data[data.index(b"\xff\xc4") :],
        "no scan": data[:start] + b"\xff\xd9",
        "the start alone": data[:2],
        "an end in the middle": data[:middle] + b"\xff\xd9" + data[middle:],
        "a start in the middle": data[:middle] + b"\xff\xd8" + data[middle:],
        "a marker that is none in the middle": data[:middle] + b"\xff\x3f" + data[middle:],
        "a restart in the middle": data[:middle] + b"\xff\xd0" + data[middle:],
    }
    for name, content in bad.items():
        yield case(name, content, Failed(rf"{DAMAGED}|at least one value|expected|\bJPEG\b"), ".jpg")
    twelve = data[: frame + 4] + b"\x0c" + data[frame + 5 :]
    yield case("a frame of 12 bits", twelve, Failed(rf"wrong shape or type|{DAMAGED}"), ".jpg")
    yield case("65500 x 65500 px", with_size(65500, 65500), Failed(TOO_LARGE), ".jpg")
    cmyk = io.BytesIO()
    PIL.Image.fromarray(np.stack([image] * 4, axis=2), "CMYK").save(cmyk, "JPEG")
    yield case("CMYK", cmyk.getvalue(), Failed(r"CMYK"), ".jpg")


def _metadata(image):
    """Yield cases of TIFF files whose metadata promise other pages than there are, or are broken."""
    case = _bytes("TIFF, metadata")
    ome = (
        '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0"><Pixels {} ID="Pixels:0" '
        'DimensionOrder="XYZCT" Type="uint16" SizeX="128" SizeY="96"><TiffData/></Pixels></Image></OME>'
    )
    sizes = 'SizeZ="{}" SizeC="{}" SizeT="{}"'

    def described(text: str) -> bytes:
        stream = io.BytesIO()
        tifffile.imwrite(stream, image, metadata=None, description=text.encode())
        return stream.getvalue()

    yield case("OME, as it is", described(ome.format(sizes.format(1, 1, 1))), Good(image))
    for name, numbers in {"3 planes": (3, 1, 1), "3 time points": (1, 1, 3), "10^9 planes": (10**9, 1, 1)}.items():
        yield case(
            f"OME, {name} that are not there",
            described(ome.format(sizes.format(*numbers))),
            Failed(rf"OME|plane|page|{DAMAGED}"),
        )
    broken = {
        "OME, cut": ome.format(sizes.format(1, 1, 1))[:120],
        "OME, no numbers": ome.format(sizes.format("a", "b", "c")),
        "OME, without sizes": ome.format(""),
        "XML of something else": "<html><body>a page</body></html>",
        "an unfinished comment": "<?xml version='1.0'?><!-- ",
        "10,000 brackets": "<a>" * 10000,
        "ImageJ without numbers": "ImageJ=1.53\nunit=pixel\n",
        "no text": "\x01\x02\x03",
    }
    for name in (
        "XML of something else",
        "an unfinished comment",
        "10,000 brackets",
        "ImageJ without numbers",
        "no text",
    ):
        yield case(name, described(broken[name]), Good(image))
    yield case("JSON, cut", described('{"shape": [96, 12'), Failed(r"description"))
    for number in ("images=5", "slices=5\nimages=5", "channels=2\nslices=3\nframes=4\nimages=24", "images=999999999"):
        yield case(
            f"ImageJ, {number!r}",
            described(f"ImageJ=1.53t\n{number}\nhyperstack=true\n"),
            Failed(rf"page|ImageJ|{DAMAGED}"),
        )
    yield case("JSON, 5 pages", described('{"shape": [5, 96, 128]}'), Failed(rf"page|{DAMAGED}"))


def _other_forms(image):
    """Yield cases of images that are no image of their plate's kind."""
    case = _bytes("Other forms")
    rng = random_numbers("other forms")
    forms = {
        "smaller": image[:50, :60],
        "larger": np.tile(image, (2, 2)),
        "turned": np.ascontiguousarray(image.T),
        "8 bits": (image // 64).clip(0, 255).astype(np.uint8),
        "32 bits": image.astype(np.uint32),
        "signed": image.astype(np.int16),
        "floats": image.astype(np.float32),
        "one pixel": image[:1, :1],
        "one row": image[:1],
    }
    for name, other in forms.items():
        yield case(name, pictures.tiff()(other), Failed(r"wrong shape or type"))
    colours = rng.integers(0, 4000, (96, 128, 3), np.uint16)
    yield case("colours", pictures.tiff(photometric="rgb")(colours), Failed(r"colour|channel"))
    yield case("5 pages", pictures.tiff()(np.stack([image] * 5)), Failed(r"pages"))
    yield case(
        "2 samples", pictures.tiff(photometric="minisblack", planarconfig="contig")(colours[..., :2]), Failed(r"sample")
    )
    yield case("complex numbers", pictures.tiff()(image.astype(np.complex64)), Failed(r"complex|real"))
    for name, value in {"NaN": np.nan, "infinity": np.inf}.items():
        odd = (image / np.float32(65535)).astype(np.float32)
        odd[5, 7] = value
        yield FieldCase("Other forms", name, "f32", ".tif", _writer(pictures.tiff()(odd)), Failed(r"NaN|infinite"))


def _writer(data):
    return lambda path: path.write_bytes(data)
