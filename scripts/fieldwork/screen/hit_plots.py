"""Pictures of what a screen found: treatments ranked by their effect, and how replicate plates agree."""

import textwrap

import numpy as np
import pandas as pd
from matplotlib.ticker import FuncFormatter

from fieldwork.figures import BLACK, BLUE, GREY, LARGEST_DRAWN, VERMILION, counted, plt, without_chart
from fieldwork.screen.labels import broken, dosed, percent, shown_values
from fieldwork.screen.replicates import PROFILE
from fieldwork.screen.wells import is_treated

MOST_READOUTS = 6
MOST_LABELS = 15  # of a readout
MOST_PAIRS = 24  # of replicate plates, whose wells are drawn
LINEAR_Z = 100.0  # a larger effect is drawn on a logarithmic scale


def hits(rows: pd.DataFrame, limits: dict) -> plt.Figure:
    """Draw all treatments and doses in the order of their effect, and name the strongest hits of each readout.

    Parameters
    ----------
    rows : pandas.DataFrame
        hits.csv of a screen, with ``Hit`` as True, False or None.
    limits : dict
        The configuration's ``screen.hit``.

    Returns
    -------
    matplotlib.figure.Figure
        Of the `MOST_READOUTS` readouts with the most hits; without any hit, of the first.
    """
    title = "treatments and doses by effect"
    if rows.empty:
        return without_chart(title, "no well has a treatment, so that nothing is compared")
    known = rows[rows["Effect"].abs() < LARGEST_DRAWN]
    if known.empty:
        return without_chart(
            title,
            "no treatment has an effect in robust z: plates have no negative controls that count, or profiles are not "
            "normalised",
        )
    readouts = list(known["Readout"].unique())
    numbers = known.groupby("Readout")["Hit"].apply(lambda hit: sum(value is True for value in hit))
    with_hits = sorted((name for name in readouts if numbers[name]), key=lambda name: -numbers[name])
    drawn = sorted(with_hits[:MOST_READOUTS] or readouts[:1], key=readouts.index)
    figure, grid = plt.subplots(
        len(drawn), 2, figsize=(12, 3.5 * len(drawn) + 0.7), squeeze=False, layout="constrained", width_ratios=[1, 1.1]
    )
    for (left, right), readout in zip(grid, drawn, strict=True):
        of_readout = known[known["Readout"] == readout].sort_values("Effect", kind="stable")
        _draw_ranks(left, of_readout, limits)
        left.set_title(broken(readout), fontsize=10)
        _draw_strongest(right, of_readout)
    grid[-1, 0].set_xlabel("rank of the treatment and dose")
    grid[-1, 1].set_xlabel("effect, robust z")
    notes = [
        f"{title}; hit: Q < {limits['q']:g}, |effect| ≥ {limits['z']:g} and |change| ≥ {100 * limits['change']:g} %"
    ]
    if len(with_hits) > len(drawn):
        notes.append(f"{len(drawn)} of {len(with_hits)} readouts with hits, those with the most")
    if without := [name for name in readouts if not numbers[name] and name not in drawn]:
        notes += textwrap.wrap(f"no hit: {', '.join(without)}", 120)
    figure.suptitle("\n".join(notes), fontsize=11)
    return figure


def _kinds(rows):
    """Return name -> rows and colour: hits, others, and those that could not be judged."""
    hit = np.array([value is True for value in rows["Hit"]], bool)
    judged = np.array([value is True or value is False for value in rows["Hit"]], bool)
    return {"not judged": (~judged, "#cccccc"), "no hit": (judged & ~hit, GREY), "hit": (hit, VERMILION)}


