"""The tables of slides: their columns and rows."""

import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from os import PathLike
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from fieldwork import objects, outputs
from fieldwork.detection.measured_tables import BORDER, CENTER, at_once, finite, measured_columns
from fieldwork.slides import blocks, regions
from fieldwork.slides.channels import Channels

TILES = pa.schema(
    [
        ("Metadata_Slide", pa.string()),
        ("Tile_Row", pa.int64()),
        ("Tile_Column", pa.int64()),
        ("Tile_Height", pa.int64()),
        ("Tile_Width", pa.int64()),
        ("Tile_TissueFraction", pa.float64()),
        ("Tile_Count_Nuclei", pa.int64()),
        ("Tile_Focus", pa.float64()),
        ("Tile_Mean_R", pa.float64()),
        ("Tile_Mean_G", pa.float64()),
        ("Tile_Mean_B", pa.float64()),
        ("Tile_Error", pa.string()),
    ]
)
SLIDE_COLUMNS = [
    "Metadata_Plate",
    "Metadata_Slide",
    "FileName_Slide",
    "PathName_Slide",
    "Slide_Status",
    "Slide_Error",
    "Slide_Width",
    "Slide_Height",
    "Slide_MPP_X",
    "Slide_MPP_Y",
    "Slide_MPP_Source",
    "Slide_ObjectivePower",
    "Slide_Modality",
    "Slide_TissueArea_px",
    "Slide_TissueArea_mm2",
    "Count_Nuclei",
    "Nuclei_Per_mm2",
    "Share_Positive",
    "Positive_Threshold",
    "Tiles_Failed",
    "Slide_FailedShare",
    "Slide_Reader",
    "Slide_Codec",
    "Slide_Other_Series",
    "Slide_Warnings",
]


CENTER_NAMES = ("Nuclei_Location_Center_Y", "Nuclei_Location_Center_X")
ROW_GROUP_NUCLEI = 2**14  # of nuclei.parquet: 19 MB, of which the job holds some copies while it writes them
DIGITS = 4  # significant ones, of a density: the number of nuclei itself is less certain


def nuclei_table(
    slide: str,
    measured: Iterable,
    *,
    mpp: tuple[float, float] | None,
    drawn: regions.Regions | None = None,
    made_of: Mapping[str, Any] | None = None,
) -> pa.Table:
    """Return the table of a slide's nuclei that are peaks.

    Parameters
    ----------
    slide : str
    measured : iterable of tiles.MeasuredTile
        The slide's tiles, in any order.
    mpp : (float, float) or None
        Micrometres per pixel, vertically and horizontally.
    drawn : regions.Regions, optional
        The slide's regions, for a column.
    made_of : mapping, optional
        What decides the table, for its metadata.

    Returns
    -------
    pyarrow.Table
        One row for each nucleus, numbered from 1 in order of rows, then columns. Locations are in level-0 pixels, and
        also in µm where `mpp` is known; the origin of both is the centre of the top-left pixel.
    """
    measured = list(measured)
    coordinates = np.concatenate([np.empty((0, 2), int), *(result.coordinates for result in measured)])
    peaks = np.concatenate([np.empty(0), *(result.peaks for result in measured)])
    order = np.lexsort(coordinates.T[::-1])
    rows, columns = coordinates[order].T.astype(np.float64)
    table = {
        "Metadata_Slide": pa.repeat(pa.scalar(slide, pa.string()), len(order)),
        "ObjectNumber": np.arange(1, len(order) + 1),
        **({regions.COLUMN: pa.array(drawn.names_at(rows, columns), pa.string())} if drawn else {}),
        "Nuclei_Location_Center_X": columns,
        "Nuclei_Location_Center_Y": rows,
    }
    if mpp:
        table |= {"Nuclei_Location_Center_X_um": columns * mpp[1], "Nuclei_Location_Center_Y_um": rows * mpp[0]}
    return pa.table({**table, "Nuclei_Intensity_Peak": peaks[order]}, metadata=_texts_of(made_of or {}))


def nuclei_schema(
    detection: blocks.Detection | None,
    *,
    channels: Channels,
    mpp: Sequence[float] | None,
    made_of: Mapping[str, Any],
    has_regions: bool = False,
) -> pa.Schema:
    """Return the columns of a slide's nuclei with outlines; the metadata says what they are.

    Parameters
    ----------
    detection : blocks.Detection or None
        None where the slide shows no typical nucleus.
    channels : channels.Channels
    mpp : (float, float) or None
        Micrometres per pixel, vertically and horizontally.
    made_of : mapping
        What decides the table, for its metadata.
    has_regions : bool
        Nuclei have the names of regions.
    """
    names, positive = tuple(channels.measured), detection.positive if detection else {}
    columns = {"Metadata_Slide": pa.string(), "ObjectNumber": pa.int64()}
    columns |= ({regions.COLUMN: pa.string()} if has_regions else {}) | dict(CENTER)
    columns |= {f"{name}_um": kind for name, kind in CENTER} if mpp else {}
    columns |= measured_columns(names, "Nuclei")
    columns |= dict.fromkeys(blocks.ring_columns(list(names)), pa.float64())
    columns |= dict([BORDER]) | {blocks.POSITIVE.format(channel): pa.bool_() for channel in positive}
    facts = {"features": objects.features_of(columns), "modality": channels.modality, "channel": channels.detected}
    facts |= ({"positive": positive} if positive else {}) | made_of
    return pa.schema(list(columns.items()), _texts_of(facts))


