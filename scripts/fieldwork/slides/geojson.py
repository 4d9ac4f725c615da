"""Write the nuclei of a slide as GeoJSON for QuPath, block after block.

The structure is that of RFC 7946; coordinates are QuPath's pixels of level 0, from the left and upper edges of
the first pixel on, and no degrees. Outlines run along the edges of pixels, so that their areas are those of the table.
"""

import json
import os
import shutil
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from os import PathLike
from pathlib import Path

import numpy as np

from fieldwork import outputs
from fieldwork.objects import polygons

MOST_PLAIN_NUCLEI = 100_000  # of more, QuPath would read a file of 100s of MB: it is zipped
SEPARATORS = (",", ":")
SHAPES = [f"Nuclei_AreaShape_{name}" for name in ("Area", "Perimeter", "Eccentricity", "FormFactor", "Solidity")]
MEAN_INTENSITY, POSITIVE = "_Intensity_MeanIntensity_", "Nuclei_Positive_"  # parts of names of columns


def zipped(path: str | PathLike) -> Path:
    """Return the path of the file in place of `path` that holds many nuclei."""
    return Path(path).with_name(f"{Path(path).name}.zip")


def discard(path: str | PathLike) -> None:
    """Delete the files, in both forms, that earlier jobs wrote or left unfinished."""
    for file in (Path(path), zipped(path)):
        outputs.clear_parts(file)
        file.unlink(missing_ok=True)


@contextmanager
def writer(path: str | PathLike, *, bounds: Sequence[int] | None = None) -> Iterator[Callable[..., None]]:
    """Yield a function that adds nuclei to a feature collection, which appears complete or not at all.

    Parameters
    ----------
    path : path-like
        ``nuclei.geojson``. Of more than `MOST_PLAIN_NUCLEI` nuclei, `zipped` holds the same file instead. Files of an
        earlier job are deleted at once.
    bounds : sequence of int, optional
        Column, row, width and height in level 0 of the part that QuPath shows, where the slide states it.

    Yields
    ------
    callable
        ``add(numbers, labels, origin, measurements, classes=None)``: the numbers, (n,), of nuclei; their labels 1..n
        in a window, (rows, columns); the level-0 row and column of the window's first pixel; name -> (n,) array of
        numbers, of which those that are not finite are left out; the (n,) names of QuPath's classes.
    """
    path, count = Path(path), 0
    discard(path)
    part = path.with_name(outputs.part_name(path))
    try:
        with open(part, "w", encoding="utf-8", newline="") as stream:
            stream.write('{"type":"FeatureCollection","features":[')

            def add(numbers, labels, origin, measurements, classes=None):
                nonlocal count
                corner = np.array(origin[::-1]) - (bounds or (0, 0))[:2]
                for feature in _features(numbers, labels, corner, measurements, classes):
                    stream.write(f",\n{feature}" if count else f"\n{feature}")
                    count += 1

            yield add
            stream.write("\n]}\n")
        if count > MOST_PLAIN_NUCLEI:
            _zip(part, path)
        else:
            os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def described(measurements: Mapping[str, np.ndarray]) -> tuple[dict[str, np.ndarray], np.ndarray | None]:
    """Return what QuPath shows of a block's nuclei: some of their measurements, and their classes if they have any.

    All measurements would be a file several times as large.
    """
    shown = [name for name in measurements if name in SHAPES or MEAN_INTENSITY in name]
    positive = next((values for name, values in measurements.items() if name.startswith(POSITIVE)), None)
    classes = None if positive is None else np.where(positive, "Positive", "Negative")
    return {name: measurements[name] for name in shown}, classes


def _zip(part, path):
    """Write the finished file into an archive, under its name; without times, for equal bytes."""
    entry = zipfile.ZipInfo(path.name)
    entry.compress_type, entry.external_attr, entry.create_system = zipfile.ZIP_DEFLATED, 0o644 << 16, 3
    entry.file_size = part.stat().st_size  # decides whether sizes have 64 bits
    with (
        outputs.atomic_file(zipped(path)) as archive,
        zipfile.ZipFile(archive, "w") as file,
        open(part, "rb") as source,
        file.open(entry, "w") as target,
    ):
        shutil.copyfileobj(source, target, 2**20)


def _features(
    numbers: Sequence[int],
    labels: np.ndarray,
    corner: np.ndarray,
    measurements: Mapping[str, np.ndarray],
    classes: Sequence[str] | None,
) -> Iterator[str]:
    """Yield the features of nuclei, in their order; `corner` is QuPath's column and row of the window's corner."""
    outlines = polygons.polygons_of(labels)
    names = {
        name: json.dumps({"name": name}, separators=SEPARATORS) for name in set(() if classes is None else classes)
    }
    for label, measured in enumerate(_measured({"ObjectNumber": np.asarray(numbers), **measurements}), 1):
        kind = f'"classification":{names[classes[label - 1]]},' if names else ""
        yield (
            f'{{"type":"Feature","geometry":{_geometry(outlines[label], corner)},'
            f'"properties":{{"objectType":"detection",{kind}"measurements":{measured}}}}}'
        )


def _geometry(outline, corner):
    coordinates = [[(ring + corner).tolist() for ring in polygon] for polygon in outline]
    if len(coordinates) == 1:
        return f'{{"type":"Polygon","coordinates":{json.dumps(coordinates[0], separators=SEPARATORS)}}}'
    return f'{{"type":"MultiPolygon","coordinates":{json.dumps(coordinates, separators=SEPARATORS)}}}'


def _measured(measurements):
    """Yield the measurements of every nucleus as a JSON object, with 7 digits; JSON has no NaN."""
    columns = {name: np.asarray(values) for name, values in measurements.items()}
    formats = [
        json.dumps(name).replace("%", "%%") + (":%.7g" if values.dtype.kind == "f" else ":%d")
        for name, values in columns.items()
    ]
    line = ",".join(formats)
    finite = np.all([np.isfinite(values) for values in columns.values()], axis=0)
    for complete, *row in zip(finite.tolist(), *(values.tolist() for values in columns.values()), strict=True):
        if complete:
            yield f"{{{line % tuple(row)}}}"
        else:
            pairs = zip(formats, row, strict=True)
            yield f"{{{','.join(text % value for text, value in pairs if np.isfinite(value))}}}"
