"""Filter images: pass each through a chain of functions, measure it before and after, and save it."""

import itertools
import os
import re
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import tifffile

from fieldwork import frames, user_functions
from fieldwork.inputs import functions
from fieldwork.plates import images as plate_images
from fieldwork.plates.rows import OPTIONAL, row_of

SAVED_SUFFIXES = {"tiff": ".tif", "png": ".png", "zarr": ".zarr"}
ZARR_CHUNK_PX = 1024  # a field of a plate is one to four files
MOST_NAME_BYTES = 200  # of 255 for a file: planes, numbers and a suffix follow
COLUMNS = (
    *("Metadata_Plate", "Metadata_Well", "Metadata_Site", *OPTIONAL),
    *("FileName_DNA", "PathName_DNA", "Image_Width", "Image_Height", "Image_Status", "Image_Error"),
)  # then the metrics, and the saved file


class FilterError(ValueError):
    """A filter or a metric failed on an image; the message is the reason."""


class Original(NamedTuple):
    """An image to filter, and the path of its filtered image, from `targets_of`."""

    image: plate_images.FieldImage
    target: str

    def __str__(self):
        return str(self.image)


class FilteredImage(NamedTuple):
    """One filtered image, or why there is none (`error`)."""

    well: str
    site: int
    timepoint: int | None
    z: int | None
    path: str
    error: str | None = None
    shape: tuple[int, int] | tuple[None, None] = (None, None)  # of the image as it was read
    before: dict[str, float] = {}  # metric -> value
    after: dict[str, float] = {}
    saved: str | None = None  # file or Zarr folder, relative to the folder of filtered images
    low: float | None = None  # the value that is 0 in the PNG
    high: float | None = None  # the value that is 255 in the PNG


def targets_of(images: Iterable[plate_images.FieldImage]) -> dict[str, str]:
    """Choose the paths of a plate's filtered images.

    Parameters
    ----------
    images : iterable of images.FieldImage
        All images of the plate. Those of an image list may lie in any folder; those that are missing have no path.

    Returns
    -------
    dict of str to str
        Path -> the same path below the deepest folder that holds all images, without its suffix. The suffix stays, or
        a number is added, where it would be the target of another image, or of another's planes. A long name is cut.
    """
    absolute = {image.path: os.path.abspath(image.path) for image in images if image.path}
    root = os.path.commonpath([os.path.dirname(path) for path in absolute.values()] or ["/"])
    below = {path: os.path.relpath(full, root) for path, full in absolute.items()}
    chosen, taken = {}, set()
    # In this order a.tif comes before a_z1.tif, whose name a plane of a.tif may need. Case does not count: some file
    # systems don't tell A.tif from a.tif.
    for path in sorted(below, key=lambda path: (below[path].casefold(), below[path])):
        folder, name = os.path.split(below[path])
        name = os.path.join(folder, os.fsdecode(os.fsencode(name)[:MOST_NAME_BYTES]))
        numbered = (f"{name}_{number}" for number in itertools.count(2))
        for target in itertools.chain([os.path.splitext(name)[0], name], numbered):
            planes_of = re.sub(r"(_series\d+)?(_frame\d+)?(_t\d+)?(_z\d+)?$", "", target)
            if not taken & {target.casefold(), planes_of.casefold()}:
                break
        taken.add(target.casefold())
        chosen[path] = target
    return chosen


def import_filters(chain: list[dict], *, save: str, folders: Sequence) -> None:
    """Import what `filter_image` needs, so that forked workers have it already: 0.2 to 1 s in each of them.

    Parameters
    ----------
    chain, save, folders
        As for `filter_image`.

    Raises
    ------
    InputError
        A filter cannot be found.
    """
    if save == "zarr":
        import zarr  # noqa: F401 - starts threads when it is used, not here
    for step in chain:
        functions.find_once(step["function"], folders=tuple(folders))


def read_planes(original: Original, *, channel: str) -> list[frames.Plane]:
    """Read an image's planes, as `images.read_planes` does."""
    return plate_images.read_planes(original.image, channel=channel)


def failed_image(
    original: Original, reason: str, shape: tuple[int, int] | tuple[None, None] = (None, None)
) -> list[FilteredImage]:
    """Return the failed result of an image that could not be filtered; `shape`: of the image, if it was read."""
    image = original.image
    return [FilteredImage(image.well, image.site, image.timepoint, image.z, image.path, reason, shape)]


