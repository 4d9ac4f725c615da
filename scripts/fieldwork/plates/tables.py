"""The tables of plates: their columns and rows."""

import os
import statistics
from collections.abc import Sequence
from itertools import groupby
from operator import itemgetter

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fieldwork import quality
from fieldwork.detection.flags import FLAG_COLUMNS, THRESHOLD_COLUMN
from fieldwork.frames import usual_form
from fieldwork.inputs import platemaps
from fieldwork.plates.rows import OPTIONAL, levels_of, row_of

METADATA = [
    ("Metadata_Plate", pa.string()),
    ("Metadata_Well", pa.string()),
    ("Metadata_Site", pa.int64()),
    ("Metadata_Timepoint", pa.int64()),
    ("Metadata_ZPlane", pa.int64()),
]

_LOCATED = [
    *METADATA,
    ("ObjectNumber", pa.int64()),
    ("Nuclei_Location_Center_X", pa.float64()),
    ("Nuclei_Location_Center_Y", pa.float64()),
]
NUCLEI = pa.schema([*_LOCATED, ("Nuclei_Intensity_Peak", pa.float64())])  # of method peaks
OUTLINED_NUCLEI = pa.schema([*_LOCATED, ("Nuclei_AreaShape_Area", pa.int64()), ("Nuclei_TouchesBorder", pa.bool_())])
QUALITY = {f"ImageQuality_{name}_DNA": name for name in quality.COLUMNS}
MEASURED = [THRESHOLD_COLUMN, *FLAG_COLUMNS, *QUALITY]  # unknown of failed fields
FIELDS = pa.schema(
    [
        *METADATA,
        ("FileName_DNA", pa.string()),
        ("PathName_DNA", pa.string()),
        ("Image_Width", pa.int64()),
        ("Image_Height", pa.int64()),
        ("Image_Count_Nuclei", pa.int64()),
        ("Image_Status", pa.string()),
        ("Image_Error", pa.string()),
        (THRESHOLD_COLUMN, pa.float64()),
        *((column, pa.bool_()) for column in FLAG_COLUMNS),
        *((column, pa.float64()) for column in QUALITY),
    ]
)
# Extra columns of unit tables: `Image_Form` (finds odd images); the levels of fields in which peaks were looked for;
# `Field` (row of the nucleus's field).
LEVELS = {"Image_Ground": "ground", "Image_Brightest": "brightest"}
UNIT_FIELDS = pa.schema([*FIELDS, ("Image_Form", pa.string()), *((column, pa.float64()) for column in LEVELS)])
UNIT_NUCLEI = NUCLEI.append(pa.field("Field", pa.int64()))
UNIT_OUTLINED_NUCLEI = OUTLINED_NUCLEI.append(pa.field("Field", pa.int64()))
WELLS = ["Fields_Total", "Fields_Failed", "Count_Nuclei", "Mean_Count_Nuclei"]
SCORES = ["RobustZ_Count_Nuclei", "ZPrime_Count_Nuclei"]  # of plates whose platemap names controls


def nuclei_of(plate: str, fields: Sequence, *, outlined: bool = False) -> pa.Table:
    """Return the nuclei of measured fields as a table.

    Parameters
    ----------
    plate : str
    fields : list of fields.Field
    outlined : bool
        Nuclei have outlines; else they are peaks.

    Returns
    -------
    pyarrow.Table
        Of schema `UNIT_NUCLEI` or `UNIT_OUTLINED_NUCLEI`: a row for each nucleus, numbered from 1 in each field.
    """
    counts = [len(field.coordinates) for field in fields]
    total = sum(counts)

    def repeated(values, kind):  # in Python: Arrow's own way costs 0.2 s to import
        return pa.array([value for value, count in zip(values, counts, strict=True) for _ in range(count)], kind)

    coordinates = np.concatenate([np.empty((0, 2)), *(field.coordinates for field in fields)])
    columns = [
        pa.repeat(pa.scalar(plate, pa.string()), total),
        repeated([field.well for field in fields], pa.string()),
        repeated([field.site for field in fields], pa.int64()),
        repeated([field.timepoint for field in fields], pa.int64()),
        repeated([field.z for field in fields], pa.int64()),
        np.concatenate([np.empty(0, np.int64), *(np.arange(1, count + 1) for count in counts)]),
        coordinates[:, 1],
        coordinates[:, 0],
        *(
            np.concatenate([np.empty(0, kind), *(getattr(field, name) for field in fields)])
            for name, kind in ({"areas": int, "touches_border": bool} if outlined else {"intensities": float}).items()
        ),
        np.repeat(np.arange(len(fields)), counts),
    ]
    return pa.table(columns, schema=UNIT_OUTLINED_NUCLEI if outlined else UNIT_NUCLEI)


