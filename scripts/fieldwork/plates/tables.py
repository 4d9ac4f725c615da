"""The tables of fields, wells and time points: their columns and rows."""

import json
import os
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from operator import itemgetter

import pyarrow as pa
import pyarrow.parquet as pq

from fieldwork import quality
from fieldwork.detection.flags import FLAG_COLUMNS, THRESHOLD_COLUMN
from fieldwork.detection.plate_flags import (
    BRIGHTEST,
    EXCLUDED,
    FIELD_FLAGS,
    FIGURES,
    GROUND,
    JUDGED,
    PLATE_FLAGS,
    flags_of_well,
)
from fieldwork.frames import has_form, usual_form
from fieldwork.inputs import platemaps
from fieldwork.plates.rows import IN_FILE, OPTIONAL, levels_of, row_of, with_channel

METADATA = [
    ("Metadata_Plate", pa.string()),
    ("Metadata_Well", pa.string()),
    ("Metadata_Site", pa.int64()),
    ("Metadata_Timepoint", pa.int64()),
    ("Metadata_ZPlane", pa.int64()),
]

MISSING_CHANNELS = "Image_Channels_Missing"
QUALITY = {f"ImageQuality_{name}_DNA": name for name in quality.COLUMNS}
MEASURED = [MISSING_CHANNELS, THRESHOLD_COLUMN, *FIELD_FLAGS, *QUALITY]  # unknown of failed fields
FIELDS = pa.schema(
    [
        *METADATA,
        ("Metadata_ImageNumber", pa.int64()),
        ("FileName_DNA", pa.string()),
        ("PathName_DNA", pa.string()),
        *((column, pa.int64()) for column in IN_FILE),
        ("Image_Width", pa.int64()),
        ("Image_Height", pa.int64()),
        ("Image_Count_Nuclei", pa.int64()),
        ("Image_Status", pa.string()),
        ("Image_Error", pa.string()),
        (MISSING_CHANNELS, pa.string()),
        (THRESHOLD_COLUMN, pa.float64()),
        *((column, pa.bool_()) for column in FIELD_FLAGS),
        *((column, pa.float64()) for column in QUALITY),
    ]
)
# Extra columns of unit tables: `Image_Form` finds odd images, `Image_Channel_Types` (type and colours of each measured
# channel, joined by `;`) odd ones of other channels; a reason why a channel is missing; how
# stored values became those of the image, a line each; the levels of fields in which
# peaks were looked for; figures by which the plate flags its fields. Numbers of images are known only later.
LEVELS = {GROUND: "ground", BRIGHTEST: "brightest"}
TYPES, REASON, NOTES = "Image_Channel_Types", "Image_Channels_Reason", "Image_Notes"
SOURCES = "Image_Channel_Files"  # JSON: the file of each measured channel, as of `names.images.Source`; for the viewer
UNIT_FIELDS = pa.schema(
    [
        *(field for field in FIELDS if field.name != "Metadata_ImageNumber"),
        *((name, pa.string()) for name in ("Image_Form", TYPES, REASON, NOTES, SOURCES)),
        *((column, pa.float64()) for column in (*LEVELS, *FIGURES)),
    ]
)
WELLS = ["Fields_Total", "Fields_Failed", "Count_Nuclei", "Mean_Count_Nuclei"]
SHARE = "Share_Positive_{}"  # of nuclei, in a channel
FORMS_NAMED = 4  # in a message, of a plate whose images have many
SCORES = ["RobustZ_Count_Nuclei", "ZPrime_Count_Nuclei"]  # of plates whose platemap names controls


