"""Hits: the treatments and doses that differ from the negative controls."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy.stats import false_discovery_control, mannwhitneyu

from fieldwork.screen.controls import PERCENT, compared_column, reference_of, values_of
from fieldwork.screen.profiles import ROBUST_Z
from fieldwork.screen.wells import is_treated

COLUMNS = [
    *("Batch", "Treatment", "Dose", "Unit", "Readout", "Effect", "Change", "Plates", "Wells", "P", "Q", "Hit", "Flags")
]


def hits_of(wells: pd.DataFrame, readouts: Sequence[str], *, limits: Mapping[str, float]) -> pd.DataFrame:
    """Compare every treatment and dose with the negative controls of its plates.

    Parameters
    ----------
    wells : pandas.DataFrame
        From `wells.wells_of_screen`.
    readouts : list of str
    limits : mapping of str to float
        The configuration's ``screen.hit``: ``q``, ``z`` and ``change``.

    Returns
    -------
    pandas.DataFrame
        `COLUMNS`; a row for each readout, batch, treatment and dose, sorted in this order. Wells of equal batch,
        treatment, dose and unit are replicates, also on one plate. Excluded wells count in ``Flags`` alone. ``Effect``
        is the mean robust z of the readout's `controls.compared_column`. ``P``:
        `scipy.stats.mannwhitneyu`, two-sided. ``Q``: `scipy.stats.false_discovery_control` (Benjamini & Hochberg 1995)
        over the rows of a readout that have a P. ``Hit`` is None where P, Effect or Change is not known.
    """
    conditions = _conditions(wells)
    is_kept = ~wells["Excluded"].to_numpy(bool)
    negative = reference_of(wells, wells["Role"])
    plates, _ = pd.factorize(wells["Metadata_Plate"])  # numbers are compared faster than texts
    flags = [name for name in wells if name.startswith("Flag_")]
    flagged = wells[[*flags, "Excluded"]].fillna(False).to_numpy(bool)
    names = np.array([*(name.removeprefix("Flag_") for name in flags), "Excluded"])
    keys = wells[["Batch", "Treatment", "Dose", "Unit"]].to_dict("records")
    parts = []
    for readout in readouts:
        value, percent = values_of(wells, readout).to_numpy(), wells[PERCENT.format(readout)].to_numpy(float)
        z_column = ROBUST_Z.format(compared_column(readout))
        z = wells[z_column].to_numpy(float) if z_column in wells else np.full(len(wells), np.nan)
        is_known = is_kept & ~np.isnan(value)
        compared = [members[is_known[members] & ~np.isnan(percent[members])] for members in conditions]
        p_values = _p_values(compared, percent, plates, negative & ~np.isnan(percent))
        rows = []
        for members, ratios, p in zip(conditions, compared, p_values, strict=True):
            replicates = members[is_known[members]]
            rows.append(
                {
                    **keys[members[0]],
                    "Readout": readout,
                    "Effect": _mean(z[replicates]),
                    "Change": _mean(percent[ratios]) / 100 - 1,
                    "Plates": len(set(plates[replicates])),
                    "Wells": len(replicates),
                    "P": p,
                    "Flags": ";".join(names[flagged[members].any(axis=0)]),
                }
            )
        parts.append(_with_hits(pd.DataFrame(rows, columns=COLUMNS), limits))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=COLUMNS)


def smallest_p(replicates: int, negatives: int, *, has_ties: bool) -> float:
    """Return the smallest P that so many replicates and negative wells can have: with a tie SciPy approximates it."""
    method = "asymptotic" if has_ties else "auto"
    return mannwhitneyu(np.arange(replicates), replicates + np.arange(negatives), method=method).pvalue


def smallest_p_of(wells: pd.DataFrame) -> tuple[float, float]:
    """Return the smallest P that any treatment and dose can have, by the numbers of its wells and negative controls.

    The second one is that of values with ties, as counts have.

    Parameters
    ----------
    wells : pandas.DataFrame
        As for `hits_of`; some plate with treated wells has a negative control.
    """
    plates = wells["Metadata_Plate"].to_numpy()
    negatives = wells["Metadata_Plate"][reference_of(wells, wells["Role"])].value_counts()
    is_used = (~wells["Excluded"].to_numpy(bool)) & np.isin(plates, negatives.index)
    numbers = set()
    for members in _conditions(wells):
        of_plates = plates[members[is_used[members]]]
        numbers.add((len(of_plates), int(negatives[np.unique(of_plates)].sum())))
    numbers = [pair for pair in numbers if all(pair)]
    without, with_ties = (min(smallest_p(*pair, has_ties=ties) for pair in numbers) for ties in (False, True))
    return without, with_ties


def _conditions(wells):
    """Return the rows of each batch, treatment, unit and dose, sorted; text after numbers, no dose first."""
    groups = {}
    columns = [wells[name] for name in ("Batch", "Treatment", "Unit", "Dose")]
    for row, (batch, treatment, unit, dose) in enumerate(zip(*columns, strict=True)):
        is_text = isinstance(dose, str)
        number = -np.inf if is_text or dose != dose else dose
        groups.setdefault((batch, treatment, unit, is_text, number, dose if is_text else ""), []).append(row)
    treated = is_treated(wells)
    groups = {key: np.array([row for row in rows if treated[row]], int) for key, rows in sorted(groups.items())}
    return [rows for rows in groups.values() if len(rows)]


def _p_values(conditions, percent, plates, is_reference):
    """Return the P of each condition against the reference wells of its plates; NaN without either.

    Conditions with as many wells on the same plates are compared in one call. SciPy computes exact P of small samples
    without ties only, and decides so for all samples of a call: those with ties are in a call of their own.
    """
    alike = {}
    for number, members in enumerate(conditions):
        alike.setdefault((frozenset(plates[members]), len(members)), []).append(number)
    p_values = np.full(len(conditions), np.nan)
    for (of_plates, replicates), numbers in alike.items():
        reference = percent[is_reference & np.isin(plates, list(of_plates))] if replicates else []
        if not len(reference):
            continue
        samples = np.stack([percent[conditions[number]] for number in numbers])
        values = np.sort(np.hstack([samples, np.broadcast_to(reference, (len(samples), len(reference)))]))
        has_ties = (np.diff(values) == 0).any(axis=1)
        for chosen, method in ((~has_ties, "auto"), (has_ties, "asymptotic")):
            if chosen.any():
                tested = mannwhitneyu(samples[chosen], reference[None], axis=1, method=method)
                p_values[np.array(numbers)[chosen]] = tested.pvalue
    return p_values


def _with_hits(rows, limits):
    """Fill in Q and Hit of the rows of a readout."""
    p = rows["P"].to_numpy(float)
    q = np.full(len(rows), np.nan)
    q[~np.isnan(p)] = false_discovery_control(p[~np.isnan(p)])
    effect, change = rows["Effect"].to_numpy(float), rows["Change"].to_numpy(float)
    is_hit = (q < limits["q"]) & (np.abs(effect) >= limits["z"]) & (np.abs(change) >= limits["change"])
    is_known = ~np.isnan(q + effect + change)
    hits = [bool(hit) if known else None for hit, known in zip(is_hit, is_known, strict=True)]
    return rows.assign(Q=q, Hit=pd.Series(hits, rows.index, object))


def _mean(values):
    known = values[~np.isnan(values)]
    return known.mean() if len(known) else np.nan
