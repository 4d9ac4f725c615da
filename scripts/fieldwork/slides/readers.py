"""Read whole slides: regions of any level from OpenSlide, tifffile or cuCIM, and which of them to trust with a file."""

import functools
import json
import math
import os
import re
import signal
import stat
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

READERS = ("cucim", "tifffile", "openslide")
# tifffile (2048 x 2048 pixels of JPEG tiles in 19 ms) is as fast as cuCIM (24; OpenSlide 120) and says what it cannot
# decode. cuCIM gives other tiles' pixels, YCbCr for RGB where Bio-Formats wrote it, or ends the process.
PREFERENCE = ("tifffile", "cucim", "openslide")
PROBE_SECONDS = 60
SAME = 2  # grey levels; JPEG 2000 decoders differ by 1
MOST_PIXELS = 2**28  # of one tile or strip; more is a damaged header, or no region can be read without the whole
LARGEST_MPP = 25  # micrometres; above are resolutions for printing: 72 dots per inch are 353 micrometres
JPEG, JPEG_2000 = (6, 7, 34892), (33003, 33004, 33005, 34712)  # TIFF compressions
# How to turn stored pixels into shown ones, by orientation tag: transpose, flip rows, flip columns (TIFF 6.0, p. 36).
TURNS = dict(enumerate(([0, 0, 0], [0, 0, 1], [0, 1, 1], [0, 1, 0], [1, 0, 0], [1, 0, 1], [1, 1, 1], [1, 1, 0]), 1))
MICROMETRES = {"m": 1e6, "cm": 1e4, "mm": 1e3, "\xb5m": 1, "nm": 1e-3, "in": 25400}  # OME's units of length


class SlideError(Exception):
    """Why a slide or a part of it cannot be read; the text is the reason, for people."""


def open_slide(path, reader):
    """Open a whole slide with one reader.

    Parameters
    ----------
    path : str or path-like
        A slide of any format that the reader knows.
    reader : {'cucim', 'tifffile', 'openslide'}
        ``tifffile`` and ``cucim`` take sizes, pixel size and metadata from the TIFF tags; cuCIM then decodes.

    Returns
    -------
    Slide
        Open, to be closed. Open it in the process that reads: neither threads nor file positions survive a fork.

    Raises
    ------
    SlideError
        The reader cannot open the file, or could only give wrong pixels: not 8 bits per sample, several planes,
        colours other than grey, RGB and JPEG's YCbCr.
    """
    try:
        _check_file(path)
        return {"cucim": _Cucim, "tifffile": _Tiff, "openslide": _OpenSlide}[reader](os.fspath(path))
    except SlideError:
        raise
    except Exception as error:  # damaged bytes make readers raise anything
        raise SlideError(f"cannot be opened: {_reason(error)}") from error


def _check_file(path):
    try:
        regular = stat.S_ISREG(os.stat(path).st_mode)  # a pipe would make a reader wait for ever
    except OSError as error:
        raise SlideError(f"cannot be opened: {error.strerror}") from None
    if not regular:
        raise SlideError("not a regular file")


