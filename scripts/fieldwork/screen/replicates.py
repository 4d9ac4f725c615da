"""Replicate plates: how well they agree."""

import warnings
from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pandas as pd
from scipy.stats import ConstantInputWarning, NearConstantInputWarning, pearsonr

from fieldwork.screen.controls import values_of
from fieldwork.screen.profiles import ROBUST_Z
from fieldwork.screen.wells import is_treated

COLUMNS = ["Batch", "Plate_1", "Plate_2", "Readout", "Wells", "Correlation", "Share_Replicating"]
PROFILE = "all features"  # the readout of a row that compares whole profiles
RANDOM_PAIRS, SEED, PERCENTILE = 1000, 0, 95
FEWEST_VALUES = 3  # a correlation of two is always 1 or -1


def replicates_of(wells: pd.DataFrame, profiles: pd.DataFrame, readouts: Sequence[str]) -> pd.DataFrame:
    """Compare replicate plates pair by pair: those of a batch with equal treatments, doses and controls in all wells.

    Parameters
    ----------
    wells : pandas.DataFrame
        From `wells.wells_of_screen`.
    profiles : pandas.DataFrame
        profiles.parquet of all plates, row by row as `wells`.
    readouts : list of str

    Returns
    -------
    pandas.DataFrame
        `COLUMNS`; a row for each pair of plates and readout. ``Correlation``: Pearson's, of the readout in the treated
        wells that are not excluded, of which there are ``Wells``; NaN for fewer than `FEWEST_VALUES`, or if all have
        one value. In the row of the readout `PROFILE`, ``Correlation`` is the median, over the treated wells, of the
        correlation between the robust z of all features in the two replicate wells; ``Share_Replicating`` the share of
        wells with one above the 95th percentile of those of 1,000 random pairs of a well of either plate with different
        treatments or doses (percent replicating, Way et al., Cell Syst. 13:911, 2022). The seed is fixed.
    """
    values = np.array([values_of(wells, readout) for readout in readouts]).reshape(len(readouts), len(wells)).T
    features = [name for name in profiles if name.startswith(ROBUST_Z.format(""))]
    features = profiles[features].to_numpy(float)
    is_used = is_treated(wells) & ~wells["Excluded"].to_numpy(bool)
    conditions = _numbered(wells[["Treatment", "Unit", "Dose"]])
    rows = []
    for batch, plates in _replicate_plates(wells):
        for (name, first), (other, second) in combinations(plates, 2):
            both = is_used[first] & is_used[second]
            first, second = first[both], second[both]
            pair = {"Batch": batch, "Plate_1": name, "Plate_2": other}
            for readout, x, y in zip(readouts, values[first].T, values[second].T, strict=True):
                wells_known = ~np.isnan(x + y)
                correlation = _correlate(x[wells_known][None], y[wells_known][None])[0]
                rows.append({**pair, "Readout": readout, "Wells": wells_known.sum(), "Correlation": correlation})
            rows.append({**pair, **_compare_profiles(features, first, second, conditions)})
    return pd.DataFrame(rows, columns=COLUMNS)


def _replicate_plates(wells):
    """Yield each batch and layout's plates, with the rows of their wells in the order of wells' names."""
    keys = ["Treatment", "Unit", "Dose", "Role"]
    alike = {}
    for (batch, plate), members in wells.groupby(["Batch", "Metadata_Plate"], sort=False):
        members = members.sort_values("Metadata_Well")
        described = members[(members["Treatment"] != "") | (members["Role"] != "sample")]
        if is_treated(described).any():
            texts = described[["Metadata_Well", *keys]].astype(str)
            layout = (batch, *texts.itertuples(index=False, name=None))
            alike.setdefault(layout, []).append((plate, described.index.to_numpy()))
    for (batch, *_), plates in alike.items():
        yield batch, plates


def _numbered(columns):
    """Return a number for each row, the same for equal rows."""
    return pd.factorize(pd.Series(list(columns.astype(str).itertuples(index=False, name=None)), dtype=object))[0]


def _correlate(first, second):
    """Return Pearson's correlation of every row with that of another array; NaN for too few values, or equal ones."""
    if first.shape[1] < FEWEST_VALUES:
        return np.full(len(first), np.nan)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConstantInputWarning)
        warnings.simplefilter("ignore", NearConstantInputWarning)
        return pearsonr(first, second, axis=1).statistic


def _compare_profiles(features, first, second, conditions):
    """Return the row of a pair of plates that compares the profiles of their wells `first` and `second`."""
    missing = np.isnan(features[first] + features[second])
    has_features = 2 * missing.sum(axis=1) < features.shape[1]  # a well with few nuclei has counts alone
    known = ~missing[has_features].any(axis=0)
    first, second = first[has_features], second[has_features]
    row = {"Readout": PROFILE, "Wells": len(first), "Correlation": np.nan, "Share_Replicating": np.nan}
    if not len(first):
        return row
    left, right = features[np.ix_(first, known)], features[np.ix_(second, known)]
    of_replicates = _correlate(left, right)
    of_replicates = of_replicates[~np.isnan(of_replicates)]
    pairs = np.random.default_rng(SEED).integers(len(first), size=(10 * RANDOM_PAIRS, 2))
    pairs = pairs[conditions[first[pairs[:, 0]]] != conditions[second[pairs[:, 1]]]][:RANDOM_PAIRS]
    of_others = _correlate(left[pairs[:, 0]], right[pairs[:, 1]])
    of_others = of_others[~np.isnan(of_others)]
    if len(of_replicates):
        row["Correlation"] = np.median(of_replicates)
    if len(of_replicates) and len(of_others):
        row["Share_Replicating"] = (of_replicates > np.percentile(of_others, PERCENTILE)).mean()
    return row
