"""Regions of a slide, as a user drew them in QuPath: the polygons in a GeoJSON file of annotations."""

import json
import os
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

from fieldwork import InputError

Ring = list[list[float]]  # positions: x, y
SEPARATOR = ";"  # between the names of regions that overlap
# Types of QuPath's objects that are no regions; the ids are those of its versions before 0.3.
NO_REGIONS = {"detection", "cell", "tile", "root", "PathDetectionObject", "PathCellObject", "PathTileObject"}
LARGEST_COORDINATE_PX = 1e9  # no slide is as large
LEAST_POSITIONS = 4  # of a ring: a triangle, closed


class Region(NamedTuple):
    """All annotations of one name."""

    name: str
    polygons: list[list[Ring]]  # outer ring and holes of each, in QuPath's pixels


class Annotations(NamedTuple):
    """The regions of a file, in its order."""

    regions: list[Region]
    left_out: dict[str, int]  # what is no region -> how many


def read_annotations(path: str | os.PathLike, *, where: str) -> Annotations:
    """Read the regions in a file that QuPath exported.

    Parameters
    ----------
    path : path-like
        GeoJSON: a feature collection, a feature, a list of features, or a geometry.
    where : str
        Which line of the sheet names the file, for the message.

    Returns
    -------
    Annotations
        Regions of one name are one region. The name is that of the annotation, else that of its class, else
        ``Region 1``, ``Region 2`` ...

    Raises
    ------
    InputError
        The file cannot be read, is no GeoJSON, or has no region, or a name has a `SEPARATOR`.
    """
    what = f"{where}: the regions '{path}'"
    try:
        with open(path, encoding="utf-8-sig") as file:
            content = json.load(file)
    except OSError as error:
        raise InputError(f"{what} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())[:100]
        raise InputError(f"{what} are no JSON ({reason}); expected GeoJSON as QuPath exports it") from None
    named, unnamed, left_out = {}, [], Counter()
    try:
        for feature in _features(content):
            kind = _properties(feature).get("objectType") or feature.get("id") or "annotation"
            if kind in NO_REGIONS:
                left_out[f"objects of type {kind}"] += 1
                continue
            polygons, others = _polygons(feature.get("geometry"))
            left_out.update(others)
            if polygons:
                name = _name_of(feature)
                named.setdefault(name or (None, len(unnamed)), []).extend(polygons)
                unnamed += [] if name else [None]
    except (AttributeError, TypeError, KeyError, ValueError, OverflowError, RecursionError) as error:
        raise InputError(f"{what} are no GeoJSON as QuPath exports it: {_reason(error)}") from None
    if not named:
        seen = ", ".join(f"{kind} ({count})" for kind, count in left_out.items()) or "nothing"
        raise InputError(f"{what} have no area: found {seen}; expected annotations that are polygons")
    return Annotations(_with_names(named, what), dict(left_out))


def _reason(error):
    return (
        str(error) if isinstance(error, _OddGeoJSON) else f"an unexpected value ({' '.join(str(error).split())[:80]})"
    )


class _OddGeoJSON(ValueError):
    """Something in a file is not what it should be; the text describes it."""


def _features(content: Any) -> Iterator[dict]:
    """Yield the features of parsed GeoJSON; those in a hierarchy of QuPath's come after the feature that holds them."""
    if isinstance(content, list):
        for part in content:
            yield from _features(part)
        return
    kind = content.get("type") if isinstance(content, dict) else None
    if kind == "FeatureCollection":
        yield from _features(content["features"])
    elif kind == "Feature":
        yield content
        properties = _properties(content)
        yield from _features(properties.get("childObjects") or properties.get("children") or [])
    elif kind in (
        "Polygon",
        "MultiPolygon",
        "GeometryCollection",
        "Point",
        "MultiPoint",
        "LineString",
        "MultiLineString",
    ):
        yield {"type": "Feature", "geometry": content}
    else:
        raise _OddGeoJSON(f"found {str(kind or content)[:40]!r}; expected a FeatureCollection or Features")


def _properties(feature):
    return feature.get("properties") or {}


def _name_of(feature):
    """Return the name of an annotation, or of its class; empty without."""
    properties = _properties(feature)
    kind = properties.get("classification") or {}
    names = [kind] if isinstance(kind, str) else kind.get("names") or [kind.get("name")]
    for name in (properties.get("name"), ": ".join(str(part) for part in names if part)):
        if name and str(name).split():
            return " ".join(str(name).split())
    return ""


def _polygons(geometry):
    """Return the polygons of a geometry, and how many parts without an area it has, by their types."""
    if geometry is None:
        return [], Counter(["objects without a geometry"])
    kind = geometry["type"]
    if kind == "GeometryCollection":
        parts = [_polygons(part) for part in geometry["geometries"]]
        return [polygon for polygons, _ in parts for polygon in polygons], sum((other for _, other in parts), Counter())
    if kind not in ("Polygon", "MultiPolygon"):
        return [], Counter([f"geometries of type {kind}"])
    polygons = [geometry["coordinates"]] if kind == "Polygon" else geometry["coordinates"]
    return [[_ring(ring) for ring in polygon] for polygon in polygons if polygon], Counter()


def _ring(ring):
    """Check and close a ring."""
    positions = [[float(x), float(y)] for x, y, *_ in ring]
    for value in (value for position in positions for value in position):
        if not abs(value) <= LARGEST_COORDINATE_PX:  # nor NaN
            raise _OddGeoJSON(f"found the coordinate {value}; expected pixels")
    if positions and positions[0] != positions[-1]:
        positions.append(positions[0])
    if len(positions) < LEAST_POSITIONS:
        raise _OddGeoJSON(f"a ring of {len(positions)} positions; expected at least {LEAST_POSITIONS}")
    return positions


def _with_names(named, what):
    """Return regions, those without a name with a number."""
    free = (name for number in range(1, 2 * len(named) + 1) if (name := f"Region {number}") not in named)
    regions = [Region(name if isinstance(name, str) else next(free), polygons) for name, polygons in named.items()]
    for region in regions:
        if SEPARATOR in region.name:
            raise InputError(
                f"{what} have the name {region.name!r}; expected names without a {SEPARATOR}, which is put between "
                "the names of regions that overlap"
            )
    return regions