class Slide:
    """An open slide.

    Attributes
    ----------
    reader : str
        One of `READERS`.
    shapes : tuple of (height, width)
        In pixels, by level; level 0, the largest, first.
    mpp : (y, x) or None
        Micrometres per pixel of level 0; None where the file does not state it.
    objective_power : float or None
        Nominal magnification.
    properties : dict of str to str
        The vendor's metadata.
    tile : (height, width)
        Pieces of level 0, counted from its first pixel, of which no part can be decoded without the whole.
    """

    reader = shapes = mpp = objective_power = properties = None
    tile = (64, 64)  # where the file does not tell

    def read(self, level, y, x, height, width, workers=1):
        """Read a region.

        Parameters
        ----------
        level : int
            0 is the largest.
        y, x : int
            Top left corner, in pixels of that level; may lie outside the slide. OpenSlide takes whole pixels of
            level 0, so its other levels are off by up to half a pixel of level 0.
        height, width : int
            In pixels of that level.
        workers : int
            Threads of tifffile and cuCIM.

        Returns
        -------
        (height, width, 3) uint8 array
            RGB, C-contiguous, colours as the reader gives them; white outside the slide and behind what is
            transparent.

        Raises
        ------
        SlideError
            There is no such level, or a tile is missing or cannot be decoded.
        """
        if not 0 <= level < len(self.shapes):
            raise SlideError(f"no level {level}: the slide has {len(self.shapes)}")
        rows, columns = self.shapes[level]
        top, left, bottom, right = max(y, 0), max(x, 0), min(y + height, rows), min(x + width, columns)
        inside = bottom > top and right > left
        if inside:
            try:
                region = self._region(level, top, left, bottom - top, right - left, workers)
            except Exception as error:
                place = f"level {level}, rows {top} to {bottom - 1}, columns {left} to {right - 1}"
                raise SlideError(f"{place} cannot be read: {_reason(error)}") from error
            if region.shape[:2] == (height, width):
                return region
        canvas = np.full((height, width, 3), 255, np.uint8)
        if inside:
            canvas[top - y : bottom - y, left - x : right - x] = region
        return canvas

    @functools.cached_property
    def fluorescence(self):
        """Whether the ground is dark: stated (Hamamatsu), or seen on the lowest level at 25 places."""
        stated = re.compile(r"(Excitation|Emission)WaveLength=[1-9]")
        if "hamamatsu.Fluorescence" in self.properties or any(map(stated.search, self.properties.values())):
            return True
        level = len(self.shapes) - 1
        (rows, columns), side = self.shapes[level], 32
        seen = []
        for y in np.linspace(0, max(rows - side, 0), 5, dtype=int):
            for x in np.linspace(0, max(columns - side, 0), 5, dtype=int):
                try:
                    seen.append(self.read(level, y, x, min(side, rows), min(side, columns)).max(axis=2).ravel())
                except SlideError:
                    continue  # whoever converts the slide will meet it, and say so
        return bool(seen) and bool(np.median(np.concatenate(seen)) < 64)  # bright field is above 200, dark below 30

    def associated(self):
        """Give the label, macro and so on: a dict of name to (height, width, 3) uint8; without undecodable ones."""
        images = {}
        for name, image in self._associated():
            try:
                images[name.lower()] = _rgb(image())
            except Exception:
                self._recover()
        return images

    def _recover(self):
        """Make the slide usable after an error."""


class _Tiff(Slide):
    reader = "tifffile"

    def __init__(self, path):
        import tifffile

        self._file = open(path, "rb")  # noqa: SIM115
        try:
            self._tif = tifffile.TiffFile(self._file, name=os.path.basename(path))
            if not self._tif.series:
                raise SlideError("a TIFF file without images")
            if self._tif.is_bif or self._tif.is_scn:
                raise SlideError("only OpenSlide knows where the tiles of Ventana's and Leica's scans belong")
            levels = self._tif.series[0].levels
            self._pages = [_only_page(each, self._tif) for each in levels]
            self._turn = TURNS[int(self._pages[0].tags.valueof(274, 1))]
            if self._turn == TURNS[1]:
                self.tile = _segment_shape(self._pages[0])
            turned = slice(None, None, -1 if self._turn[0] else 1)
            self.shapes = tuple((page.imagelength, page.imagewidth)[turned] for page in self._pages)
            self.properties, self.mpp, self.objective_power = _metadata(self._tif)
            self.mpp = self.mpp and self.mpp[turned]
        except BaseException:
            self._file.close()
            raise

    def close(self):
        self._file.close()

    def _associated(self):
        if self._tif.is_svs or self._tif.is_ndpi:
            yield from ((series.name, series.asarray) for series in self._tif.series[1:])

    def _region(self, level, y, x, height, width, workers):
        page, (transpose, *flips) = self._pages[level], self._turn
        rows, columns = self.shapes[level]
        y, x = rows - y - height if flips[0] else y, columns - x - width if flips[1] else x
        box = (x, y, width, height) if transpose else (y, x, height, width)
        image = self._stored(page, *box, workers)
        image = image.swapaxes(0, 1) if transpose else image
        image = np.flip(image, [axis for axis in (0, 1) if flips[axis]])
        return _rgb(image, inverted=page.photometric == 0, premultiplied=1 in page.extrasamples)

    def _stored(self, page, y, x, height, width, workers):
        """Decode the tiles or strips of a page that show the box; (height, width, samples)."""
        image = np.empty((height, width, page.samplesperpixel), np.uint8)
        length, breadth = _segment_shape(page)
        tables = {"jpegtables": page.jpegtables, "jpegheader": page.jpegheader} if page.compression in JPEG else {}

        def decode(number):
            data = self._bytes(page, number)
            # tifffile gives the head of a truncated JPEG without a word; NDPI's tiles are parts of one, without ends
            if tables and page.jpegheader is None and not data.rstrip(b"\0").endswith(b"\xff\xd9"):
                raise SlideError(f"{_place(page, number)} is truncated: its JPEG stream has no end")
            try:
                tile, (sample, _, top, left, _), _ = page.decode(data, number, **tables)
            except Exception as error:
                raise SlideError(f"{_place(page, number)} cannot be decoded: {_reason(error)}") from error
            plane = image if page.planarconfig == 1 else image[..., sample : sample + 1]
            above, before = max(y - top, 0), max(x - left, 0)
            part = tile[0, above : y + height - top, before : x + width - left]
            # raises where the tile is smaller than it should be
            plane[top + above - y : top + length - y, left + before - x : left + breadth - x] = part

        numbers = _segments(page, y, x, height, width)
        if workers == 1 or len(numbers) == 1:
            for number in numbers:
                decode(number)
        else:
            with ThreadPoolExecutor(workers) as threads:
                list(threads.map(decode, numbers))
        return image

    def _bytes(self, page, number):
        """Read the stored bytes of a tile or strip. Sparse files are refused: what is missing cannot be told."""
        table = page.dataoffsets, page.databytecounts
        offset, count = (values[number] if number < len(values) else 0 for values in table)
        data = os.pread(self._file.fileno(), count, offset) if offset else b""  # threads share the position
        if not data or len(data) < count:
            raise SlideError(f"{_place(page, number)} is {'truncated' if data else 'missing'}")
        return data