def _texts_of(facts):
    """Return facts as metadata of a table: texts as they are, all others as JSON."""
    return {key: value if isinstance(value, str) else json.dumps(value) for key, value in facts.items()}


@contextmanager
def nuclei_writer(
    path: str | PathLike,
    slide: str,
    schema: pa.Schema,
    *,
    mpp: Sequence[float] | None,
    drawn: regions.Regions | None = None,
) -> Iterator[Callable[[int, blocks.BlockNuclei], None]]:
    """Yield a function that adds the nuclei of a block to a table, which appears complete or not at all.

    Parameters
    ----------
    path : path-like
        Of the Parquet file; it gets a row group for every `ROW_GROUP_NUCLEI`.
    slide : str
    schema : pyarrow.Schema
        From `nuclei_schema`.
    mpp : (float, float) or None
    drawn : regions.Regions, optional
        The slide's regions, if the schema has their column.

    Yields
    ------
    callable
        Takes the number of a block's first nucleus, and the block's `BlockNuclei`; blocks in their order.
    """
    outputs.clear_parts(path)
    most = at_once(ROW_GROUP_NUCLEI, schema)
    waiting = [schema.empty_table()]
    texts = [field.name for field in schema if field.type == pa.string()]
    with (
        outputs.atomic_file(path) as part,
        pq.ParquetWriter(part, schema, compression="zstd", use_dictionary=texts) as writer,
    ):

        def write(least):
            joined = pa.concat_tables(waiting)
            while len(joined) >= max(1, least):
                group = joined.slice(0, most).combine_chunks()
                writer.write_table(group, row_group_size=len(group))
                joined = joined.slice(most)
            waiting[:] = [joined]

        def add(first_number, found):
            if found.count:
                waiting.append(_nuclei_of(slide, first_number, found, schema, mpp, drawn))
            if sum(map(len, waiting)) >= most:
                write(most)

        yield add
        write(1)


def _nuclei_of(slide, first_number, found, schema, mpp, drawn):
    """Return the rows of a block's nuclei."""
    centres = {name: found.measurements[f"Nuclei_AreaShape_Center_{name[-1]}"] for name, _ in CENTER}
    columns = {
        "Metadata_Slide": pa.repeat(pa.scalar(slide, pa.string()), found.count),
        **found.measurements,
        "ObjectNumber": np.arange(first_number, first_number + found.count),
        **centres,
    }
    if drawn:
        names = drawn.names_at(*(centres[f"Nuclei_Location_Center_{axis}"] for axis in "YX"))
        columns[regions.COLUMN] = pa.array(names, pa.string())
    if mpp:
        columns |= {f"{name}_um": values * mpp["YX".index(name[-1])] for name, values in centres.items()}
    return pa.table([finite(columns[field.name]) for field in schema], schema=schema)


def tiles_table(slide: str, measured: Iterable) -> pa.Table:
    """Return the table of a slide's tiles.

    Parameters
    ----------
    slide : str
    measured : iterable of tiles.MeasuredTile
        In any order.

    Returns
    -------
    pyarrow.Table
        Of schema `TILES`: one row for each tile, row by row. The count is null where the tile could not be measured,
        focus and colour also if the tile was not read, the error if the tile has none.
    """
    rows = [
        (
            slide,
            *result.tile,
            result.tissue,
            None if result.tissue is None or (result.error and result.focus is None) else result.count,
            result.focus,
            *result.colour,
            result.error or None,
        )
        for result in sorted(measured, key=lambda result: result.tile)
    ]
    return pa.Table.from_pylist([dict(zip(TILES.names, row, strict=True)) for row in rows], TILES)