def fields_of(plate: str, fields: Sequence, *, channels: Sequence[str] = ()) -> pa.Table:
    """Return measured and failed fields as a table.

    Parameters
    ----------
    plate : str
    fields : list of fields.Field
    channels : list of str
        As for `nuclei_table.nuclei_of`.

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
            MISSING_CHANNELS: ";".join(field.channels_missing) or None,
            REASON: next(iter(field.channels_missing.values()), None),
            TYPES: ";".join(field.channel_types.get(name, "") for name in channels) if not field.error else None,
            "Image_Form": field.form,
            NOTES: "\n".join(field.notes) or None,
            SOURCES: json.dumps(field.sources) if field.sources and not field.error else None,
            **dict(zip(IN_FILE, field.inside, strict=False)),
            **{column: getattr(field.levels, name) for column, name in LEVELS.items()},
            **{column: getattr(field.figures, name) for column, name in FIGURES.items()},
        }
        for field in fields
    ]
    return pa.Table.from_pylist(rows, UNIT_FIELDS)


def fail_odd_forms(rows: Sequence[dict]) -> list[dict]:
    """Return the rows, with every image failed whose form differs from that of most images of the plate.

    A camera writes one size and type: another one is a thumbnail, a montage, a picture for people or a broken export,
    and its counts are not comparable. An absolute majority decides, of the images' planes if their number differs.
    Without one, all images fail: nobody can tell which ones are the plate's.

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
    odd_forms, expected = _odd_forms(Counter(forms.values()))
    odd = {image for image, form in forms.items() if form in odd_forms}
    kept = [row for row in rows if _image(row) not in odd]
    for image, planes in groupby((row for row in rows if _image(row) in odd), key=_image):
        first, *others = planes
        mixed = {name: None for name in OPTIONAL if any(other[name] != first[name] for other in others)}
        kept.append(_failed({**first, **mixed}, f"wrong shape or type: found {forms[image]}, {expected}"))
    return sorted(kept, key=itemgetter("Field"))


def _odd_forms(counts):
    """Return the forms of a plate that are odd, by the number of images of each form, and what a plate has else."""
    if usual := usual_form(counts.elements()):
        return {form for form in counts if not has_form(form, usual)}, f"the plate's images are {usual}"
    of_plane = {form: form.rpartition(" planes of ")[2] for form in counts}
    if usual := usual_form(of_plane[form] for form in counts.elements()):
        odd = {form for form in counts if not has_form(of_plane[form], usual)}
        return odd, f"planes of most of the plate's images are {usual}"
    listed = "; ".join(f"{count} of {form}" for form, count in counts.most_common(FORMS_NAMED))
    more = f", and {len(counts) - FORMS_NAMED} more forms" if len(counts) > FORMS_NAMED else ""
    return set(counts), f"and no size and type is that of most of the plate's images ({listed}{more}): take others away"


def _failed(row, error):
    """Return the row of a field that fails by what the plate says of it."""
    unknown = dict.fromkeys([*MEASURED, *LEVELS, *FIGURES, "Image_Count_Nuclei"])
    return {**row, **unknown, "Image_Status": "failed", "Image_Error": error}


def fail_above_threshold(rows: Sequence[dict], detection: dict) -> list[dict]:
    """Return the rows, with every field failed whose ground lies above the threshold of peaks: its peaks are noise.

    Parameters
    ----------
    rows : list of dict
        Rows of the fields table.
    detection : dict
        How nuclei were found; with another method than peaks, the rows stay.
    """
    if detection["method"] != "peaks":
        return list(rows)
    threshold = detection["threshold_abs"]
    error = (
        "the background ({:.4g}) lies above the threshold of peaks ({:g}), so that noise would be counted; expected a "
        "threshold between background and nuclei (`preview` measures it), or method auto"
    )
    return [
        _failed(row, error.format(ground, threshold))
        if (ground := row["Image_Ground"]) is not None and ground > threshold
        else row
        for row in rows
    ]


def _image(row):
    """Return the values that identify the image of a row."""
    return tuple(row[name] for name in ("PathName_DNA", "FileName_DNA", *IN_FILE, "Metadata_Well", "Metadata_Site"))


def merge_fields(
    paths: Sequence[str | os.PathLike], detection: dict, *, channels: Sequence[str] = ()
) -> tuple[list[dict], list[int]]:
    """Join the tables of fields that the detection jobs of one plate wrote.

    Parameters
    ----------
    paths : list of path-like
        The units' tables of fields, in the order of the units.
    detection : dict
        How nuclei were found.
    channels : list of str
        Names of the plate's measured channels.

    Returns
    -------
    rows : list of dict
        Rows of all fields, failed ones too, numbered from 1 by ``Metadata_ImageNumber``.
    starts : list of int
        For each unit the number of fields before it, and in the end that of all: some rows stand for several of them.
    """
    fields, starts = [], []
    for path in paths:
        starts.append(len(fields))
        fields += pq.read_table(path).to_pylist()
    rows = fail_odd_forms([{**row, "Field": number} for number, row in enumerate(fields)])
    rows = fail_above_threshold(rows, detection)
    miss_odd_types(rows, channels)
    return [{**row, "Metadata_ImageNumber": number} for number, row in enumerate(rows, 1)], [*starts, len(fields)]


