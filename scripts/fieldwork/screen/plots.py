"""Pictures of a screen's plates: all of them well by well, and the edge effect in their controls."""

import math

import numpy as np
import pandas as pd
from matplotlib.patheffects import withStroke

from fieldwork.figures import BLUE, GREY, ORANGE, VERMILION, counted, plt, without_chart
from fieldwork.plates.plots import rim_of
from fieldwork.screen.controls import reference_of
from fieldwork.screen.labels import cut, shown_values
from fieldwork.wells import ROWS, plate_format, row_and_column

READOUT = "Count_Nuclei"
MOST_PLATES = 120
WIDEST_PLATE_IN, WIDTH_IN = 4.6, 14.0
MOST_PERCENT = 200.0  # of the negative controls, that has a colour of its own


def plates(wells: pd.DataFrame, controls: pd.DataFrame) -> plt.Figure:
    """Draw the nuclei of every well of all plates, side by side and with the same colours.

    Parameters
    ----------
    wells, controls : pandas.DataFrame
        wells.parquet and plates.csv of a screen.

    Returns
    -------
    matplotlib.figure.Figure
        Of the first `MOST_PLATES` plates.
    """
    names = list(wells["Metadata_Plate"].unique())
    values, unit = shown_values(wells, READOUT)
    if not values.notna().any():
        return without_chart("plates", "no well has a count of nuclei")
    drawn = names[:MOST_PLATES]
    across = min(len(drawn), max(2, round(math.sqrt(1.1 * len(drawn)))))
    down = -(-len(drawn) // across)
    width = min(WIDEST_PLATE_IN, WIDTH_IN / across)
    figure, grid = plt.subplots(
        down,
        across,
        figsize=(width * across + 1.2, (0.63 * width + 0.38) * down + 1),
        squeeze=False,
        layout="constrained",
    )
    top = min(values.max(), MOST_PERCENT) if unit.startswith("%") else values.max()
    z_primes = controls[controls["Readout"] == READOUT].set_index("Metadata_Plate")["ZPrime"]
    for axes, name in zip(grid.flat, drawn, strict=False):
        rows = wells["Metadata_Plate"] == name
        image = _draw_plate(axes, wells[rows], values[rows], top=top or 1)
        z_prime = z_primes.get(name, math.nan)
        quality = f", Z' {z_prime:.2f}".replace("-", "\N{MINUS SIGN}") if math.isfinite(z_prime) else ""
        axes.set_title(cut(name, 30 if across < 6 else 16) + quality, fontsize=9 if across < 6 else 7.5)
    for axes in grid.flat[len(drawn) :]:
        axes.axis("off")
    bar = figure.colorbar(
        image, ax=grid, shrink=min(1, 3 / down), pad=0.01, extend="max" if values.max() > top else "neither"
    )
    bar.set_label(f"nuclei per field, {unit}" if unit.startswith("%") else unit, fontsize=9)
    bar.ax.tick_params(labelsize=8)
    left_out = f", the first {len(drawn)} of {len(names)}" if len(names) > len(drawn) else ""
    figure.suptitle(f"{counted(len(names), 'plate')}: nuclei in every well{left_out}", fontsize=11)
    has_gap = any(np.ma.getmaskarray(axes.images[0].get_array()).any() for axes in grid.flat[: len(drawn)])
    _explain(figure, wells[wells["Metadata_Plate"].isin(drawn)], has_gap=has_gap)
    return figure


def _flagged(wells):
    """Return True for wells that have a flag and are not excluded."""
    flags = [name for name in wells if name.startswith("Flag_")]
    return wells[flags].fillna(False).to_numpy(bool).any(axis=1) & ~wells["Excluded"].to_numpy(bool)


def _draw_plate(axes, wells, values, *, top):
    """Colour the wells of a plate by value; mark those that are excluded or flagged."""
    size = plate_format(wells["Metadata_Well"])
    positions = np.array([row_and_column(well) for well in wells["Metadata_Well"]])
    grid = np.full(size, np.nan)
    grid[tuple(positions.T)] = values
    image = axes.imshow(np.ma.masked_invalid(grid), cmap="viridis", vmin=0, vmax=top, aspect="equal")
    axes.set_facecolor("#e0e0e0")
    axes.set_xticks([0, size[1] - 1], [1, size[1]])
    axes.set_yticks([0, size[0] - 1], [ROWS[0], ROWS[size[0] - 1]])
    axes.tick_params(length=0, labelsize=7, pad=1)
    for marked, look in _marks(wells):
        rows, columns = positions[marked].T
        rim = [withStroke(linewidth=2.6 if look["marker"] == "x" else 1.2, foreground="white")]
        axes.plot(columns, rows, **look, linestyle="none", path_effects=rim)
    return image


def _marks(wells):
    """Return which wells have a mark, and how it looks."""
    excluded = wells["Excluded"].to_numpy(bool)
    return [
        (excluded, {"marker": "x", "ms": 4, "mew": 1.4, "color": VERMILION, "label": "excluded"}),
        (_flagged(wells), {"marker": "o", "ms": 2.5, "mew": 0, "color": ORANGE, "label": "flagged"}),
    ]


def _explain(figure, wells, *, has_gap):
    """Write a legend of the marks that are drawn, with the numbers of their wells."""
    handles = []
    for marked, look in _marks(wells):
        if number := int(marked.sum()):
            label = f"{look['label']} ({counted(number, 'well')})"
            handles.append(plt.Line2D([], [], linestyle="none", **{**look, "ms": 5, "label": label}))
    if has_gap:
        look = {"marker": "s", "color": "#e0e0e0", "mec": GREY, "label": "not known, or empty"}
        handles.append(plt.Line2D([], [], linestyle="none", **look))
    if handles:
        figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), fontsize=9)


