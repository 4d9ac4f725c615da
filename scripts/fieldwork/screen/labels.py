"""Names and numbers of a screen as pictures and the summary write them."""

import math

import pandas as pd

from fieldwork.screen.controls import PERCENT, values_of

LONGEST_LINE = 26  # of a readout's name above a chart


def cut(name: str, most: int = 24) -> str:
    """Return a name of a treatment or plate, its end cut off if it is long; ``(no name)`` for an empty one."""
    return (name if len(name) <= most else name[: most - 1] + "…") or "(no name)"


def broken(readout: str) -> str:
    """Return the name of a readout, on two lines if it is long."""
    if len(readout) <= LONGEST_LINE:
        return readout
    breaks = [index + 1 for index, letter in enumerate(readout) if letter == "_"] or [len(readout) // 2]
    middle = min(breaks, key=lambda index: abs(index - len(readout) / 2))
    return f"{readout[:middle]}\n{readout[middle:]}"


def dosed(treatment: str, dose: float, unit: str) -> str:
    """Return a treatment with its dose: ``taxol 10 uM``; without one, the treatment."""
    return cut(treatment) if isinstance(dose, float) and math.isnan(dose) else f"{cut(treatment)} {amount(dose, unit)}"


def amount(dose: float | str, unit: str) -> str:
    """Return a dose with its unit, in three digits."""
    return f"{dose if isinstance(dose, str) else f'{dose:.3g}'} {unit}".rstrip()


def interval(row: pd.Series) -> str:
    """Return the EC50 of a row of doses.csv with its 95 % interval: ``1.2 uM (0.9 to 1.5)``."""
    low, high = row["EC50_Low"], row["EC50_High"]
    ends = f"{low:.3g}" if pd.notna(low) else "…", f"{high:.3g}" if pd.notna(high) else "…"
    return f"{amount(row['EC50'], row['Unit'])} ({ends[0]} to {ends[1]})"


def percent(share: float) -> str:
    """Return a share with its sign as whole percents, such as −12 %."""
    return f"{100 * share:+.0f} %".replace("-", "\N{MINUS SIGN}")


def shown_values(wells: pd.DataFrame, readout: str) -> tuple[pd.Series, str]:
    """Return the values of wells that pictures show, and what they are.

    Parameters
    ----------
    wells : pandas.DataFrame
        wells.parquet of a screen.
    readout : str

    Returns
    -------
    values : pandas.Series
        Percents of the negative controls where all plates that have a value have them; else the values themselves.
    unit : str
    """
    values, ratios = values_of(wells, readout), wells[PERCENT.format(readout)].astype(float)
    plates = wells["Metadata_Plate"]
    if set(plates[values.notna()]) == set(plates[ratios.notna()]) and ratios.notna().any():
        return ratios, "% of negative controls"
    return values, "nuclei per field" if readout == "Count_Nuclei" else "as measured"