def fields_of(plate: str, fields: Sequence) -> pa.Table:
    """Return measured and failed fields as a table.

    Parameters
    ----------
    plate : str
    fields : list of fields.Field

    Returns
    -------
    pyarrow.Table
        Of schema `UNIT_FIELDS`: a row for each field; quality is null where it was not measured.
    """
    rows = [
        {
            **row_of(plate, field),
            "Image_Count_Nuclei": None if field.error else len(field.coordinates),
            THRESHOLD_COLUMN: field.threshold,
            **{column: getattr(field.flags, name) for column, name in FLAG_COLUMNS.items()},
            **{column: field.quality.get(name) for column, name in QUALITY.items()},
            "Image_Form": field.form,
            **{column: getattr(field.levels, name) for column, name in LEVELS.items()},
        }
        for field in fields
    ]
    return pa.Table.from_pylist(rows, UNIT_FIELDS)


def fail_odd_forms(rows: Sequence[dict]) -> list[dict]:
    """Return the rows, with every image failed whose form differs from that of most images of the plate.

    A camera writes one size and type: another one is a thumbnail, a montage, a picture for people or a broken export,
    and its counts are not comparable. Only an absolute majority decides.

    Parameters
    ----------
    rows : list of dict
        Rows of the fields table, numbered by a key `Field`; neighbours of the same file are its planes.

    Returns
    -------
    list of dict
        The rows in the order of `Field`; an odd file is one failed row.
    """
    forms = {_image(row): row["Image_Form"] for row in rows if row["Image_Status"] == "ok"}
    usual = usual_form(forms.values())
    if usual is None:
        return list(rows)
    odd = {image for image, form in forms.items() if form != usual}
    kept = [row for row in rows if _image(row) not in odd]
    for image, planes in groupby((row for row in rows if _image(row) in odd), key=_image):
        first, *others = planes
        kept.append(
            {
                **first,
                **{name: None for name in OPTIONAL if any(other[name] != first[name] for other in others)},
                **dict.fromkeys(MEASURED),
                "Image_Count_Nuclei": None,
                "Image_Status": "failed",
                "Image_Error": f"wrong shape or type: found {forms[image]}, the plate's images are {usual}",
            }
        )
    return sorted(kept, key=itemgetter("Field"))


def _image(row):
    """Return the values that identify the image of a row."""
    return tuple(row[name] for name in ("PathName_DNA", "FileName_DNA", "Metadata_Well", "Metadata_Site"))


def merge_units(
    nuclei_paths: Sequence[str | os.PathLike], fields_paths: Sequence[str | os.PathLike], *, outlined: bool = False
) -> tuple[pa.Table, list[dict], list[str]]:
    """Join the tables that the detection jobs of one plate wrote.

    Parameters
    ----------
    nuclei_paths, fields_paths : list of path-like
        The units' tables, in the order of the units.
    outlined : bool
        As for `nuclei_of`.

    Returns
    -------
    nuclei : pyarrow.Table
        Nuclei of the good fields.
    fields : list of dict
        Rows of all fields, failed ones too.
    absent : list of str
        The `OPTIONAL` columns that no field has; `nuclei` is without them.
    """
    schema = UNIT_OUTLINED_NUCLEI if outlined else UNIT_NUCLEI
    nuclei, numbers, fields = [schema.empty_table()], [np.empty(0, np.int64)], []
    for unit_nuclei, unit_fields in zip(nuclei_paths, fields_paths, strict=True):
        nuclei.append(pq.read_table(unit_nuclei))
        numbers.append(nuclei[-1]["Field"].to_numpy() + len(fields))
        fields += pq.read_table(unit_fields).to_pylist()
    kept = fail_odd_forms([{**row, "Field": number} for number, row in enumerate(fields)])
    good_fields = [row["Field"] for row in kept if row["Image_Status"] == "ok"]
    absent = [name for name in OPTIONAL if all(row[name] is None for row in kept)]
    good = np.isin(np.concatenate(numbers), good_fields)
    return pa.concat_tables(nuclei).filter(good).drop_columns([*absent, "Field"]), kept, absent


