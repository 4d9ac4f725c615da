"""The controls of plates: which wells they are, how well they are told apart, and other wells compared with them."""

import difflib
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd

from fieldwork import InputError
from fieldwork.inputs import platemaps
from fieldwork.inputs.schemas import read_schema
from fieldwork.wells import plate_format, row_and_column

PERCENT = "PercentOfControl_{}"
NUCLEI_CHANNEL = "{nuclei channel}"  # stands in readouts for the name of a plate's nuclei channel
FEWEST_WELLS = 2  # of a control, that have a standard deviation
OUTER_LINES = 2  # rows and columns at each side of a plate, where wells dry out and cells gather
SEPARATION = [
    *("Metadata_Plate", "Readout", "Wells_Positive", "Wells_Negative", "ZPrime", "SSMD", "SignalToBackground", "Reason")
]
_NO_READOUT = re.compile("Metadata_|Fields_|Flag_|Excluded$|RobustZ_|PercentOfControl_")  # begins other columns


def roles_of(wells: pd.DataFrame, controls: Mapping[str, Iterable[str]]) -> list[str]:
    """Return the kind of each well: positive, negative, or else sample.

    Parameters
    ----------
    wells : pandas.DataFrame
        ``Metadata_Plate`` and the columns of platemaps, a row for each well of any plates.
    controls : mapping of str to list of str
        The configuration's ``controls``.

    Returns
    -------
    list of str
        In the order of the rows, from `platemaps.roles_of` for each plate.

    Raises
    ------
    InputError
        As there.
    """
    roles = np.full(len(wells), "sample", object)
    indices = wells.groupby("Metadata_Plate", sort=False).indices
    for plate, rows in rows_by_plate(wells).items():
        roles[indices[plate]] = platemaps.roles_of(rows, controls, where=f"plate '{plate}'")
    return roles.tolist()


def rows_by_plate(wells: pd.DataFrame) -> dict[str, list[dict[str, str | None]]]:
    """Return plate -> the texts of its wells, a dict each: columns of platemaps, plate and well."""
    texts = wells[[name for name in wells.columns if name.startswith("Metadata_")]].astype(object)
    texts = texts.where(texts.notna(), None)
    return {plate: rows.to_dict("records") for plate, rows in texts.groupby("Metadata_Plate", sort=False)}


def readouts_of(columns: Iterable[str], wanted: Sequence[str], nuclei_channels: Sequence[str]) -> list[str]:
    """Return the columns of profiles in which treatments are compared.

    Parameters
    ----------
    columns : iterable of str
        Of profiles.
    wanted : list of str
        The configuration's ``screen.readouts``.
    nuclei_channels : list of str
        Names of the nuclei channels of all plates.

    Returns
    -------
    list of str
        In the order of `wanted`, each one once.

    Raises
    ------
    InputError
        Names what no column has; a default is left out, then.
    """
    columns = [name for name in columns if not _NO_READOUT.match(name)]
    defaults = read_schema("config")["properties"]["screen"]["properties"]["readouts"]["default"]
    readouts = []
    for name in wanted:
        names = [name.replace(NUCLEI_CHANNEL, channel) for channel in nuclei_channels or ["DNA"]]
        patterns = [re.compile(".*".join(map(re.escape, pattern.split("*")))) for pattern in names]
        matches = [column for column in columns if any(pattern.fullmatch(column) for pattern in patterns)]
        if not matches and name not in defaults:
            near = difflib.get_close_matches(names[0], columns, n=1)
            raise InputError(
                f"screen.readouts: no column of profiles.parquet is {name!r}"
                + (f"; the nearest name is {near[0]!r}" if near else f"; found {', '.join(columns[:20])} ...")
            )
        readouts += matches
    return list(dict.fromkeys(readouts))