def filter_image(
    original: Original,
    planes: list[frames.Plane],
    *,
    chain: list[dict],
    metrics: list[str],
    save: str,
    folder: os.PathLike | str,
    folders: Sequence,
    plate: str = "",
) -> list[FilteredImage]:
    """Filter one image, measure it before and after, and save it.

    Parameters
    ----------
    original : Original
    planes : list of frames.Plane
        From `read_planes`.
    chain : list of dict
        The filters in their order: ``function``, a name as for `functions.find`, and optional ``arguments``.
    metrics : list of str
        Names as for `functions.metric`.
    save : {'tiff', 'png', 'zarr', 'none'}
        'png' has 8 bits, linear from the filtered image's minimum (0) to its maximum (255); 'tiff' and 'zarr' keep the
        image as it is.
    folder : path-like
        Of the filtered images. Leftovers of a killed worker are overwritten when its image is filtered again.
    folders : sequence of path-like
        As for `functions.find`.
    plate : str
        Its name seeds the random numbers of filters.

    Returns
    -------
    list of FilteredImage
        One for each plane of the file, usually one. An image on which a filter or a metric fails is one failed
        FilteredImage, and nothing is saved.

    Raises
    ------
    InputError
        A filter or a metric cannot be found.
    """
    image = original.image
    import_filters(chain, save=save, folders=folders)  # before random numbers are seeded: a module may draw some
    done = []
    try:
        for plane in planes:
            user_functions.seed_random(plate, image.well, image.site, plane.timepoint, plane.z)
            before = _metrics_of(plane.image, metrics)
            pixels = _through(plane.image.copy(), chain, tuple(folders))  # copy: a filter may work in place
            after = _metrics_of(pixels, metrics)
            pixels, low, high = _eight_bits(pixels) if save == "png" else (pixels, None, None)
            figures = {"shape": plane.image.shape, "before": before, "after": after, "low": low, "high": high}
            result = FilteredImage(image.well, image.site, plane.timepoint, plane.z, image.path, **figures)
            done.append((pixels, result))
    except FilterError as error:
        return failed_image(original, str(error), plane.image.shape)
    if save == "none":
        return [result for _, result in done]
    many_times, many_planes = (len({getattr(plane, axis) for plane in planes}) > 1 for axis in ("timepoint", "z"))
    # A list may name several images or pages of one file.
    parts = [
        f"_{name}{number}"
        for name, number in zip(("series", "frame"), image.inside, strict=False)
        if number is not None
    ]
    results = []
    for pixels, result in done:  # only now: nothing of a failed image is saved
        plane_name = f"_t{result.timepoint}" * many_times + f"_z{result.z}" * many_planes
        saved = "".join([original.target, *parts, plane_name, SAVED_SUFFIXES[save]])
        _save(pixels, Path(folder, saved), save)
        results.append(result._replace(saved=saved))
    return results


def _through(image, chain, folders):
    """Return an image after all filters of a chain."""
    for step in chain:
        # Not in `_attempt`: a missing filter is not the image's fault, so it fails the job.
        function = functions.find_once(step["function"], folders=folders)
        what = f"filter {step['function']}"
        image = _attempt(what, user_functions.image_of, function, image, **step.get("arguments", {}))
    return image


def _metrics_of(image, names):
    """Measure in float64: NumPy's ptp of int8 and sum of float16 overflow."""
    image = image.astype(np.float64)
    return {name: _attempt(f"metric {name}", float, user_functions.metric(name), image) for name in names}


def _attempt(what, convert, function, image, /, **arguments):
    try:
        with functions.contained():
            return convert(function(image, **arguments))
    except Exception as error:  # the user's functions may raise anything
        raise FilterError(user_functions.reason(what, error)) from error


def _eight_bits(image):
    """Scale an image to uint8, from its minimum to its maximum; return these too."""
    low, high = image.min().item(), image.max().item()
    span = float(high) - float(low)
    if not np.isfinite(span):
        raise FilterError("the filtered image holds NaN or infinity, which a PNG cannot show; save it as tiff or zarr")
    pixels = np.rint((image.astype(np.float64) - low) / (span or 1) * 255).astype(np.uint8)
    return pixels, low, high


def _save(pixels, path, save):
    """Save an image; its bytes are the same every time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if save == "png":
        path.write_bytes(cv2.imencode(".png", pixels)[1])
    elif save == "tiff":
        tifffile.imwrite(path, pixels, photometric="minisblack", metadata=None)
    else:
        import zarr  # here: it takes 0.5 s and starts threads

        from fieldwork.omezarr.metadata import ONE_THREAD, ZARRS

        shutil.rmtree(path, ignore_errors=True)  # half a store, of a worker that was killed
        with zarr.config.set(ONE_THREAD | ZARRS):
            chunks = tuple(min(ZARR_CHUNK_PX, side) for side in pixels.shape)
            codec = zarr.codecs.ZstdCodec(level=1)
            zarr.create_array(path, data=pixels, chunks=chunks, compressors=codec, dimension_names=["y", "x"])


def rows_of(
    plate: str, filtered: list[FilteredImage], *, metrics: list[str], save: str
) -> tuple[list[dict], list[str]]:
    """Return the table of filtered and failed images.

    Parameters
    ----------
    plate : str
    filtered : list of FilteredImage
    metrics, save
        As for `filter_image`.

    Returns
    -------
    rows : list of dict
    columns : list of str
        As `outputs.write_csv` takes them.
    """
    rows = [
        {
            **row_of(plate, image),
            **{f"Before_{name}": image.before.get(name) for name in metrics},
            **{f"After_{name}": image.after.get(name) for name in metrics},
            "FileName_Filtered": image.saved,
            "PNG_Low": image.low,
            "PNG_High": image.high,
        }
        for image in filtered
    ]
    absent = {name for name in OPTIONAL if all(row[name] is None for row in rows)}
    if save != "png":
        absent |= {"PNG_Low", "PNG_High"}
    figures = [f"{when}_{name}" for when in ("Before", "After") for name in metrics]
    columns = [*COLUMNS, *figures, "FileName_Filtered", "PNG_Low", "PNG_High"]
    return rows, [name for name in columns if name not in absent]
