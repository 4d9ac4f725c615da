"""Which fields and wells of a plate are doubtful, and which wells every comparison of wells leaves out.

A field is compared with the good fields of its plate by median and MAD (median absolute deviation), one-sided towards
the fault. None of its figures depends on how many nuclei it has (`fieldwork.segmentation.figures`).
"""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from typing import NamedTuple

from fieldwork.detection.flags import FLAG_COLUMNS
from fieldwork.inputs import platemaps

# Columns of units' tables: what `segmentation.Figures` has, and the levels of fields in which peaks were looked for.
FIGURES = {
    "Image_Sharpness": "sharpness",
    "Image_NucleiWidth": "width",
    "Image_NucleiHeight": "height",
    "Image_SaturatedShare": "saturated",
    "Image_Background": "background",
    "Image_Debris": "debris",
    "Image_Relief": "relief",
}
GROUND, BRIGHTEST = "Image_Ground", "Image_Brightest"
PLATE_FLAGS = {"Flag_Background": "background", "Flag_Debris": "debris"}
EMPTY = "Flag_Empty"
FIELD_FLAGS = [*FLAG_COLUMNS, *PLATE_FLAGS, EMPTY]
WELL_FLAGS = [*FLAG_COLUMNS, *PLATE_FLAGS]  # a well without nuclei is a result
EXCLUDED = "Excluded"  # a well that every comparison of wells leaves out
JUDGED = [*WELL_FLAGS, EXCLUDED]  # columns of wells
NORMAL_MADS = 1.4826  # standard deviations of a normal distribution, per MAD
LEAST_SHARE = 2 / 3  # of the median, below which edges are out of focus, however much they vary: half of a plate may be
HILLS_CONTRASTS = 0.08  # of the ground of a field without nuclei above the plate's, from which they are blurred nuclei


class Limit(NamedTuple):
    """What good fields of a plate are like, and where a fault begins."""

    median: float
    limit: float


def judge_fields(fields: Sequence[dict], thresholds: Mapping[str, float]) -> list[str]:
    """Enter the flags of a plate's fields, by the thresholds of the configuration.

    Parameters
    ----------
    fields : list of dict
        Rows of the fields table with the columns of `FIGURES`; they are changed. A flag is None of failed fields, and
        where nothing was measured that tells it.
    thresholds : mapping
        The configuration's ``flags``.

    Returns
    -------
    list of str
        What the plate's fields were compared with, a line for each flag, for the log.
    """
    good = [row for row in fields if row["Image_Status"] == "ok"]
    for row in fields:
        row |= dict.fromkeys([*PLATE_FLAGS, EMPTY])
    for row in good:
        row[EMPTY] = row["Image_Count_Nuclei"] == 0
        if row["Image_SaturatedShare"] is not None:
            row["Flag_Saturated"] = row["Image_SaturatedShare"] >= thresholds["saturated"]
        if row["Image_Debris"] is not None:
            row["Flag_Debris"] = row["Image_Debris"] >= thresholds["debris"]
    return [*_judge_background(good, thresholds), *_judge_focus(good, thresholds)]


def _judge_background(good, thresholds):
    """Flag fields whose ground lies far above that of the plate."""
    grounds = _grounds_of(good)
    limits = _limits(grounds, thresholds, least=thresholds["background"], sign=1)
    if limits is None:
        return _not_compared(grounds, thresholds, "Flag_Background is empty")
    for row, ground in zip(good, grounds, strict=True):
        row["Flag_Background"] = None if ground is None else ground > limits.limit
    return [
        f"Flag_Background: ground above {limits.limit:.3g} contrasts of a typical nucleus; the plate's median is "
        f"{limits.median:.3g}"
    ]


def _grounds_of(good):
    """Return the grounds of fields in contrasts of a nucleus: of peaks, in heights of the fields' brightest ones."""
    heights = [row[BRIGHTEST] - row[GROUND] for row in good if row[GROUND] is not None and row["Image_Count_Nuclei"]]
    if heights and (height := statistics.median(heights)) > 0:
        return [None if row[GROUND] is None else row[GROUND] / height for row in good]
    return [row["Image_Background"] for row in good]