def compared_column(readout: str) -> str:
    """Return the column of profiles in which wells are compared in a readout.

    Of ``Count_Nuclei``, a sum over the good fields of a well, it is the mean of a field: a well that lost a field has
    not lost its cells. Elsewhere it is the readout itself.
    """
    return "Mean_Count_Nuclei" if readout == "Count_Nuclei" else readout


def values_of(profiles: pd.DataFrame, readout: str) -> pd.Series:
    """Return the `compared_column` of a readout, as float64; NaN where it is infinite.

    Parameters
    ----------
    profiles : pandas.DataFrame
        A row for each well.
    readout : str
        From `readouts_of`.
    """
    values = profiles[compared_column(readout)].astype(float)
    return values.where(np.isfinite(values))


def reference_of(profiles: pd.DataFrame, roles: Sequence[str], role: str = "negative") -> np.ndarray:
    """Return True for the controls of a kind that count: those that are not excluded.

    Parameters
    ----------
    profiles : pandas.DataFrame
    roles : list of str
        From `roles_of`.
    role : str
        ``negative`` or ``positive``.
    """
    return (np.array(roles, object) == role) & ~profiles["Excluded"].to_numpy(bool)


def ratios_of(profiles: pd.DataFrame, roles: Sequence[str], readouts: Sequence[str]) -> pd.DataFrame:
    """Return the readouts of wells divided by the median of their plate's negative controls.

    Parameters
    ----------
    profiles : pandas.DataFrame
        Profiles of any plates.
    roles : list of str
        From `roles_of`.
    readouts : list of str
        From `readouts_of`.

    Returns
    -------
    pandas.DataFrame
        A row for each well, a column for each readout. NaN where the plate has no negative control with a value that
        counts, and where their median is not above 0.
    """
    is_reference = reference_of(profiles, roles)
    ratios = {}
    for readout in readouts:
        values = values_of(profiles, readout)
        medians = values.where(is_reference).groupby(profiles["Metadata_Plate"]).transform("median")
        ratios[readout] = values / medians.where(medians > 0)
    return pd.DataFrame(ratios, profiles.index)


def percent_of_control(ratios: pd.DataFrame) -> pd.DataFrame:
    """Return `ratios_of` wells as columns ``PercentOfControl_{readout}``: 100 is the negative controls' median."""
    return (100 * ratios).rename(columns=PERCENT.format)


def compare_controls(profiles: pd.DataFrame, roles: Sequence[str], readouts: Sequence[str]) -> pd.DataFrame:
    """Return how well positive and negative controls are told apart, for every plate and readout.

    Parameters
    ----------
    profiles, roles, readouts
        As for `ratios_of`.

    Returns
    -------
    pandas.DataFrame
        ``Metadata_Plate``, ``Readout``; ``Wells_Positive``, ``Wells_Negative``: controls that have the readout and are
        not excluded; ``ZPrime``: 1 - 3 (SD_p + SD_n) / |mean_p - mean_n| (Zhang, Chung & Oldenburg, J. Biomol. Screen.
        4:67, 1999); ``SSMD``: (mean_p - mean_n) / sqrt(SD_p**2 + SD_n**2) (Zhang, J. Biomol. Screen. 12:497, 2007);
        ``SignalToBackground``: mean_p / mean_n. Standard deviations are those of samples. ``Reason``: why a value is
        NaN, else empty.
    """
    counting = {role: reference_of(profiles, roles, role) for role in platemaps.CONTROLS}
    known = {readout: values_of(profiles, readout).to_numpy() for readout in readouts}
    plates = profiles.groupby("Metadata_Plate", sort=False).indices
    rows = []
    for plate, of_plate in plates.items():
        for readout in readouts:
            values = known[readout][of_plate]
            positive, negative = (values[is_role[of_plate] & ~np.isnan(values)] for is_role in counting.values())
            row = {"Metadata_Plate": plate, "Readout": readout}
            row |= {"Wells_Positive": len(positive), "Wells_Negative": len(negative)}
            separation = _separation(positive, negative)
            totals = [int(is_role[of_plate].sum()) for is_role in counting.values()]
            if min(len(positive), len(negative)) < FEWEST_WELLS and totals != [len(positive), len(negative)]:
                separation["Reason"] += f" (of {totals[0]} and {totals[1]}; screen.min_nuclei)"
            rows.append(row | separation)
    return pd.DataFrame(rows, columns=SEPARATION)


