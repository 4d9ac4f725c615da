"""Reads the tables of a screen that are CSV files."""

import os

import pandas as pd

TEXTS = ("Metadata_Plate", "Batch", "Treatment", "Unit", "Readout", "Flags", "Reason", "Plate_1", "Plate_2")
TRUTHS = {"True": True, "False": False}


def read_table(path: str | os.PathLike) -> pd.DataFrame:
    """Read plates.csv, hits.csv, replicates.csv or doses.csv.

    Names are text, as a plate or a compound may be called 007 or NA. ``Dose`` is a number, or text where it is none;
    ``Hit`` True, False or None.

    Parameters
    ----------
    path : path-like
    """
    columns = pd.read_csv(path, nrows=0).columns
    numbers = [name for name in columns if name not in (*TEXTS, "Dose", "Hit")]
    texts = {name: str for name in columns if name not in numbers}
    table = pd.read_csv(path, dtype=texts, keep_default_na=False, na_values=dict.fromkeys(numbers, ""))
    table[numbers] = table[numbers].astype(float)
    if "Hit" in table:
        table["Hit"] = pd.Series([TRUTHS.get(text) for text in table["Hit"]], table.index, object)
    if "Dose" in table:
        doses = [_number_of(text) for text in table["Dose"]]
        table["Dose"] = pd.Series(doses, table.index, object)
    return table


def _number_of(text):
    try:
        return float(text or "nan")
    except ValueError:
        return text
