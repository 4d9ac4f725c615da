"""The wells of all plates of a screen: what was done to them, and their readouts against the negative controls."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd
import pyarrow as pa

from fieldwork.screen.controls import PERCENT, compared_column, percent_of_control, ratios_of, roles_of
from fieldwork.screen.profiles import COUNTS, ROBUST_Z, STRATA, is_flag
from fieldwork.screen.treatments import COLUMNS as TREATMENT_COLUMNS
from fieldwork.screen.treatments import treatments_of

KEYS = ["Batch", *TREATMENT_COLUMNS, "Role"]


def wells_of_screen(
    profiles: pd.DataFrame,
    readouts: Sequence[str],
    *,
    controls: Mapping[str, Iterable[str]],
    batches: Mapping[str, str],
) -> pd.DataFrame:
    """Return the wells of a screen.

    Parameters
    ----------
    profiles : pandas.DataFrame
        profiles.parquet of all plates, one after the other.
    readouts : list of str
        Columns of `profiles`.
    controls : mapping of str to list of str
        The configuration's ``controls``.
    batches : mapping of str to str
        Plate -> its batch, of the sheet.

    Returns
    -------
    pandas.DataFrame
        A row for each well: the columns of `profiles` that are no features; ``Batch``, empty without one;
        ``Treatment``, ``Dose`` and ``Unit`` from `treatments_of`; ``Role``: positive, negative or sample; each readout,
        its robust z, and ``PercentOfControl_{readout}``: 100 times its value through the median of the plate's
        negative controls, NaN where that is not above 0, or not known.

    Raises
    ------
    InputError
        As `controls.roles_of`.
    """
    profiles = profiles.reset_index(drop=True)
    described = [name for name in profiles if name.startswith(("Metadata_", "Fields_"))]
    counts = [name for name in COUNTS if name not in readouts]
    wells = profiles[[*described, *filter(is_flag, profiles), *counts]]
    keys = treatments_of(wells)
    keys.insert(0, "Batch", [batches.get(plate) or "" for plate in wells["Metadata_Plate"]])
    keys["Role"] = roles_of(wells, controls)
    percents = percent_of_control(ratios_of(profiles, keys["Role"], readouts))
    columns = {}
    for readout in readouts:
        names = (readout, ROBUST_Z.format(readout), ROBUST_Z.format(compared_column(readout)))
        columns |= {name: profiles[name] for name in names if name in profiles}
        percent = PERCENT.format(readout)
        columns[percent] = percents[percent]
    at = len(STRATA)
    return pd.concat([wells.iloc[:, :at], keys, wells.iloc[:, at:], pd.DataFrame(columns, wells.index)], axis="columns")


def table_of(wells: pd.DataFrame) -> pa.Table:
    """Return wells as a table with fixed types, in which a dose that is no number is null.

    Parameters
    ----------
    wells : pandas.DataFrame
        From `wells_of_screen`.
    """
    columns = {}
    for name in wells:
        values = pd.to_numeric(wells[name], errors="coerce") if name == "Dose" else wells[name]
        columns[name] = pa.array(values.astype(object).where(values.notna(), None), _type_of(name), from_pandas=True)
    return pa.table(columns)


def _type_of(column):
    if column.startswith("Metadata_") or column in KEYS and column != "Dose":
        return pa.string()
    if column.startswith("Fields_") or column == "Count_Nuclei":
        return pa.int64()
    return pa.bool_() if is_flag(column) else pa.float64()


def is_treated(wells: pd.DataFrame) -> np.ndarray:
    """Return True for wells with a treatment that are no controls, excluded ones too."""
    return ((wells["Role"] == "sample") & (wells["Treatment"] != "")).to_numpy()