def _separation(positive, negative):
    """Return Z', SSMD, signal to background of the values of controls, and why one of them is not defined."""
    few = [
        f"fewer than {FEWEST_WELLS} {role} control wells have it"
        for role, values in (("positive", positive), ("negative", negative))
        if len(values) < FEWEST_WELLS
    ]
    z_prime = ssmd = signal = np.nan
    reasons = list(few)
    if len(positive) and len(negative):
        if negative.mean() > 0:
            signal = positive.mean() / negative.mean()
        else:
            reasons.append("the mean of the negative controls is not above 0")
    if not few:
        between = positive.mean() - negative.mean()
        deviations = np.array([positive.std(ddof=1), negative.std(ddof=1)])
        if between:
            z_prime = 1 - 3 * deviations.sum() / abs(between)
        else:
            reasons.append("the means are equal")
        if deviations.any():
            ssmd = between / np.sqrt((deviations**2).sum())
        else:
            reasons.append("the controls do not vary")
    return {"ZPrime": z_prime, "SSMD": ssmd, "SignalToBackground": signal, "Reason": "; ".join(reasons)}


def plates_with_outer_controls(profiles: pd.DataFrame, roles: Sequence[str]) -> list[str]:
    """Return the plates all of whose negative controls lie in the outer two rows or columns.

    There, an effect of treatments cannot be told from one of the position.

    Parameters
    ----------
    profiles, roles
        As for `ratios_of`. The plate is the smallest one of 96 wells or more that has all its wells.
    """
    outer = []
    is_reference = reference_of(profiles, roles)
    for plate, rows in profiles.groupby("Metadata_Plate", sort=False).indices.items():
        wells = profiles["Metadata_Well"].to_numpy()[rows]
        positions = np.array([row_and_column(well) for well in wells[is_reference[rows]]]).reshape(-1, 2)
        from_sides = np.minimum(positions, np.array(plate_format(wells)) - 1 - positions)
        if len(positions) and (from_sides < OUTER_LINES).any(axis=1).all():
            outer.append(plate)
    return outer


def names_of_no_well(profiles: pd.DataFrame, controls: Mapping[str, Iterable[str]]) -> list[str]:
    """Return the names in the configuration's ``controls`` that no well of any plate has.

    Parameters
    ----------
    profiles : pandas.DataFrame
        Profiles of all plates.
    controls : mapping of str to list of str
    """
    cells = set()
    for rows in rows_by_plate(profiles).values():
        columns = list(filter(None, platemaps.role_columns(rows)))
        cells |= {platemaps.plain(row[name]) for row in rows for name in columns}
    return [name for names in controls.values() for name in names if platemaps.plain(name) not in cells]


def described(wells: Sequence[Mapping[str, str | None]], *, most: int = 5) -> str:
    """Return what the platemap's columns of controls and treatments hold, for a message about controls that are absent.

    Parameters
    ----------
    wells : sequence of mapping
        Rows of a plate's wells, with the columns of its platemap.
    most : int
        Cells of a column that are listed, those of most wells first.
    """
    parts = []
    for noun, column in zip(("controls", "treatments"), platemaps.role_columns(wells), strict=True):
        if column:
            cells = Counter(row.get(column) or "" for row in wells)
            shown = ", ".join(f"{text!r} ({count})" for text, count in cells.most_common(most))
            parts.append(f"{column.removeprefix('Metadata_')}: {shown}{', ...' * (len(cells) > most)}")
        else:
            parts.append(f"no column of {noun}")
    return "; ".join(parts)
