"""Cases of stacks: pages of TIFF files, NumPy and Zarr arrays, and folders of frames."""

import io
import json
import pickle
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import numcodecs
import numpy as np
import tifffile
import zarr

from faults import damage, pictures
from faults.cases import fields
from faults.catalogue import DAMAGED, Failed, Frames, Good, NoTables, StackCase, random_numbers

COUNT = 5  # frames
CONTAINERS = [
    container
    for container in pictures.CONTAINERS
    if (container.category, container.name) in {
        *((f"TIFF, {kind}", "strips") for kind in ("uncompressed", "LZW", "Deflate", "Zstandard", "JPEG")),
        ("TIFF, JPEG 2000", "tiles"), ("TIFF, Deflate", "tiles, predictor"),
    }
]  # fmt: skip
KINDS = (damage.nothing, damage.hole, damage.tail_of_zeros, damage.noise, damage.cut)
FOLDER_FRAMES = 150


def cases() -> Iterator[StackCase]:
    """Yield every case of a stack."""
    for container in CONTAINERS:
        for kind in KINDS:
            yield _pages(container, kind)
    yield from _npy()
    yield from _zarr()
    yield _folder()


def _images(*names, plate="u16"):
    """Draw the frames of a stack."""
    rng = random_numbers("stacks", *names)
    return np.stack([pictures.picture(plate, rng) for _ in range(COUNT)])


def _pages(container, kind):
    """Return the case of a TIFF file of which a page in the middle is damaged, or what follows from there."""
    images = _images(container.category, container.name, kind.__name__, plate=container.plate)
    before = _written(container, images)
    page = COUNT // 2
    parts = pictures.pixels_in(container, before, page)
    rng = random_numbers("stacks", container.category, container.name, kind.__name__, "damage")
    after = kind(before, range(parts[0].start, parts[-1].stop), rng)
    frames = []
    for number in range(COUNT):
        seen = pictures.seen_in(container, after, before, number)
        if number == page and container.category == "TIFF, JPEG" and kind in fields.LOSES_PIXELS:
            seen = None
        frames.append(Failed(DAMAGED) if seen is None else Good(seen))
    if kind is damage.cut:
        # Where the next page begins is known, and that it is not there; not how many follow it.
        frames = [*frames[:page], Failed(DAMAGED), Failed(DAMAGED)]
    name = f"{container.category}, {container.name}, {kind.__name__.replace('_', ' ')}"
    return StackCase("Stacks, TIFF", name, ".tif", lambda path: path.write_bytes(after), Frames(frames))


def _written(container, images):
    """Write images as pages, each behind its own directory."""
    with tifffile.TiffFile(io.BytesIO(container.write(images[0]))) as tif:
        page = tif.pages[0]
        options = {"compression": page.compression, "predictor": page.predictor if page.predictor > 1 else None}
        options |= {"tile": (page.tilelength, page.tilewidth)} if page.is_tiled else {"rowsperstrip": page.rowsperstrip}
    stream = io.BytesIO()
    with tifffile.TiffWriter(stream) as tif:
        for image in images:
            tif.write(image, metadata=None, **options)
    return stream.getvalue()


def _npy():
    """Yield cases of NumPy arrays."""
    images = _images("npy")
    good = Frames([Good(image) for image in images])

    def saved(array: np.ndarray) -> bytes:
        stream = io.BytesIO()
        np.save(stream, array, allow_pickle=True)
        return stream.getvalue()

    data = saved(images)
    head = len(data) - images.nbytes
    frame = images[0].nbytes

    def headed(text: str) -> bytes:
        line = text.encode().ljust(117) + b"\n"
        return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(line)) + line + images.tobytes()

    def described(shape: object, kind: str = "<u2") -> bytes:
        return headed(f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}")

    lost = [Failed(DAMAGED)]
    contents = {
        "as it is": (data, good),
        "bytes behind it": (data + bytes(99), good),
        "big-endian": (saved(images.astype(">u2")), good),
        "in Fortran's order": (saved(np.asfortranarray(images)), good),
        "cut in the fourth frame": (data[: head + 3 * frame + 99], Frames(good.frames[:3] + lost * 2)),
        "cut behind the third frame": (data[: head + 3 * frame], Frames(good.frames[:3] + lost * 2)),
        "cut by one byte": (data[:-1], Frames(good.frames[:4] + lost)),
        "in Fortran's order, cut": (saved(np.asfortranarray(images))[:-1], NoTables(r"not one good frame.*truncated")),
        "cut in its header": (data[:50], NoTables(r"header|cut|damaged|truncated|EOF|expected")),
        "its signature alone": (data[:6], NoTables(r"magic|header|truncated|EOF|expected|damaged")),
        "more frames than there are": (described((7, *pictures.SHAPE)), Frames(good.frames + lost * 2)),
        "objects": (saved(np.array([{"a": 1}, None])), NoTables(r"object|dtype|type|number")),
        "a pickle": (pickle.dumps(images), NoTables(r"begins with|expected")),
        "no dimensions": (saved(np.uint16(7)), NoTables(r"shape|axes|dimension")),
        "one dimension": (saved(images[0, 0]), NoTables(r"shape|axes|dimension")),
        "six dimensions": (saved(images.reshape(1, 1, 1, COUNT, *pictures.SHAPE)), NoTables(r"shape|axes|dimension")),
        "no frames": (saved(images[:0]), NoTables(r"no frames|shape|at least one|empty|0")),
        "complex numbers": (saved(images.astype(np.complex64)), NoTables(r"complex|real|number|c8")),
        "text": (saved(np.array(["a", "b"])), NoTables(r"text|number|type|dtype|axes|U1")),
        "a negative shape": (described((-5, *pictures.SHAPE)), NoTables(r"shape|axes|-5|at least one")),
        "a shape of 10^30": (described((10**30, *pictures.SHAPE)), NoTables(r"shape|axes|large|at most|frames")),
        "a shape that is text": (described("'many'"), NoTables(r"shape|header")),
        "a type that is none": (described((COUNT, *pictures.SHAPE), "<q9"), NoTables(r"descr|dtype|type")),
        "a header that calls": (headed("__import__('os').system('touch gone')"), NoTables(r"header|damaged|malformed")),
        "a header of brackets": (headed("(" * 110), NoTables(r"header|damaged|EOF|parse|nested")),
        "version 9": (data[:6] + b"\x09" + data[7:], NoTables(r"format|version")),
        "empty": (b"", NoTables(r"empty")),
        "zeros": (bytes(5000), NoTables(r"begins with|expected")),
    }
    for name, (content, must) in contents.items():
        yield StackCase("Stacks, NumPy", name, ".npy", _writer(content), must)


