"""Principal components of the profiles of all wells of a screen."""

import itertools

import numpy as np
import pandas as pd
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from fieldwork.figures import BLACK, BLUE, GREEN, ORANGE, PURPLE, SKY_BLUE, VERMILION, counted, plt, without_chart
from fieldwork.screen.labels import cut
from fieldwork.screen.wells import is_treated

MOST_COLOURED = 24  # treatments with a look of their own
MOST_MISSING = 0.5  # share of the features; a well without more of them has counts alone
LOOKS = list(itertools.product("o^sD", (BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY_BLUE)))
FEWEST = 3  # wells, of which two components are something
OTHERS_COLOUR = "#c8c8c8"


def profiles(wells: pd.DataFrame, features: pd.DataFrame) -> plt.Figure:
    """Draw the first two principal components of the robust z of all features, a point for each well.

    Features are standardised (`sklearn.preprocessing.StandardScaler`), and components are
    `sklearn.decomposition.PCA`'s. Left out are excluded wells, those without most features, which have few nuclei, and
    then features that a remaining well has no value of, or that are alike in all.

    Parameters
    ----------
    wells : pandas.DataFrame
        wells.parquet of a screen.
    features : pandas.DataFrame
        The columns ``RobustZ_`` of profiles.parquet of all plates, row by row as `wells`.

    Returns
    -------
    matplotlib.figure.Figure
        Coloured by treatment; of more than `MOST_COLOURED`, those whose wells lie furthest from the negative controls.
    """
    title = "profiles of wells, principal components"
    values = features.to_numpy(float)
    if not np.isfinite(values).any():
        return without_chart(title, "no well has a normalised profile (RobustZ_ in profiles.parquet)")
    excluded = wells["Excluded"].to_numpy(bool)
    some = np.isfinite(values).any(axis=0)
    is_few = (~np.isfinite(values[:, some])).mean(axis=1) > MOST_MISSING
    kept = ~excluded & ~is_few
    chosen = np.isfinite(values[kept]).all(axis=0) if kept.any() else np.zeros(values.shape[1], bool)
    chosen &= np.ptp(np.where(chosen, values[kept], 0), axis=0) > 0 if kept.any() else False
    if kept.sum() < FEWEST or chosen.sum() < 2:
        return without_chart(
            title,
            f"too little to compare: {counted(int(kept.sum()), 'well')} with {counted(int(chosen.sum()), 'feature')}",
        )
    pca = PCA(2, svd_solver="covariance_eigh")  # exact, and fast for many wells
    points = pca.fit_transform(StandardScaler().fit_transform(values[np.ix_(kept, chosen)]))
    figure, axes = plt.subplots(figsize=(11, 7), layout="constrained")
    others = _draw_points(axes, wells[kept], points)
    for axis, share, set_label in zip(
        "12", pca.explained_variance_ratio_, (axes.set_xlabel, axes.set_ylabel), strict=True
    ):
        set_label(f"principal component {axis} ({100 * share:.0f} % of the variance)")
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1), fontsize=8, ncols=1, handletextpad=0.3)
    without = {
        "excluded": excluded.sum(),
        "with few nuclei": (is_few & ~excluded).sum(),
    }
    left_out = [f"{counted(int(number), 'well')} {why}" for why, number in without.items()]
    left_out.append(f"{counted(int((~chosen).sum()), 'feature')} of {len(chosen)}")
    notes = [
        f"{title}: {counted(int(kept.sum()), 'well')}, {counted(int(chosen.sum()), 'feature')}",
        f"left out: {', '.join(left_out)}",
    ]
    if others:
        notes.append(f"coloured: the {MOST_COLOURED} of {others + MOST_COLOURED:,} treatments that lie furthest away")
    axes.set_title("\n".join(notes), fontsize=10)
    return figure


def _draw_points(axes, wells, points):
    """Draw wells by their role and treatment; return the number of treatments without a colour of their own."""
    role, treatment = wells["Role"].to_numpy(), wells["Treatment"].to_numpy()
    treated = is_treated(wells)
    centre = np.median(points[role == "negative"] if (role == "negative").any() else points, axis=0)
    away = pd.Series(np.linalg.norm(points - centre, axis=1)[treated]).groupby(treatment[treated]).median()
    ranked = away.sort_index().sort_values(ascending=False, kind="stable").index
    coloured = sorted(ranked[:MOST_COLOURED])
    groups = [
        ("other treatments", treated & ~np.isin(treatment, coloured), {"marker": "o", "color": OTHERS_COLOUR}),
        ("no treatment", (role == "sample") & ~treated, {"marker": ".", "color": OTHERS_COLOUR}),
    ]
    groups += [
        (cut(name), treated & (treatment == name), {"marker": marker, "color": colour})
        for name, (marker, colour) in zip(coloured, LOOKS, strict=False)
    ]
    groups += [
        ("positive controls", role == "positive", {"marker": "x", "color": BLACK}),
        ("negative controls", role == "negative", {"marker": "+", "color": BLACK}),
    ]
    for name, members, look in groups:
        if members.any():
            rim = {"linewidths": 0.9} if look["marker"] in "x+" else {"linewidths": 0.3, "edgecolors": "white"}
            axes.scatter(*points[members].T, s=24, **look, **rim, label=f"{name} ({members.sum():,})")
    axes.axhline(0, color="#dddddd", linewidth=0.6, zorder=0)
    axes.axvline(0, color="#dddddd", linewidth=0.6, zorder=0)
    return len(ranked) - len(coloured)