def _draw_ranks(axes, rows, limits):
    """Draw the effect of every treatment and dose against its rank."""
    ranks, effects = np.arange(1, len(rows) + 1), rows["Effect"].to_numpy(float)
    for name, (chosen, colour) in _kinds(rows).items():
        if chosen.any():
            axes.plot(
                ranks[chosen], effects[chosen], "o", ms=3.5, mew=0, color=colour, label=f"{name} ({chosen.sum():,})"
            )
    for limit in (-limits["z"], limits["z"]):
        axes.axhline(limit, color=BLACK, linewidth=0.8, linestyle="--")
    if np.abs(effects).max() > LINEAR_Z:
        axes.set_yscale("symlog", linthresh=10)
        axes.set_ylim(_widened(min(effects.min(), -limits["z"]), max(effects.max(), limits["z"])))
        axes.yaxis.set_major_formatter(FuncFormatter(_plain))
    axes.set_ylabel("effect, robust z")
    axes.legend(fontsize=8, loc="upper left", handletextpad=0.2)
    axes.grid(axis="y", color="#dddddd", linewidth=0.6)


def _widened(low, high):
    """Return the limits of an axis around values; more room on a logarithmic scale."""
    if max(-low, high) > LINEAR_Z:
        return 2 * low if low < 0 else low, 2 * high if high > 0 else high
    return 1.08 * low, 1.08 * high


def _plain(value, _):
    """Return a number for an axis, such as −1000: formulas are switched off."""
    return f"{value:g}".replace("-", "\N{MINUS SIGN}")