def _only_page(level, tif):
    """Give the one page of a pyramid's level, if its pixels can be given as 8-bit RGB."""
    page = level.keyframe
    if len(level.pages) != 1 or level[0] is not page or page.parent is not tif or page.axes not in ("YX", "YXS", "SYX"):
        raise SlideError(f"an image of axes {level.axes} and shape {level.shape}; expected one of rows and columns")
    if page.dtype != np.uint8 or page.bitspersample != 8:
        raise SlideError(f"{page.bitspersample} bits per sample ({page.dtype}); expected 8, a slide in colour or grey")
    if page.photometric not in (0, 1, 2) and not (page.photometric == 6 and page.compression in JPEG):
        raise SlideError(f"colours stored as {page.photometric!r}, {page.compression!r}; expected grey or RGB")
    length, width = _segment_shape(page)
    if not page.imagelength * page.imagewidth or not 0 < length * width <= MOST_PIXELS:
        found = f"{page.imagelength} x {page.imagewidth} pixels in tiles or strips of {length} x {width}"
        raise SlideError(f"{found}; expected some, and at most {MOST_PIXELS} in one")
    return page


def _segment_shape(page):
    return (page.tilelength, page.tilewidth) if page.is_tiled else (page.rowsperstrip, page.imagewidth)


def _segment_grid(page):
    """Count the rows and columns of tiles or strips of a page."""
    length, width = _segment_shape(page)
    return math.ceil(page.imagelength / length), math.ceil(page.imagewidth / width)


