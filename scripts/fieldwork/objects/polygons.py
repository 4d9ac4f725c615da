"""Outlines of the objects of a label image as polygons, which run along the edges of pixels: areas are exact."""

from typing import NamedTuple

import numpy as np

Polygon = list[np.ndarray]  # its outer ring, then its holes


class _Corners(NamedTuple):
    """Corners of all outlines. An outline has the object to its right, and turns at every corner."""

    labels: np.ndarray  # (n,) of the object
    rows: np.ndarray  # (n,) of the pixel below the corner
    columns: np.ndarray  # (n,) of the pixel to its right
    to_right: np.ndarray  # (n,) bool: the horizontal edge is to the right of the corner
    down: np.ndarray  # (n,) bool: the vertical edge is below the corner
    to_horizontal: np.ndarray  # (n,) bool: the outline goes on along the horizontal edge


def polygons_of(labels: np.ndarray) -> dict[int, list[Polygon]]:
    """Trace the outlines of all objects.

    Parameters
    ----------
    labels : (rows, columns) array of integers from 0

    Returns
    -------
    dict of int to list of list of (n, 2) int64 array
        Label, ascending -> its polygons: one for each piece whose pixels touch at their sides. A polygon is an outer
        ring, then rings of its holes. A ring lists column (x) and row (y) of its corners; the first is also the last.
        Pixel (r, c) covers columns c to c + 1 and rows r to r + 1. Outer rings have a positive area by the shoelace
        formula, holes a negative one. No ring touches itself: the polygons are valid as OGC's simple features are.
    """
    corners = _corners_of(labels)
    if not len(corners.labels):
        return {}
    order, starts = _rings_of(corners)
    points = np.stack([corners.columns, corners.rows], 1)[order]
    touching = set(_touching_rings(points, starts).tolist())
    ends = np.append(starts[1:], len(points))
    closed = np.insert(points, ends, points[starts], axis=0)
    rings = np.split(closed, (ends + np.arange(1, len(ends) + 1))[:-1])
    pieces: dict[int, list[np.ndarray]] = {}
    for number, (owner, ring) in enumerate(zip(corners.labels[order[starts]].tolist(), rings, strict=True)):
        pieces.setdefault(owner, []).extend(_simple_rings(ring) if number in touching else [ring])
    return {owner: _polygons(rings) if len(rings) > 1 else [rings] for owner, rings in pieces.items()}


def _corners_of(labels):
    """Find the corners of all outlines, in order of labels, rows, columns: two by two they end a horizontal edge."""
    padded = np.pad(labels, 1)
    width = padded.shape[1]
    across, along = padded[:, 1:] != padded[:, :-1], padded[1:] != padded[:-1]
    rows, columns = np.divmod(np.flatnonzero((across[:-1] | across[1:]) & (along[:, :-1] | along[:, 1:])), width - 1)
    first, padded = rows * width + columns, padded.ravel()
    around = {(down, right): padded[first + down * width + right] for down in (0, 1) for right in (0, 1)}
    parts = []
    for (down, right), pixel in around.items():
        beside, above, opposite = around[down, 1 - right], around[1 - down, right], around[1 - down, 1 - right]
        # Pixels that touch at a corner alone are of two pieces, so that what lies opposite does not count here ...
        convex = (pixel != 0) & (pixel != beside) & (pixel != above)
        # ... but a corner of the object that surrounds this pixel on three sides is one.
        concave = (beside != 0) & (beside == above) & (beside == opposite) & (pixel != beside)
        for at, owner, horizontal in ((convex, pixel, down == right), (concave, beside, down != right)):
            at = np.flatnonzero(at)
            flags = (np.full(len(at), flag) for flag in (bool(right), bool(down), horizontal))
            parts.append((owner[at].astype(np.int64), rows[at], columns[at], *flags))
    corners = _Corners(*map(np.concatenate, zip(*parts, strict=True)))
    order = np.lexsort((corners.to_right, corners.columns, corners.rows, corners.labels))
    return _Corners(*(values[order] for values in corners))


def _rings_of(corners):
    """Follow the outlines. Return all corners, ring after ring from its first corner on, and where rings start."""
    order = np.lexsort((corners.down, corners.rows, corners.columns, corners.labels))
    vertical = np.empty(
        len(order), np.int64
    )  # the other end of a corner's vertical edge; of the horizontal: number ^ 1
    vertical[order[::2]], vertical[order[1::2]] = order[1::2], order[::2]
    begins = np.flatnonzero(corners.to_horizontal)  # of the horizontal edges, one of every two corners
    following = vertical[begins ^ 1] // 2  # the horizontal edge after each
    first = np.arange(len(begins))
    ahead = following
    while not np.array_equal(least := np.minimum(first, first[ahead]), first):
        first, ahead = least, ahead[ahead]
    # The number of edges from each to the first one of its ring, by ever longer steps that end there.
    is_first = first == np.arange(len(first))
    distance, ahead = (~is_first).astype(np.int64), np.where(is_first, np.arange(len(first)), following)
    while (further := distance[ahead]).any():
        distance, ahead = distance + further, ahead[ahead]
    edges = np.lexsort((np.where(is_first, 0, -distance), ~is_first, first))
    starts = 2 * np.flatnonzero(is_first[edges])
    return np.stack([begins, begins ^ 1], 1)[edges].ravel(), starts


def _touching_rings(points, starts):
    """Return the numbers of rings that come to a corner twice."""
    ring = np.repeat(np.arange(len(starts)), np.diff(starts, append=len(points)))
    order = np.lexsort((points[:, 0], points[:, 1], ring))
    same = (points[order[1:]] == points[order[:-1]]).all(1) & (ring[order[1:]] == ring[order[:-1]])
    return np.unique(ring[order[1:]][same])


def _simple_rings(ring):
    """Cut a ring where it comes to a corner again; a hole that touches the outline becomes a ring of its own."""
    rings, way = [], []
    for corner in ring.tolist():
        if corner in way:
            start = way.index(corner)
            rings.append(np.array([*way[start:], corner]))
            del way[start:]
        way.append(corner)
    return rings


def _polygons(rings):
    """Put the rings of an object together: each hole belongs to the smallest outer ring around it."""
    areas = [_area(ring) for ring in rings]
    outer = [number for number, area in enumerate(areas) if area > 0]
    polygons = {number: [rings[number]] for number in outer}
    for number, area in enumerate(areas):
        if area < 0:
            around = outer if len(outer) == 1 else [item for item in outer if _covers(rings[item], rings[number])]
            polygons[min(around, key=areas.__getitem__)].append(rings[number])
    return list(polygons.values())


def _area(ring):
    """Return the area of a closed ring by the shoelace formula, in px."""
    (x, y), (next_x, next_y) = ring[:-1].T, ring[1:].T
    return int((x * next_y - next_x * y).sum()) // 2


def _covers(outer, inner):
    """Return True if a ring lies inside of another one, which it may touch."""
    import shapely  # here: few objects have several pieces and holes

    return shapely.Polygon(outer).covers(shapely.Polygon(inner))