def miss_odd_types(rows: Sequence[dict], channels: Sequence[str]) -> None:
    """Enter a channel as missing in fields where its type or colours are others than in most: it is another export.

    Parameters
    ----------
    rows : list of dict
        Rows of the fields table; they are changed.
    channels : list of str
        As for `merge_fields`.
    """
    good = [row for row in rows if row["Image_Status"] == "ok" and row[TYPES]]
    types = [row[TYPES].split(";") for row in good]
    for number, channel in enumerate(channels):
        usual = usual_form(of_row[number] for of_row in types if of_row[number])
        for row, of_row in zip(good, types, strict=True):
            if usual and of_row[number] and not has_form(of_row[number], usual):
                missing = {*filter(None, (row[MISSING_CHANNELS] or "").split(";")), channel}
                row[MISSING_CHANNELS] = ";".join(name for name in channels if name in missing)
                row[REASON] = row[REASON] or f"{channel}: found {of_row[number]}, the plate's images are {usual}"


def types_of(rows: Sequence[dict], number: int, channel: str) -> Counter[str]:
    """Return the types of pixels in which a channel is measured, and the number of fields of each.

    Parameters
    ----------
    rows : list of dict
        From `merge_fields`.
    number, channel : int, str
        Index and name of the channel among the plate's measured ones.
    """
    types = [
        row[TYPES].split(";")[number]
        for row in rows
        if row["Image_Status"] == "ok" and row[TYPES] and channel not in (row[MISSING_CHANNELS] or "").split(";")
    ]
    usual = usual_form(types)
    return Counter(usual if usual and has_form(kind, usual) else kind for kind in types)


def absent_columns(rows: Sequence[dict]) -> list[str]:
    """Return the columns of `OPTIONAL` and `IN_FILE` that no field has: the plate's tables are without them."""
    return [name for name in (*OPTIONAL, *IN_FILE) if all(row[name] is None for row in rows)]


def fields_schema(nuclei_channels: Sequence[str], *, left_out: Sequence[str]) -> pa.Schema:
    """Return the columns of fields.parquet.

    Parameters
    ----------
    nuclei_channels : list of str
        Names of the nuclei channels of all plates of the run: a column about the nuclei channel is there for each.
    left_out : list of str
        Columns of `FIELDS` that are not there.
    """
    columns = [field for field in FIELDS if field.name not in left_out]
    named = [(with_channel(field.name, name), field.type) for field in columns for name in nuclei_channels or ["DNA"]]
    return pa.schema(list(dict.fromkeys(named)))


def wells_schema(platemap: Sequence[str], *, positive: Sequence[str], with_scores: bool) -> pa.Schema:
    """Return the columns of wells.parquet.

    Parameters
    ----------
    platemap, positive : list of str
        Of all plates of the run: columns of platemaps, which are text; channels in which nuclei may be positive.
    with_scores : bool
        A platemap names controls.
    """
    counts = {"Mean_Count_Nuclei": pa.float64()}
    return pa.schema(
        [
            *((name, pa.string()) for name in ("Metadata_Plate", "Metadata_Well", *platemap)),
            *((name, counts.get(name, pa.int64())) for name in WELLS),
            *((SHARE.format(channel), pa.float64()) for channel in positive),
            *((name, pa.float64()) for name in SCORES if with_scores),
            *((name, pa.bool_()) for name in JUDGED),
        ]
    )


def summary_of(fields: Sequence[dict], detection: dict) -> dict:
    """Return what the last lines of a run need to know of a plate beside its tables.

    Parameters
    ----------
    fields : list of dict
        Rows from `merge_fields`.
    detection : dict
        How nuclei were found.

    Returns
    -------
    dict
        ``flagged``: number of fields by flag. ``levels``: from `rows.levels_of`. ``notes``: from `notes_of`.
    """
    good = [row for row in fields if row["Image_Status"] == "ok"]
    return {
        "flagged": {
            name: sum(bool(row[column]) for row in good) for column, name in (FLAG_COLUMNS | PLATE_FLAGS).items()
        },
        "notes": notes_of(fields),
        "levels": levels_of([[row[name] for name in (*LEVELS, "Image_Count_Nuclei")] for row in good], detection),
    }


def notes_of(fields: Sequence[dict]) -> list[str]:
    """Return how stored values of images became those in which nuclei were found, a line each with their number.

    Parameters
    ----------
    fields : list of dict
        Rows from `merge_fields`.
    """
    good = [row for row in fields if row["Image_Status"] == "ok"]
    counts = Counter(note for row in good for note in (row[NOTES] or "").split("\n") if note)
    return [f"{count} of {len(good)} images: {note}" for note, count in counts.items()]


