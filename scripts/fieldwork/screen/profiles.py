"""Profiles of wells: every feature of the nuclei in a well, as it is and compared with the plate's reference wells."""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pycytominer import aggregate, normalize
from pycytominer.operations import RobustMAD

from fieldwork.detection.plate_flags import EXCLUDED, JUDGED
from fieldwork.inputs import platemaps
from fieldwork.wells import row_and_column

STRATA = ["Metadata_Plate", "Metadata_Well"]
COUNTS = ["Count_Nuclei", "Mean_Count_Nuclei"]
FIELDS = ["Fields_Total", "Fields_Failed"]
BORDER, POSITIVE, SHARE = "Nuclei_TouchesBorder", "Nuclei_Positive_", "Share_Positive_"
ROBUST_Z = "RobustZ_{}"
ROWS_AT_ONCE, VALUES_AT_ONCE = 2**18, 2**22  # of nuclei.parquet in memory: with copies by pandas some 200 MB
FEWEST_REFERENCE_WELLS = 4  # whose median absolute deviation is worth a comparison
# A deviation below this share of the median is that of the last digits of a feature that all wells have alike.
ROUNDING = 1e-12


class Normalised(NamedTuple):
    """Robust z values of wells, and what could not be normalised."""

    values: pd.DataFrame  # ``RobustZ_{feature}``, a row for each well
    without_spread: list[str]  # features whose deviation over the reference wells is 0
    without_wells: list[str]  # features that fewer than `FEWEST_REFERENCE_WELLS` reference wells have


def features_of(nuclei: str | os.PathLike) -> list[str]:
    """Return the true features of a table of nuclei, which its metadata names."""
    return json.loads(pq.read_schema(nuclei).metadata[b"features"])