def slide_row(
    plate: str, facts: dict[str, Any], tiles: str | PathLike, nuclei: str | PathLike, *, max_failed: float
) -> dict[str, Any]:
    """Return the row of a slide in its batch's table.

    Parameters
    ----------
    plate : str
    facts : dict
        The content of ``slide.json``.
    tiles : path-like
        The slide's ``tiles.parquet``.
    nuclei : path-like
        The slide's ``nuclei.parquet``.
    max_failed : float
        Share of the tissue in which nuclei may have failed to be measured; of more, none are counted.

    Returns
    -------
    dict
        Column of `SLIDE_COLUMNS` -> value; None where a slide that could not be opened, or one without a pixel size,
        has none. A slide of which too much could not be decoded has no tissue and no nuclei. Where tiles failed,
        nuclei per mm2 are those of the others.
    """
    row = dict.fromkeys(SLIDE_COLUMNS) | {
        "Metadata_Plate": plate,
        "Metadata_Slide": facts["slide"],
        "FileName_Slide": os.path.basename(facts["path"]),
        "PathName_Slide": os.path.dirname(facts["path"]),
        "Slide_Status": facts["status"],
        "Slide_Error": facts["error"],
    }
    if "failed_tiles" not in facts:  # it was not converted
        return row
    mpp = facts["mpp"] or [None, None]
    row |= {
        "Slide_Width": facts["width"],
        "Slide_Height": facts["height"],
        "Slide_MPP_X": mpp[1],
        "Slide_MPP_Y": mpp[0],
        "Slide_MPP_Source": facts["mpp_source"],
        "Slide_ObjectivePower": facts["objective_power"],
        "Slide_Modality": facts["modality"],
        "Tiles_Failed": len(facts["failed_tiles"]),
        "Slide_FailedShare": facts["failed_share"],
        "Slide_Reader": facts["reader"],
        "Slide_Codec": facts["codec"],
        "Slide_Other_Series": "; ".join(facts["other_series"]) or None,
        "Slide_Warnings": "; ".join(facts["warnings"]) or None,
    }
    if facts["status"] != "ok":
        return row
    of_nuclei = pq.read_metadata(nuclei)
    warnings = facts["warnings"] + json.loads((of_nuclei.metadata or {}).get(b"warnings", b"[]"))
    measured, lost = [], []
    for tile in pq.read_table(tiles).to_pylist():
        (lost if tile["Tile_Count_Nuclei"] is None else measured).append(tile)
    row |= {
        "Slide_TissueArea_px": facts["tissue_area_px"],
        "Slide_TissueArea_mm2": facts["tissue_area_mm2"],
        "Tiles_Failed": row["Tiles_Failed"] + len(lost),
    }
    measured_px, lost_px = _tissue_px(measured), _tissue_px(lost)
    share, area = lost_px / max(measured_px + lost_px, 1), facts["tissue_area_mm2"]
    if share:
        warnings.append(f"nuclei in {100 * share:.3g} % of its tissue could not be measured")
        area = measured_px * mpp[0] * mpp[1] / 1e6 if facts["mpp"] else None
    row["Slide_Warnings"] = "; ".join(warnings) or None
    if share > max_failed or share == 1:
        return row
    count = sum(tile["Tile_Count_Nuclei"] for tile in measured)
    return row | {
        "Count_Nuclei": of_nuclei.num_rows,
        "Nuclei_Per_mm2": float(f"{count / area:.{DIGITS}g}") if area else None,
        **_positive_of(nuclei),
    }


def _tissue_px(tiles):
    """Return the area of the tissue in tiles; one of which it is not known may be all tissue."""
    shares = [1 if tile["Tile_TissueFraction"] is None else tile["Tile_TissueFraction"] for tile in tiles]
    return sum(share * tile["Tile_Height"] * tile["Tile_Width"] for share, tile in zip(shares, tiles, strict=True))


def lost_rectangles(facts: Mapping[str, Any], tiles: str | PathLike) -> list[Sequence[int]]:
    """Return row, column, height and width of what could not be decoded, and of tiles whose nuclei are not counted."""
    position = ["Tile_Row", "Tile_Column", "Tile_Height", "Tile_Width"]
    table = pq.read_table(tiles, columns=[*position, "Tile_Count_Nuclei"])
    uncounted = table.filter(pc.is_null(table["Tile_Count_Nuclei"])).select(position)
    return [*(tile[:4] for tile in facts["failed_tiles"]), *zip(*uncounted.to_pydict().values(), strict=True)]


def counts_by_region(path: str | PathLike, lost: regions.Lost) -> dict[regions.Nuclei, int]:
    """Count the nuclei of a table by the names of their regions, by whether they are positive and in a lost part."""
    with pq.ParquetFile(path) as file:
        positive = [name for name in file.schema_arrow.names if name.startswith(blocks.POSITIVE.format(""))][:1]
        names, counts = [regions.COLUMN, *positive], Counter()
        for group in file.iter_batches(columns=[*names, *CENTER_NAMES]):
            rows, columns = (group[name].to_numpy() for name in CENTER_NAMES)
            table = pa.table({**{name: group[name] for name in names}, "lost": lost.hold(rows, columns)})
            for kind in table.group_by(table.column_names).aggregate([([], "count_all")]).to_pylist():
                is_positive = kind[positive[0]] if positive else None
                counts[regions.Nuclei(kind[regions.COLUMN], is_positive, kind["lost"])] += kind["count_all"]
    return counts


def _positive_of(path):
    """Return the share of positive nuclei and the threshold of a slide's nuclei.parquet; None where there is none."""
    with pq.ParquetFile(path) as file:
        thresholds = json.loads((file.schema_arrow.metadata or {}).get(b"positive", b"{}"))
        for channel, threshold in thresholds.items():
            positive = file.read([blocks.POSITIVE.format(channel)])[0]
            share = pc.mean(positive).as_py()
            return {"Share_Positive": share, "Positive_Threshold": threshold}
    return {}
