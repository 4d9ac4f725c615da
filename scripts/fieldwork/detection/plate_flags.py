"""Which wells of a plate are doubtful, by its fields, and which ones every comparison of wells leaves out."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from operator import itemgetter

from fieldwork.detection.flags import FLAG_COLUMNS
from fieldwork.inputs import platemaps

WELL_FLAGS = list(FLAG_COLUMNS)
EXCLUDED = "Excluded"  # a well that every comparison of wells leaves out
JUDGED = [*WELL_FLAGS, EXCLUDED]  # columns of wells


def flags_of_well(fields: Iterable[Mapping]) -> dict[str, bool | None]:
    """Return the flags of a well: it has a flag where at least half of its good fields have it.

    Parameters
    ----------
    fields : iterable of mapping
        Rows of the fields table, failed ones too.

    Returns
    -------
    dict of str to (bool or None)
        A value for each of `WELL_FLAGS`; None where no good field was judged.
    """
    good = [row for row in fields if row["Image_Status"] == "ok"]
    flags = {}
    for column in WELL_FLAGS:
        judged = [row[column] for row in good if row[column] is not None]
        flags[column] = 2 * sum(judged) >= len(good) if judged else None
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