def _draw_strongest(axes, rows):
    """Name the hits with the strongest effects, or what has them where none is a hit: a treatment at its strongest."""
    hit = rows[_kinds(rows)["hit"][0]]
    ranked = rows if hit.empty else hit
    ranked = ranked.iloc[np.argsort(-ranked["Effect"].abs().to_numpy(float), kind="stable")]
    ranked = ranked.drop_duplicates(["Batch", "Treatment", "Unit"])
    drawn = ranked.head(MOST_LABELS)
    colours = {"line": "#cccccc", "point": GREY} if hit.empty else {"line": "#f0b48c", "point": VERMILION}
    effects = drawn["Effect"].to_numpy(float)
    heights = np.arange(len(drawn))
    axes.hlines(heights, 0, effects, color=colours["line"], linewidth=2)
    axes.plot(effects, heights, "o", color=colours["point"], ms=5)
    axes.axvline(0, color=BLACK, linewidth=0.8)
    labels = [
        f"{dosed(row.Treatment, row.Dose, row.Unit)}"
        + f", {row.Batch}" * bool(row.Batch)
        + f"  ({percent(row.Change)})"
        for row in drawn.itertuples()
    ]
    axes.set_yticks(heights, labels, fontsize=8)
    axes.set_ylim(MOST_LABELS - 0.4, -0.6)
    axes.set_xlim(_widened(min(0, effects.min()), max(0, effects.max())))
    if np.abs(effects).max() > LINEAR_Z:
        axes.set_xscale("symlog", linthresh=10)
        axes.xaxis.set_major_formatter(FuncFormatter(_plain))
    else:
        axes.locator_params(axis="x", nbins=6)
    axes.grid(axis="x", color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    title = "no hit; strongest effects" if hit.empty else f"{counted(len(ranked), 'treatment')} with a hit"
    title += f", the {len(drawn)} strongest" if len(ranked) > len(drawn) and not hit.empty else ""
    axes.set_title(f"{title}: the strongest dose (change)", fontsize=9)


def replicates(wells: pd.DataFrame, pairs: pd.DataFrame) -> plt.Figure:
    """Draw the treated wells of replicate plates against each other, and the correlation of all pairs of plates.

    Parameters
    ----------
    wells, pairs : pandas.DataFrame
        wells.parquet and replicates.csv of a screen.

    Returns
    -------
    matplotlib.figure.Figure
        Wells of the `MOST_PAIRS` pairs of plates that agree least in a readout.
    """
    title = "replicate plates"
    number = len(pairs.drop_duplicates(["Plate_1", "Plate_2"]))
    if not number:
        return without_chart(
            title, "no two plates of a batch have the same treatments, doses and controls in the same wells"
        )
    compared = pairs[pairs["Readout"] != PROFILE]
    readouts = list(compared["Readout"].unique())
    across = min(4, len(readouts) + 1)
    down = -(-(len(readouts) + 1) // across)
    figure, grid = plt.subplots(
        down, across, figsize=(3.5 * across, 3.6 * down + 0.6), squeeze=False, layout="constrained"
    )
    used = wells[is_treated(wells) & ~wells["Excluded"].to_numpy(bool)]
    for axes, readout in zip(grid.flat, readouts, strict=False):
        _draw_pairs(axes, used, compared[compared["Readout"] == readout], readout)
    _draw_correlations(grid.flat[len(readouts)], pairs)
    for axes in grid.flat[len(readouts) + 1 :]:
        axes.axis("off")
    notes = [f"{counted(number, 'pair')} of replicate plates: treated wells that are not excluded"]
    if number > MOST_PAIRS:
        notes.append(f"of each readout, the wells of the {MOST_PAIRS} pairs with the lowest correlation")
    figure.suptitle("\n".join(notes), fontsize=11)
    return figure


def _draw_pairs(axes, wells, pairs, readout):
    """Draw the values of the wells of pairs of plates against each other."""
    values, unit = shown_values(wells, readout)
    of_plates = {
        name: values[rows.index].set_axis(rows["Metadata_Well"]) for name, rows in wells.groupby("Metadata_Plate")
    }
    none = pd.Series(dtype=float)
    worst = pairs.iloc[np.argsort(pairs["Correlation"].to_numpy(float), kind="stable")].head(MOST_PAIRS)
    joined = [
        pd.concat([of_plates.get(pair.Plate_1, none), of_plates.get(pair.Plate_2, none)], axis=1, join="inner").dropna()
        for pair in worst.itertuples()
    ]
    points = pd.concat(joined).to_numpy(float)
    axes.set_title(broken(readout) + "\n" + _median_of(pairs["Correlation"]), fontsize=9)
    if not len(points):
        axes.axis("off")
        axes.text(0.5, 0.5, "no well has it on both plates", ha="center", va="center", transform=axes.transAxes)
        return
    axes.plot(points[:, 0], points[:, 1], "o", ms=2.8, mew=0, alpha=0.5 if len(points) < 3000 else 0.2, color=BLUE)
    ends = points.min(), points.max()
    axes.plot(ends, ends, color=BLACK, linewidth=0.8)
    axes.set_aspect("equal", adjustable="datalim")
    axes.set_xlabel(f"a plate: {unit}", fontsize=8)
    axes.set_ylabel("its replicate", fontsize=8)
    axes.tick_params(labelsize=8)
    axes.locator_params(nbins=5)


def _median_of(correlations):
    known = correlations.dropna()
    return (
        f"r {known.median():.3f}".replace("-", "\N{MINUS SIGN}") + " (median)" * (len(known) > 1)
        if len(known)
        else "r not known"
    )


def _draw_correlations(axes, pairs):
    """Draw the correlation of every pair of plates, a row for each readout."""
    readouts = list(pairs["Readout"].unique())
    for height, readout in enumerate(readouts):
        r = pairs.loc[pairs["Readout"] == readout, "Correlation"].to_numpy(float)
        axes.plot(r, np.full(len(r), height), "o", ms=4, mew=0, alpha=0.5, color=BLUE)
    axes.set_yticks(range(len(readouts)), map(broken, readouts), fontsize=7)
    axes.set_ylim(len(readouts) - 0.4, -0.6)
    known = pairs["Correlation"].dropna()
    axes.set_xlim(min(0, known.min() if len(known) else 0) - 0.05, 1.05)
    axes.grid(axis="x", color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(axis="x", labelsize=8)
    axes.set_xlabel("correlation r of a pair", fontsize=8)
    shares = pairs["Share_Replicating"].dropna()
    share = (
        f"wells alike in all features: {100 * shares.median():.0f} %"
        if len(shares)
        else "wells alike in all features: not known"
    )
    axes.set_title(f"all pairs\n{share}" + " (median)" * (len(shares) > 1), fontsize=9)