def _segments(page, y, x, height, width):
    """Number the tiles or strips of a page that show a box, row by row, sample plane by sample plane."""
    (length, breadth), (down, across) = _segment_shape(page), _segment_grid(page)
    planes = page.samplesperpixel if page.planarconfig == 2 else 1
    rows, columns = (
        range(y // length, (y + height - 1) // length + 1),
        range(x // breadth, (x + width - 1) // breadth + 1),
    )
    return [(plane * down + row) * across + column for plane in range(planes) for row in rows for column in columns]


def _place(page, number):
    down, across = _segment_grid(page)
    kind = "tile" if page.is_tiled else "strip"
    return f"{kind} {number} (row {number // across % down}, column {number % across})"


def _metadata(tif):
    """Give properties, (y, x) micrometres per pixel and objective power as a TIFF file states them."""
    from tifffile.tifffile import svs_description_metadata

    page, properties, mpp = tif.pages.first, {}, None
    for name in ("ImageDescription", "Make", "Model", "Software", "DateTime"):
        if page.tags.valueof(name):
            properties[f"tiff.{name}"] = str(page.tags.valueof(name))
    vendor = {"aperio": svs_description_metadata(page.description)} if tif.is_svs else {}
    if tif.is_ndpi:
        vendor = {"hamamatsu": page.ndpi_tags}
    properties |= {f"{name}.{key}": str(value) for name, tags in vendor.items() for key, value in tags.items()}
    power = properties.get("aperio.AppMag") or properties.get("hamamatsu.Magnification")
    if "aperio.MPP" in properties:
        mpp = (properties["aperio.MPP"],) * 2
    if tif.is_ome:
        mpp, power = _ome_metadata(tif.ome_metadata)
    unit = {2: 25400, 3: 10000}.get(page.resolutionunit)
    if mpp is None and unit:
        mpp = [unit / value if value else 0 for value in page.resolution[::-1]]
    return properties, _likely_mpp(mpp), _number(power)


def _ome_metadata(xml):
    """Give (y, x) micrometres per pixel and the objective power of the first image."""
    root = ElementTree.fromstring(xml)
    pixels = root.find("{*}Image/{*}Pixels")
    units = [MICROMETRES.get(pixels.get(f"PhysicalSize{axis}Unit", "\xb5m"), 0) for axis in "YX"]
    sizes = [_number(pixels.get(f"PhysicalSize{axis}")) or 0 for axis in "YX"]
    settings = root.find("{*}Image/{*}ObjectiveSettings")
    powers = {each.get("ID"): each.get("NominalMagnification") for each in root.iterfind("{*}Instrument/{*}Objective")}
    mpp = [size * unit for size, unit in zip(sizes, units, strict=True)]
    return mpp if all(mpp) else None, powers.get(settings.get("ID")) if settings is not None else None


def _likely_mpp(mpp):
    """Give (y, x) micrometres per pixel as numbers, or None for what is no pixel size of a microscope."""
    mpp = tuple(_number(value) or 0 for value in mpp or ())
    return mpp if mpp and all(0 < value <= LARGEST_MPP for value in mpp) else None


def _number(text):
    try:
        return float(text)
    except (TypeError, ValueError):  # absent, or "20x", or "0,25"
        return None


class _Cucim(_Tiff):
    reader = "cucim"

    def __init__(self, path):
        from cucim import CuImage

        super().__init__(path)
        if self._turn != TURNS[1]:
            raise SlideError("cuCIM applies the orientation tag only in part")
        self._slide = CuImage(path)
        sizes = self._slide.resolutions["level_dimensions"]
        self._downsamples = self._slide.resolutions["level_downsamples"]
        if tuple(size[::-1] for size in sizes) != self.shapes:
            raise SlideError(
                f"cuCIM sees levels of (width, height) {sizes}; the tags say (height, width) {self.shapes}"
            )

    def close(self):
        self._slide.close()
        super().close()

    def _region(self, level, y, x, height, width, workers):
        page = self._pages[level]
        for number in _segments(page, y, x, height, width):  # cuCIM gives stale memory for a bad JPEG tile
            data = self._bytes(page, number)
            if page.compression in JPEG:
                list(_markers(data, _place(page, number)))
            elif page.compression in JPEG_2000 and not data.startswith(b"\xff\x4f\xff\x51"):  # and aborts on these
                raise SlideError(f"{_place(page, number)} cannot be decoded: not a JPEG 2000 stream")
        downsample = self._downsamples[level]
        location = tuple(math.ceil(value * downsample) for value in (x, y))  # cuCIM takes pixels of level 0
        return _rgb(np.asarray(self._slide.read_region(location, (width, height), level, num_workers=workers)))


class _OpenSlide(Slide):
    reader = "openslide"

    def __init__(self, path):
        import openslide

        self._open = lambda: openslide.OpenSlide(path)
        self._slide = self._open()
        self.shapes = tuple(size[::-1] for size in self._slide.level_dimensions)
        self.properties = dict(self._slide.properties)
        self.tile = tuple(
            int(self.properties.get(f"openslide.level[0].tile-{side}", 64)) for side in ("height", "width")
        )
        mpp = [self.properties.get(f"openslide.mpp-{axis}") for axis in "yx"]
        self.mpp = _likely_mpp(mpp if all(mpp) else None)
        self.objective_power = _number(self.properties.get("openslide.objective-power"))

    def close(self):
        self._slide.close()

    def _associated(self):
        yield from ((name, functools.partial(self._image, name)) for name in self._slide.associated_images)

    def _image(self, name):
        return np.asarray(self._slide.associated_images[name])

    def _region(self, level, y, x, height, width, workers):
        downsample = self._slide.level_downsamples[level]
        location = round(x * downsample), round(y * downsample)
        try:
            return _rgb(np.asarray(self._slide.read_region(location, level, (width, height))))
        except Exception:
            self._recover()
            raise

    def _recover(self):
        self._slide.close()  # after one failed tile OpenSlide fails on all others
        self._slide = self._open()


def _rgb(image, inverted=False, premultiplied=False):
    """Make (rows, columns[, samples]) uint8 of grey or RGB, perhaps with alpha, RGB on white."""
    image = np.atleast_3d(image)
    samples = image.shape[2]
    colours = image[..., :3] if samples > 2 else image[..., [0, 0, 0]]
    colours = 255 - colours if inverted else colours
    if samples in (2, 4) and (alpha := image[..., -1:].astype(np.uint16)).min() < 255:
        front = colours.astype(np.uint16) * (255 if premultiplied else alpha)
        colours = np.minimum((front + (255 - alpha) * 255 + 127) // 255, 255).astype(np.uint8)
    return np.ascontiguousarray(colours, np.uint8)


def _reason(error):
    text = " ".join(str(error).split())[:300]
    return text if isinstance(error, SlideError) else f"{type(error).__name__}: {text}"


# Which reader


def choose_reader(path, requested="auto"):
    """Find the reader that is right for a file, by trying all of them in processes of their own.

    OpenSlide is taken for right where it knows the vendor, otherwise the TIFF tags as tifffile applies them. The
    others are trusted if they agree: the same levels and pixel size, and sampled pixels within 2 grey levels.

    Parameters
    ----------
    path : str or path-like
        The slide.
    requested : {'auto', 'cucim', 'tifffile', 'openslide'}
        ``auto`` takes the first trusted of tifffile, cuCIM, OpenSlide.

    Returns
    -------
    (str, str)
        The reader, and why, in a sentence.

    Raises
    ------
    SlideError
        No reader can be trusted, or not the requested one; with the reason of each.
    """
    _check_file(path)
    found = _probe_all(path)
    tags, vendor = found["tifffile"], found["openslide"]["vendor"]
    if vendor and vendor != "generic-tiff" and not found["openslide"]["reason"]:
        right = "openslide"
    elif not tags["reason"]:
        right = "tifffile"
    elif not found["openslide"]["reason"] and found["openslide"]["shapes"] == tags["shapes"]:
        right = "openslide"
    else:
        if not found["openslide"]["reason"]:
            found["openslide"]["reason"] = "nothing confirms what it reads"
        raise SlideError("no reader can read it: " + _reasons(found))
    for each in found.values():
        each["reason"] = each["reason"] or _disagreement(each, found[right], right)
    trusted = [name for name in PREFERENCE if not found[name]["reason"]]
    if requested not in ("auto", *trusted):
        raise SlideError(f"reader {requested!r}: {found[requested]['reason']}; {' or '.join(trusted)} can read it")
    chosen = trusted[0] if requested == "auto" else requested
    others = [name for name in trusted if name != chosen]
    why = "it knows the format" if right == "openslide" and vendor != "generic-tiff" else "it fits the file's tags"
    if others:
        why = f"{' and '.join(others)} agree{'s' * (len(others) == 1)} on levels, pixel size and sampled pixels"
    start = chosen + ", as requested" * (requested != "auto")
    left_out = _reasons(found)
    return chosen, f"{start}: {why}" + (f"; not trusted: {left_out}" if left_out else "")


def _reasons(found):
    return "; ".join(f"{name}: {each['reason']}" for name, each in found.items() if each["reason"])


def _disagreement(one, other, name):
    """Say in what two probes differ, or nothing."""
    if one["shapes"] != other["shapes"]:
        found, expected = ([f"{width}x{height}" for height, width in probe["shapes"]] for probe in (one, other))
        return f"levels of {' '.join(found)} pixels, where {name} sees {' '.join(expected)}"
    if (one["mpp"] is None) != (other["mpp"] is None) or not np.allclose(one["mpp"] or 0, other["mpp"] or 0, rtol=0.01):
        return f"micrometres per pixel (y, x) {one['mpp']}, where {name} has {other['mpp']}"
    if missing := set(other["pixels"]) - set(one["pixels"]):
        return f"cannot read {len(missing)} of {len(other['pixels'])} samples that {name} can"
    pairs = [(one["pixels"][place].astype(int), pixels) for place, pixels in other["pixels"].items()]
    worst = max(np.abs(pixels - expected).max() for pixels, expected in pairs)
    return f"pixels differ from {name}'s by up to {worst} grey levels" if worst > SAME else ""


def _probe_all(path):
    """Probe a file with all readers at once, each in a process of its own: any may crash or hang."""
    paths = [str(Path(__file__).parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    with tempfile.TemporaryDirectory(prefix="fieldwork-") as folder:
        probes = {}
        for reader in READERS:
            command = [
                sys.executable,
                "-m",
                "fieldwork.slides.readers",
                reader,
                os.path.abspath(path),
                f"{folder}/{reader}.npz",
            ]
            probes[reader] = subprocess.Popen(
                command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
            )
        return {reader: _result(process, f"{folder}/{reader}.npz") for reader, process in probes.items()}


def _result(process, answer):
    """Wait for a probe and give what it found; why the reader failed is ``reason``, otherwise empty."""
    found = {"shapes": None, "mpp": None, "vendor": None, "pixels": {}}
    errors = process.communicate()[1].decode(errors="replace").strip()
    if process.returncode == -signal.SIGALRM:
        return found | {"reason": f"took more than {PROBE_SECONDS} s"}
    if process.returncode < 0:
        return found | {"reason": f"killed by {signal.Signals(-process.returncode).name} while reading"}
    if process.returncode:
        return found | {"reason": f"failed: {errors.splitlines()[-1] if errors else process.returncode}"}
    with np.load(answer) as arrays:
        facts = json.loads(str(arrays["facts"]))
        return found | facts | {"pixels": {name: arrays[name] for name in arrays.files if name != "facts"}}


def _probe(reader, path, answer):
    """Read samples of a slide and write what was found."""
    signal.alarm(PROBE_SECONDS)  # ends the process in whatever library it hangs, and when the parent is gone, too
    facts, pixels, failed = {}, {}, []
    try:
        slide = open_slide(path, reader)
        facts |= {"shapes": slide.shapes, "mpp": slide.mpp, "vendor": slide.properties.get("openslide.vendor")}
        for place in _sample_places(slide.shapes):
            try:
                pixels[str(place)] = slide.read(*place, workers=2)
            except SlideError as error:  # one damaged tile is no reason against a reader
                failed.append(str(error))
    except SlideError as error:
        failed.append(str(error))
    facts["reason"] = "" if pixels else failed[0]
    np.savez(answer, facts=json.dumps(facts), **pixels)


def _sample_places(shapes):
    """Give level, y, x, height, width of what is compared: places on level 0, and the lowest level's corner."""
    (rows, columns), side = shapes[0], 128
    yield 0, 0, 0, side, side
    yield 0, rows // 2 - 300, columns // 2 - 300, 600, 600  # over several tiles
    yield 0, rows - side, columns - side, side, side
    yield len(shapes) - 1, 0, 0, side, side


# JPEG tiles, as they are


def jpeg_tiles(path):
    """Give access to the JPEG streams of level 0, to keep them as they are.

    Parameters
    ----------
    path : str or path-like
        A TIFF file.

    Returns
    -------
    JpegTiles or None
        None where level 0 is not made of square, baseline JPEG tiles of 8-bit RGB or YCbCr in the usual
        orientation, or where their streams would not show the same pixels without the TIFF around them. Formats
        whose tiles overlap show in that `shape` is not that of the chosen reader's level 0.
    """
    try:
        slide = open_slide(path, "tifffile")
    except SlideError:
        return None
    page = slide._pages[0]
    fits = page.is_tiled and page.compression == 7 and page.tilelength == page.tilewidth
    plain = page.samplesperpixel == 3 and page.planarconfig == 1 and slide._turn == TURNS[1]
    if fits and plain and page.photometric in (2, 6):
        tiles = JpegTiles(slide, page)
        if tiles._shows_the_same():
            return tiles
    slide.close()
    return None


class JpegTiles:
    """The JPEG tiles of level 0.

    Attributes
    ----------
    tile : int
        Height and width of a tile, in pixels; those at the right and the bottom reach over the slide.
    shape : (height, width)
        Of level 0, in pixels.
    grid : (rows, columns)
        Numbers of tiles.
    """

    def __init__(self, slide, page):
        self._slide, self._page = slide, page
        self.tile, self.shape = page.tilelength, slide.shapes[0]
        self._ycbcr = page.photometric == 6 or page.is_jfif  # as tifffile sees it: Bio-Formats says RGB of JFIF's YCbCr
        self.grid = _segment_grid(page)

    def read(self, row, column):
        """Give one tile as a self-contained JPEG stream (bytes), its compressed pixels as they are.

        Raises
        ------
        SlideError
            The tile is missing, truncated, or not a baseline JPEG of the right size.
        """
        page, number = self._page, row * self.grid[1] + column
        place = _place(page, number)
        data = self._slide._bytes(page, number)
        # An Adobe marker tells any decoder what only the TIFF knows: RGB (Aperio) or YCbCr.
        parts = [b"\xff\xd8\xff\xee\x00\x0eAdobe\x00\x64\0\0\0\0" + (b"\1" if self._ycbcr else b"\0")]
        for stream in filter(None, (page.jpegtables, data)):
            for marker, segment in _markers(stream, place):
                if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
                    size = int.from_bytes(segment[5:7]), int.from_bytes(segment[7:9])
                    if marker > 0xC1 or segment[4] != 8 or segment[9] != 3 or size != (self.tile, self.tile):
                        raise SlideError(f"{place} is not a baseline JPEG of {self.tile} x {self.tile} pixels")
                if marker not in (0xEE, 0xD9):
                    parts.append(segment)
        return b"".join([*parts, b"\xff\xd9"])

    def close(self):
        self._slide.close()

    def _shows_the_same(self):
        """Whether a good tile's stream by itself is baseline JPEG and shows what the slide does."""
        import imagecodecs

        rows, columns = self.grid
        for share in (0.5, 0.25, 0.75, 0.1, 0.9):
            row, column = int(share * rows), int(share * columns)
            y, x = row * self.tile, column * self.tile
            try:
                shown = imagecodecs.jpeg8_decode(self.read(row, column))
                expected = self._slide.read(
                    0, y, x, min(self.tile, self.shape[0] - y), min(self.tile, self.shape[1] - x)
                )
            except (SlideError, imagecodecs.Jpeg8Error):  # damaged, perhaps
                continue
            return np.array_equal(shown[: expected.shape[0], : expected.shape[1]], expected)
        return False


def _markers(stream, place):
    """Yield (marker, bytes) of each part of a JPEG stream, pixels with their scan's header, up to its end."""
    end_of_scan = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")  # stuffed bytes, restarts and fill bytes belong to it
    position, marker = 2, None
    if not stream.startswith(b"\xff\xd8"):
        raise SlideError(f"{place} cannot be decoded: not a JPEG stream: it starts with {stream[:2]!r}")
    while marker != 0xD9:
        marker = (
            stream[position + 1] if stream[position : position + 1] == b"\xff" and position + 1 < len(stream) else 0
        )
        stop = position + 2 + (0 if marker == 0xD9 else int.from_bytes(stream[position + 2 : position + 4]))
        if marker == 0xDA:
            found = end_of_scan.search(stream, stop)
            stop = found.start() if found else len(stream) + 1
        if marker < 0xC0 or stop > len(stream) or (marker != 0xD9 and stop < position + 4):
            raise SlideError(f"{place} cannot be decoded: its JPEG stream is damaged at byte {position}")
        yield marker, stream[position:stop]
        position = stop


if __name__ == "__main__":
    _probe(*sys.argv[1:])
