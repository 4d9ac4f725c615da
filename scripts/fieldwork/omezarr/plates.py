"""Write plates as OME-Zarr. `create_plate` lays a store out; then any number of processes call `write_field`."""

from collections.abc import Sequence
from os import PathLike
from typing import Any

import numpy as np
import zarr

from fieldwork.omezarr.metadata import (
    ONE_THREAD,
    ZARR_FORMATS,
    Channel,
    add_image,
    by_zarrs,
    compression_of,
    halved,
    level_shapes,
    new_label,
    omero,
    set_ome,
    version_of,
)
from fieldwork.wells import ROWS, plate_format, row_and_column


def create_plate(path: str | PathLike, *, wells: dict[str, int], version: str, name: str) -> None:
    """Lay out a store of a plate: its metadata, and a group for each well, to which `write_field` adds fields.

    Parameters
    ----------
    path : path-like
        A new or an empty folder.
    wells : dict of str to int
        Well with images (``B02``) -> number of its fields, whose groups are ``B/2/0``, ``B/2/1``, ..
        All rows and columns of their `wells.plate_format` are listed, as OME-Zarr demands.
    version : {'0.5', '0.4'}
        Of OME-Zarr.
    name : str
        Of the plate.
    """
    positions = [row_and_column(well) for well in wells]
    rows, columns = plate_format(wells)
    plate = {
        "columns": [{"name": str(column + 1)} for column in range(columns)],
        "rows": [{"name": row} for row in ROWS[:rows]],
        "wells": [
            {"path": well_path(well), "rowIndex": row, "columnIndex": column}
            for well, (row, column) in zip(wells, positions, strict=True)
        ],
        "field_count": max(wells.values()),
        "name": name,
        "version": version,
    }
    root = zarr.create_group(path, zarr_format=ZARR_FORMATS[version])
    set_ome(root, version, {"plate": plate})
    for row in dict.fromkeys(row for row, _ in positions):
        root.create_group(ROWS[row])
    for well, fields in wells.items():
        images = [{"path": str(field)} for field in range(fields)]
        set_ome(root.create_group(well_path(well)), version, {"well": {"images": images, "version": version}})


def well_path(well: str) -> str:
    """Return the path of a well's group in a plate's store: ``B/2`` for ``B02``."""
    row, column = row_and_column(well)
    return f"{ROWS[row]}/{column + 1}"


def write_field(
    path: str | PathLike,
    pixels: np.ndarray,
    *,
    labels: dict[str, np.ndarray],
    version: str,
    chunk: int,
    codec: str,
    level: int,
    sizes: dict[str, float],
    name: str,
    channels: Sequence[Channel],
    attributes: dict[str, Any],
) -> None:
    """Write one field of a plate, with its pyramid: means of 2 x 2 pixels, of the same dtype.

    Parameters
    ----------
    path : path-like
        Of the field's new group, in the store of `create_plate`.
    pixels : (t, c, z, y, x) array
        0 where there is no image.
    labels : dict of str to (t, z, y, x) array of integers
        Label images, 0 is background; each level takes every second pixel of the level before.
    version, codec, level
        As for `slides.create_slide`, without 'keep'.
    chunk : int
        Longest edge of a chunk, in pixels; a chunk holds one plane. In 0.5 a level is one file for each time point.
    sizes : dict of str to float
        Micrometres per pixel of the axes z, y and x, where they are known.
    name : str
    channels : list of Channel
    attributes : dict
        Kept under the attribute 'fieldwork'; must be JSON.
    """
    levels = [pixels]
    for shape in level_shapes(*pixels.shape[-2:], chunk=chunk)[1:]:
        planes = levels[-1].reshape(-1, *levels[-1].shape[-2:])
        levels.append(np.stack([halved(plane) for plane in planes]).reshape(*pixels.shape[:3], *shape))
    group = zarr.create_group(path, zarr_format=ZARR_FORMATS[version])
    compression = compression_of(version, codec, level, typesize=pixels.dtype.itemsize)
    _write_levels(group, "tczyx", levels, chunk, compression, sizes=sizes, name=name, extra=omero(channels))
    for label, mask in labels.items():
        masks = [mask[..., :: 2**n, :: 2**n] for n in range(len(levels))]
        with new_label(group, label) as (label_group, extra):
            origins = [(2**n, 0) for n in range(len(levels))]
            options = {"origins": origins, "sizes": sizes, "name": label, "extra": extra}
            _write_levels(label_group, "tzyx", masks, chunk, compression_of(version, "zstd"), **options)
    group.attrs["fieldwork"] = attributes


def _write_levels(group, axes, levels, chunk, compression, **options):
    """Write all levels of an image; in 0.5 each level is one shard for each time point."""
    layouts = []
    for pixels in levels:
        plane = [min(chunk, side) for side in pixels.shape[-2:]]
        layout = {"chunks": (1,) * (pixels.ndim - 2) + tuple(plane), **compression}
        if version_of(group) == "0.5":
            shard = [-(-side // edge) * edge for side, edge in zip(pixels.shape[-2:], plane, strict=True)]
            layout["shards"] = (1, *pixels.shape[1:-2], *shard)
        layouts.append(layout)
    zarr.config.set(ONE_THREAD)
    with by_zarrs():
        arrays = add_image(
            group, axes, [pixels.shape for pixels in levels], layouts, dtype=levels[0].dtype, fill_value=0, **options
        )
    for array, pixels in zip(arrays, levels, strict=True):
        array[:] = pixels