def aggregate_nuclei(nuclei: str | os.PathLike, features: Sequence[str], *, operation: str) -> pd.DataFrame:
    """Aggregate features over the nuclei of each well, without those that the border of a field cuts.

    Some wells and some columns are in memory at a time: as many as have `ROWS_AT_ONCE` nuclei, or a single one, and as
    many as then make `VALUES_AT_ONCE` values.

    Parameters
    ----------
    nuclei : path-like
        nuclei.parquet of a plate, well by well.
    features : list of str
        Numbers, or marks, which are 0 and 1.
    operation : str
        ``median`` or ``mean``, of the values that are not null.

    Returns
    -------
    pandas.DataFrame
        float64; its index is ``Metadata_Well``, of wells that have such nuclei.
    """
    parts = [pd.DataFrame(columns=list(features), index=pd.Index([], name="Metadata_Well", dtype=str), dtype=float)]
    with pq.ParquetFile(nuclei, read_dictionary=STRATA) as file:
        for first, last in _wells_at_once(file):
            wells = [pd.DataFrame()]
            at_once = max(1, VALUES_AT_ONCE // (last - first))
            for start in range(0, len(features), at_once):
                names = list(features[start : start + at_once])
                cells = _whole_nuclei(file, first, last, names)
                aggregated = aggregate(cells, STRATA, names, operation=operation)
                wells.append(aggregated.set_index(aggregated.pop("Metadata_Well").astype(str))[names])
            parts.append(pd.concat(wells, axis="columns"))
    return pd.concat(parts).astype(float)


def _wells_at_once(file):
    """Yield the first row of some wells, and that behind their last one."""
    wells = file.read(columns=["Metadata_Well"])["Metadata_Well"].combine_chunks()
    codes = wells.indices.to_numpy() if len(wells) else np.empty(0, int)
    ends = [*(1 + np.flatnonzero(np.diff(codes))).tolist(), len(codes)]
    first = 0
    for end, following in zip(ends, [*ends[1:], np.inf], strict=True):
        if following - first > ROWS_AT_ONCE and end > first:
            yield first, end
            first = end


def _whole_nuclei(file, first, last, names):
    """Read columns of some rows, as float64, with the strata, without nuclei at borders."""
    starts = np.cumsum([0, *(file.metadata.row_group(group).num_rows for group in range(file.num_row_groups))])
    groups = np.flatnonzero((starts[:-1] < last) & (starts[1:] > first)).tolist()
    marks = [BORDER] if BORDER in file.schema_arrow.names else []
    table = file.read_row_groups(groups, columns=[*STRATA, *marks, *names])
    table = table.slice(first - starts[groups[0]], last - first)
    is_whole = ~np.asarray(table[BORDER].fill_null(False)) if marks else np.ones(len(table), bool)
    numbers = {name: table[name].cast(pa.float64()).to_numpy()[is_whole] for name in names}
    return pd.DataFrame({name: table[name].to_pandas()[is_whole] for name in STRATA} | numbers)


def profile_wells(
    wells: Sequence[Mapping],
    nuclei: str | os.PathLike,
    *,
    features: Sequence[str],
    shares: Sequence[str],
    operation: str,
    min_nuclei: int,
) -> pd.DataFrame:
    """Return the counts, the shares of positive nuclei and the features of wells.

    Parameters
    ----------
    wells : list of dict
        From `rows_of`.
    nuclei : path-like
        nuclei.parquet of the plate.
    features : list of str
        From `features_of`.
    shares : list of str
        Channels in which nuclei may be positive.
    operation : str
        As for `aggregate_nuclei`.
    min_nuclei : int
        A well with fewer nuclei, those at borders counted, has a count alone.

    Returns
    -------
    pandas.DataFrame
        float64, a row for each of `wells`, in their order; NaN where a value is not known.
    """
    names = [row["Metadata_Well"] for row in wells]
    counts = pd.DataFrame([[row[name] for name in COUNTS] for row in wells], names, COUNTS, float)
    positive = aggregate_nuclei(nuclei, [POSITIVE + channel for channel in shares], operation="mean")
    positive.columns = [SHARE + channel for channel in shares]
    measured = pd.concat([positive, aggregate_nuclei(nuclei, features, operation=operation)], axis="columns")
    measured = measured.reindex(names)
    measured[counts["Count_Nuclei"].to_numpy() < min_nuclei] = np.nan
    return pd.concat([counts, measured], axis="columns").reset_index(drop=True)


def rows_of(plate: str, wells: pa.Table, platemap: dict[str, dict[str, str]]) -> list[dict]:
    """Return a row for every well that has a field or a line in the platemap, without its features.

    Parameters
    ----------
    plate : str
    wells : pyarrow.Table
        wells.parquet of the plate.
    platemap : dict
        From `platemaps.read_platemap`; empty without a platemap.

    Returns
    -------
    list of dict
        Sorted by row and column: the columns of `wells`. A well without a field has 0 of 0 fields, and no count: it is
        not known, and not zero.
    """
    rows = {row["Metadata_Well"]: row for row in wells.to_pylist()}
    excluded = platemaps.excluded_wells(platemap)
    for well in platemap.keys() - rows.keys():
        named = {"Metadata_Plate": plate, "Metadata_Well": well, **platemap[well]}
        known = {**dict.fromkeys(FIELDS, 0), EXCLUDED: well in excluded}
        rows[well] = dict.fromkeys(wells.column_names) | named | known
    return [rows[well] for well in sorted(rows, key=row_and_column)]


def is_flag(column: str) -> bool:
    """Return True for the columns of wells that say what is doubtful about them, and whether they are excluded."""
    return column in JUDGED


def normalise(profiles: pd.DataFrame, is_reference: Sequence[bool]) -> Normalised:
    """Return the robust z of every column: the distance from the reference wells' median, in their deviations.

    The deviation is 1.4826 times the median absolute one, pycytominer's ``mad_robustize``.

    Parameters
    ----------
    profiles : pandas.DataFrame
        From `profile_wells`.
    is_reference : list of bool
        True for the wells to compare with.

    Returns
    -------
    Normalised
        NaN where the value, the deviation or enough reference wells are missing.
    """
    is_reference = np.asarray(is_reference, bool)
    reference = profiles[is_reference]
    has_wells = reference.count() >= FEWEST_REFERENCE_WELLS
    spread = pd.Series(False, profiles.columns)
    if has_wells.any():
        fitted = RobustMAD().fit(reference.loc[:, has_wells])
        spread[has_wells] = fitted.mad > ROUNDING * fitted.median.abs()
    values = pd.DataFrame(np.nan, profiles.index, profiles.columns)
    if features := list(profiles.columns[spread]):
        marked = profiles.assign(Metadata_Reference=is_reference)
        values[features] = normalize(
            marked,
            features=features,
            meta_features=["Metadata_Reference"],
            samples="Metadata_Reference",
            method="mad_robustize",
        )[features]
    return Normalised(
        values=values.rename(columns=ROBUST_Z.format),
        without_spread=list(profiles.columns[has_wells & ~spread]),
        without_wells=list(profiles.columns[~has_wells]),
    )


def table_of(wells: Sequence[Mapping], profiles: pd.DataFrame, *, schema: pa.Schema) -> pa.Table:
    """Return profiles as a table.

    Parameters
    ----------
    wells : list of dict
        From `rows_of`.
    profiles : pandas.DataFrame
        From `profile_wells`, and `normalise`.
    schema : pyarrow.Schema
        From `schema_of`.
    """
    columns = [
        pa.array(profiles[field.name], pa.float64(), from_pandas=True).cast(field.type)
        if field.name in profiles
        else pa.array([row.get(field.name) for row in wells], field.type)
        for field in schema
    ]
    return pa.table(columns, schema=schema)


def schema_of(columns: Iterable[str], platemap: Sequence[str]) -> pa.Schema:
    """Return the columns of profiles.parquet.

    Parameters
    ----------
    columns : iterable of str
        Of the profiles.
    platemap : list of str
        Columns of platemaps, of all plates of the run.
    """
    return pa.schema(
        [
            *((name, pa.string()) for name in (*STRATA, *platemap)),
            *((name, pa.int64()) for name in FIELDS),
            *((name, pa.bool_()) for name in JUDGED),
            *((name, pa.int64() if name == COUNTS[0] else pa.float64()) for name in columns),
        ]
    )