def wells_of(
    fields: Sequence[dict],
    platemap: dict[str, dict[str, str]],
    shares: Mapping[str, Mapping[str, float | None]] | None = None,
    *,
    excluded: Iterable[str] = (),
    controls: Mapping[str, Iterable[str]] | None = None,
) -> tuple[list[dict], list[str]]:
    """Sum up the fields of each well.

    Parameters
    ----------
    fields : list of dict
        Rows of the fields table, sorted by well.
    platemap : dict
        Well -> {column: value}, joined to the wells that have images.
    shares : mapping, optional
        From `positive.shares_of`.
    excluded : iterable of str
        Wells from `plate_flags.excluded_wells`.
    controls : mapping of str to list of str, optional
        As for `platemaps.roles_of`, which finds the controls with which all wells are compared. Excluded ones don't
        count. Without names, wells are compared where the platemap has a column ``control``.

    Returns
    -------
    rows : list of dict
        A row for each well. Counts are None if every field of the well failed: unknown is not zero.
    columns : list of str
    """
    described, shares = list(next(iter(platemap.values()), {})), shares or {}
    rows, excluded = [], set(excluded)
    for (plate, well), group in groupby(fields, key=itemgetter("Metadata_Plate", "Metadata_Well")):
        named = {"Metadata_Plate": plate, "Metadata_Well": well, **platemap.get(well, {})}
        of_well = list(group)
        judged = {**flags_of_well(of_well), EXCLUDED: well in excluded}
        rows.append({**named, **_counts(of_well), **shares.get(well, {}), **judged})
    has_scores = bool(controls or platemaps.control_column(described))
    if has_scores:
        _score(rows, platemaps.roles_of(rows, controls or {}, where="platemap"))
    measured = [*WELLS, *next(iter(shares.values()), {}), *(SCORES if has_scores else []), *JUDGED]
    return rows, ["Metadata_Plate", "Metadata_Well", *described, *measured]


def timepoints_of(fields: Sequence[dict]) -> tuple[list[dict], list[str]]:
    """Sum up the fields of each well at each time point.

    Parameters
    ----------
    fields : list of dict
        Rows of the fields table, sorted by well. Those without ``Metadata_Timepoint`` are of a time point that is not
        known, as are files that failed before it was.

    Returns
    -------
    rows : list of dict
        A row for each time point of each well, sorted; first the one that is not known. Counts are None if every field
        failed: unknown is not zero.
    columns : list of str
    """
    rows = []
    for (plate, well), of_well in groupby(fields, key=itemgetter("Metadata_Plate", "Metadata_Well")):
        by_timepoint = {}
        for row in of_well:
            by_timepoint.setdefault(row.get("Metadata_Timepoint"), []).append(row)
        for timepoint in sorted(by_timepoint, key=lambda number: -1 if number is None else number):
            named = {"Metadata_Plate": plate, "Metadata_Well": well, "Metadata_Timepoint": timepoint}
            rows.append({**named, **_counts(by_timepoint[timepoint])})
    return rows, ["Metadata_Plate", "Metadata_Well", "Metadata_Timepoint", *WELLS]


def _counts(fields):
    """Return the columns `WELLS` of some fields."""
    counts = [row["Image_Count_Nuclei"] for row in fields if row["Image_Status"] == "ok"]
    return {
        "Fields_Total": len(fields),
        "Fields_Failed": len(fields) - len(counts),
        "Count_Nuclei": sum(counts) if counts else None,
        "Mean_Count_Nuclei": sum(counts) / len(counts) if counts else None,
    }


def _score(rows, roles):
    """Add the columns `SCORES` to the rows of wells: their mean counts compared with those of the controls.

    The robust z is (count - median) / (1.4826 MAD), with median and MAD (median absolute deviation) of the negative
    controls; 1.4826 MADs are the standard deviation of a normal distribution (Birmingham et al., Nat. Methods 6:569,
    2009, who use all samples). Z' is 1 - 3 (SD_p + SD_n) / |mean_p - mean_n|, with sample standard deviations, the same
    for all wells of the plate (Zhang, Chung & Oldenburg, J. Biomol. Screen. 4:67, 1999). A score is None where it is
    not defined: fewer than two good wells of a control, or a divisor of 0.
    """
    means = {role: [] for role in (*platemaps.CONTROLS, "sample")}
    for row, role in zip(rows, roles, strict=True):
        if row["Mean_Count_Nuclei"] is not None and not row[EXCLUDED]:
            means[role].append(row["Mean_Count_Nuclei"])
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