def _zarr():
    """Yield cases of Zarr arrays of one frame a chunk."""
    images = _images("zarr")
    good = [Good(image) for image in images]
    chunk = {2: "2.0.0", 3: "c/2/0/0"}
    meta = {2: ".zarray", 3: "zarr.json"}
    middle = COUNT // 2

    def with_frame(must: Good | Failed) -> Frames:
        return Frames([must if number == middle else frame for number, frame in enumerate(good)])

    def cut(path: Path) -> None:
        path.write_bytes(path.read_bytes()[:-9])

    def hole(path: Path) -> None:
        data = path.read_bytes()
        path.write_bytes(data[:3000] + bytes(512) + data[3512:])

    damages: dict[str, tuple[Callable[[Path], None], Frames]] = {
        "a chunk cut": (cut, with_frame(Failed(f"{DAMAGED}|chunk"))),
        "a chunk empty": (lambda path: path.write_bytes(b""), with_frame(Failed(f"{DAMAGED}|chunk|empty"))),
        "a chunk of zeros": (lambda path: path.write_bytes(bytes(5000)), with_frame(Failed(f"{DAMAGED}|chunk"))),
        "a chunk of text": (lambda path: path.write_bytes(b"text" * 999), with_frame(Failed(f"{DAMAGED}|chunk"))),
        "a chunk with a hole": (hole, with_frame(Failed(f"{DAMAGED}|chunk"))),
        "no chunk, which is background": (Path.unlink, with_frame(Good(np.zeros_like(images[0])))),
    }
    texts = {
        "metadata cut": (lambda text: text[:-40], r"metadata|JSON|json|Expecting|damaged|array|delimiter"),
        "metadata empty": (lambda text: "", r"metadata|JSON|json|Expecting|damaged|array"),
        "metadata of brackets": (lambda text: "[" * 3000, r"metadata|JSON|json|recursion|Expecting|damaged|array"),
        "metadata that are a list": (lambda text: "[]", r"metadata|list|damaged|array|expected"),
    }
    for version in (2, 3):
        whole = _store(images, version)
        yield StackCase("Stacks, Zarr", f"{version}, as it is", ".zarr", whole, Frames(good))
        for name, (damaged, must) in damages.items():
            yield StackCase("Stacks, Zarr", f"{version}, {name}", ".zarr", _then(whole, chunk[version], damaged), must)
        for name, (change, message) in texts.items():
            yield StackCase(
                "Stacks, Zarr",
                f"{version}, {name}",
                ".zarr",
                _then(whole, meta[version], _rewrite(change)),
                NoTables(message),
            )
        shapes = {"no such type": ("dtype" if version == 2 else "data_type", "<z9"), "no shape": ("shape", None)}
        shapes |= {"a negative shape": ("shape", [-5, 96, 128]), "10^9 frames": ("shape", [10**9, 96, 128])}
        for name, (key, value) in shapes.items():
            change = _json_with(key, value)
            yield StackCase(
                "Stacks, Zarr",
                f"{version}, {name}",
                ".zarr",
                _then(whole, meta[version], _rewrite(change)),
                NoTables(r"shape|type|dtype|metadata|array|frames|at most|expected"),
            )


def _store(images, version):
    """Return a function that writes a Zarr array."""

    def write(path: Path) -> None:
        array = zarr.create_array(
            path, shape=images.shape, chunks=(1, *images.shape[1:]), dtype=images.dtype, zarr_format=version,
            compressors=zarr.codecs.GzipCodec() if version == 3 else numcodecs.GZip(),
        )  # fmt: skip
        array[:] = images

    return write


def _json_with(key, value):
    return lambda text: json.dumps({**json.loads(text), key: value})


def _rewrite(change):
    return lambda path: path.write_text(change(path.read_text()))


def _then(write, name, change):
    """Return a function that writes a store and changes one of its files."""

    def both(path: Path) -> None:
        write(path)
        change(path / name)

    return both


def _folder():
    """Return the case of a folder whose frames are a sample of damaged fields."""
    among = [case for case in fields.cases() if case.plate == "u16" and not case.suffix.endswith(".ome.tif")]
    chosen = random_numbers("folder").choice(len(among), FOLDER_FRAMES, replace=False)
    frames = [among[number] for number in sorted(chosen)]

    def write(path: Path) -> None:
        path.mkdir()
        for number, case in enumerate(frames):
            case.write(path / f"frame_{number:03}{case.suffix}")

    return StackCase("Stacks, folders", "frames that are damaged", "", write, Frames([case.must for case in frames]))


def _writer(content):
    return lambda path: path.write_bytes(content)