def summary_of(fields: Sequence[dict], detection: dict) -> dict:
    """Return what the last lines of a run need to know of a plate beside its tables.

    Parameters
    ----------
    fields : list of dict
        Rows from `merge_units`.
    detection : dict
        How nuclei were found.

    Returns
    -------
    dict
        ``flagged``: number of fields by flag. ``levels``: from `rows.levels_of`.
    """
    good = [row for row in fields if row["Image_Status"] == "ok"]
    return {
        "flagged": {name: sum(bool(row[column]) for row in good) for column, name in FLAG_COLUMNS.items()},
        "levels": levels_of([[row[name] for name in (*LEVELS, "Image_Count_Nuclei")] for row in good], detection),
    }


def wells_of(fields: Sequence[dict], platemap: dict[str, dict[str, str]]) -> tuple[list[dict], list[str]]:
    """Sum up the fields of each well.

    Parameters
    ----------
    fields : list of dict
        Rows of the fields table, sorted by well.
    platemap : dict
        Well -> {column: value}, joined to the wells that have images. Its column `control`, if any, names the positive
        and negative controls, with which all wells are compared.

    Returns
    -------
    rows : list of dict
        A row for each well. Counts are None if every field of the well failed: unknown is not zero.
    columns : list of str
    """
    described = list(next(iter(platemap.values()), {}))
    rows = []
    for (plate, well), group in groupby(fields, key=itemgetter("Metadata_Plate", "Metadata_Well")):
        group = list(group)
        counts = [row["Image_Count_Nuclei"] for row in group if row["Image_Status"] == "ok"]
        rows.append(
            {
                "Metadata_Plate": plate,
                "Metadata_Well": well,
                **platemap.get(well, {}),
                "Fields_Total": len(group),
                "Fields_Failed": len(group) - len(counts),
                "Count_Nuclei": sum(counts) if counts else None,
                "Mean_Count_Nuclei": sum(counts) / len(counts) if counts else None,
            }
        )
    control = platemaps.control_column(described)
    if control:
        _score(rows, control)
    return rows, ["Metadata_Plate", "Metadata_Well", *described, *WELLS, *(SCORES if control else [])]


def _score(rows, control):
    """Add the columns `SCORES` to the rows of wells: their mean counts compared with those of the controls.

    The robust z is (count - median) / (1.4826 MAD), with median and MAD (median absolute deviation) of the negative
    controls; 1.4826 MADs are the standard deviation of a normal distribution (Birmingham et al., Nat. Methods 6:569,
    2009, who use all samples). Z' is 1 - 3 (SD_p + SD_n) / |mean_p - mean_n|, with sample standard deviations, the same
    for all wells of the plate (Zhang, Chung & Oldenburg, J. Biomol. Screen. 4:67, 1999). A score is None where it is
    not defined: fewer than two good wells of a control, or a divisor of 0.
    """
    means = {role: [] for role in (*platemaps.CONTROLS, "sample")}
    for row in rows:
        if row["Mean_Count_Nuclei"] is not None:
            means[platemaps.control_of(row.get(control))].append(row["Mean_Count_Nuclei"])
    positive, negative = means["positive"], means["negative"]
    median = deviation = z_prime = None
    if len(negative) > 1:
        median = statistics.median(negative)
        deviation = 1.4826 * statistics.median(abs(mean - median) for mean in negative)
        if len(positive) > 1 and (between := abs(statistics.fmean(positive) - statistics.fmean(negative))):
            z_prime = 1 - 3 * (statistics.stdev(positive) + statistics.stdev(negative)) / between
    for row in rows:
        mean = row["Mean_Count_Nuclei"]
        row["RobustZ_Count_Nuclei"] = (mean - median) / deviation if deviation and mean is not None else None
        row["ZPrime_Count_Nuclei"] = z_prime