def edge(wells: pd.DataFrame) -> plt.Figure:
    """Draw the nuclei of the negative controls at the rim of every plate against those inside.

    Only controls are surely treated alike at the rim and inside.

    Parameters
    ----------
    wells : pandas.DataFrame
        wells.parquet of a screen.

    Returns
    -------
    matplotlib.figure.Figure
        Of the first `MOST_PLATES` plates that have such controls at the rim and inside.
    """
    title = "edge effect, negative controls alone"
    values, unit = shown_values(wells, READOUT)
    is_used = reference_of(wells, wells["Role"]) & values.notna().to_numpy()
    if not is_used.any():
        return without_chart(title, "no well is a negative control that has a count and is not excluded")
    at_rim, definition = _at_rim(wells, is_used)
    plates = wells["Metadata_Plate"]
    sides = {"rim": is_used & at_rim, "inside": is_used & ~at_rim}
    both = [name for name in plates[is_used].unique() if all((plates[side] == name).any() for side in sides.values())]
    if not both:
        side = "at the rim" if sides["inside"].any() else "inside"
        return without_chart(
            title,
            f"no plate has negative controls at the rim and inside (none lies {side}): no edge effect can be seen",
        )
    drawn = both[:MOST_PLATES]
    figure, axes = plt.subplots(figsize=(9.5, 1.9 + 0.34 * len(drawn)), layout="constrained")
    changes = [_draw_rim(axes, number, values, sides, plates == name) for number, name in enumerate(drawn)]
    labels = [f"{cut(name)}  ({_change(change)})" for name, change in zip(drawn, changes, strict=True)]
    axes.set_yticks(range(len(drawn)), labels, fontsize=9)
    axes.set_ylim(len(drawn) - 0.4, -0.6)
    axes.set_xlim(left=0)
    axes.grid(axis="x", color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.set_xlabel("nuclei per field" + (f", {unit}" if unit.startswith("%") else ""))
    numbers = ", ".join(
        f"{counted(int(side[np.isin(plates, drawn)].sum()), 'well')} {where}"
        for where, side in zip(("at the rim", "inside"), sides.values(), strict=True)
    )
    known = [change for change in changes if math.isfinite(change)]
    notes = [title, numbers, f"rim: {definition}"]
    if known:
        notes[1] += (
            f"; median of the rim against inside, over {counted(len(known), 'plate')}: "
            f"{_change(float(np.median(known)))}"
        )
    if left_out := plates.nunique() - len(drawn):
        notes.append(
            f"{counted(left_out, 'plate')} not drawn: without such controls on both sides, or beyond the first "
            f"{MOST_PLATES}"
        )
    axes.set_title("\n".join(notes), fontsize=10)
    figure.legend(
        handles=[
            plt.Line2D([], [], linestyle="none", marker="o", ms=5, color=colour, label=f"{side}; line: median")
            for side, colour in (("rim", VERMILION), ("inside", BLUE))
        ],
        fontsize=8,
        loc="outside lower center",
        ncols=2,
    )
    return figure


def _at_rim(wells, is_used):
    """Return True for wells at the rim of their plate, and what that is: the plate's, if controls are there."""
    names = wells["Metadata_Well"]
    at_rim, of_block = np.zeros((2, len(wells)), bool)
    for rows in wells.groupby("Metadata_Plate", sort=False).indices.values():
        positions = np.array([row_and_column(well) for well in names.iloc[rows]])
        last = np.array(plate_format(names.iloc[rows])) - 1
        at_rim[rows] = ((positions == 0) | (positions == last)).any(axis=1)
        of_block[rows] = rim_of(names.iloc[rows])[1]
    if (at_rim & is_used).any():
        return at_rim, "the outermost rows and columns of the plate"
    return of_block, "that of the block of wells, as no control lies in the outermost rows and columns of a plate"


def _change(change):
    return f"{change:+.1%}".replace("-", "\N{MINUS SIGN}") if math.isfinite(change) else "not known"


def _draw_rim(axes, number, values, sides, on_plate):
    """Draw the controls of a plate; return how the median at the rim differs from that inside, as a share of it."""
    medians = []
    for side, colour, shift in (("rim", VERMILION, -0.16), ("inside", BLUE, 0.16)):
        of_side = values[sides[side] & on_plate]
        axes.plot(of_side, np.full(len(of_side), number + shift), "o", ms=4, color=colour, alpha=0.6, mew=0)
        medians.append(of_side.median())
        axes.plot([medians[-1]] * 2, [number + shift - 0.14, number + shift + 0.14], color=colour, linewidth=2)
    return medians[0] / medians[1] - 1 if medians[1] > 0 else math.nan