def _judge_focus(good, thresholds):
    """Flag fields whose nuclei have softer edges than the plate's, or are too blurred to be found."""
    sharpness = _sharpness_of(good)
    known = _known(sharpness)
    middle = statistics.median(known) if known else 0
    least = (1 - thresholds["out_of_focus"]) * middle
    limits = _limits(sharpness, thresholds, least=least, sign=-1)
    hills = [row["Image_Relief"] for row in good]
    highest = _limits(hills, thresholds, least=HILLS_CONTRASTS, sign=1)
    if limits is None:
        return _not_compared(sharpness, thresholds, "Flag_OutOfFocus goes by each field alone")
    lowest = max(limits.limit, min(LEAST_SHARE, thresholds["out_of_focus"]) * middle)
    is_soft = 2 * sum(bool(row["Flag_OutOfFocus"]) for row in good) > len(known)  # all of it: its median says nothing
    for row, value in zip(good, sharpness, strict=True):
        if value is not None:
            row["Flag_OutOfFocus"] = value < lowest or is_soft and row["Flag_OutOfFocus"]
        elif row["Image_Relief"] is not None and not row["Flag_Debris"] and not row["Flag_Background"]:
            row["Flag_OutOfFocus"] = row["Flag_OutOfFocus"] or row["Image_Relief"] > highest.limit
    return [
        f"Flag_OutOfFocus: edges of nuclei less steep than {lowest:.3g} peaks per diameter; the plate's median "
        f"is {middle:.3g}"
    ]


def _sharpness_of(good):
    """Return the steepness of the edges of nuclei in each field, None where it has none.

    Nuclei that are wider than the plate's and as bright are larger ones, whose edges may be wider in proportion; blur
    would make them dimmer by the square of what it makes them wider.
    """
    width, height = (
        statistics.median(known) if (known := _known(row[column] for row in good)) else None
        for column in ("Image_NucleiWidth", "Image_NucleiHeight")
    )
    values = []
    for row in good:
        value = row["Image_Sharpness"]
        if value is not None:
            wider, higher = row["Image_NucleiWidth"] / width, row["Image_NucleiHeight"] / height
            value *= wider if wider > 1 and higher * wider > 1 else 1
        values.append(value)
    return values


def _limits(values, thresholds, *, least, sign):
    """Return the median of a plate's fields and the limit of a fault above (`sign` 1) or below it (-1).

    The limit lies by so many robust standard deviations from the median, and at least by `least`. None where too few
    fields can be compared.
    """
    known = _known(values)
    if len(known) < thresholds["least_fields"]:
        return None
    middle = statistics.median(known)
    deviation = NORMAL_MADS * statistics.median(abs(value - middle) for value in known)
    return Limit(middle, middle + sign * max(thresholds["deviations"] * deviation, least))


def _known(values):
    return [value for value in values if value is not None]


def _not_compared(values, thresholds, consequence):
    """Return a line that says why no field was compared with its plate; none where nothing was measured at all."""
    if not (known := _known(values)):
        return []
    return [
        f"only {len(known)} fields can be compared, fewer than flags.least_fields: {thresholds['least_fields']}; "
        f"{consequence}"
    ]


def flags_of_well(fields: Iterable[Mapping]) -> dict[str, bool | None]:
    """Return the flags of a well: it has a flag where at least half of its good fields have it.

    Parameters
    ----------
    fields : iterable of mapping
        Rows of the fields table, failed ones too. Of several z planes of a field, all must be out of focus.

    Returns
    -------
    dict of str to (bool or None)
        A value for each of `WELL_FLAGS`; None where no good field was judged.
    """
    good = [row for row in fields if row["Image_Status"] == "ok"]
    stacks = {}
    for row in good:
        stacks.setdefault((row["Metadata_Site"], row.get("Metadata_Timepoint")), []).append(row["Flag_OutOfFocus"])
    flags = {}
    for column in WELL_FLAGS:
        values = [row[column] for row in good]
        if column == "Flag_OutOfFocus":
            values = [None if None in planes else all(planes) for planes in stacks.values()]
        judged = _known(values)
        flags[column] = 2 * sum(judged) >= len(values) if judged else None
    return flags


def excluded_wells(
    fields: Sequence[dict], platemap: dict[str, dict[str, str]], exclude_flags: Sequence[str]
) -> set[str]:
    """Return the wells that every comparison of wells leaves out.

    Parameters
    ----------
    fields : list of dict
        Rows of the fields table, sorted by well.
    platemap : dict
        Well -> {column: value}; its column `exclude`, if any, names some.
    exclude_flags : sequence of str
        Flags of wells that exclude them, without ``Flag_``.
    """
    flagged = {
        well
        for well, group in groupby(fields, key=itemgetter("Metadata_Well"))
        if (flags := flags_of_well(group)) and any(flags[f"Flag_{name}"] for name in exclude_flags)
    }
    return flagged.union(platemaps.excluded_wells(platemap))
