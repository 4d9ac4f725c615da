"""Pictures in the form of the plate: nuclei, image quality, controls, and nuclei over time, well by well."""

import numpy as np
import pandas as pd
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.patheffects import withStroke

from fieldwork.figures import BLACK, BLUE, GREEN, GREY, ORANGE, PURPLE, SKY_BLUE, VERMILION, YELLOW, counted, plt
from fieldwork.inputs import platemaps
from fieldwork.plates import tables
from fieldwork.plates.plots import MEAN_COUNT, draw_boxes, empty_picture
from fieldwork.wells import ROWS, plate_format, row_and_column

QUALITY_LABELS = {  # title, unit
    "PowerLogLogSlope": ("focus: slope of the power spectrum\n(lower where blurred)", "log power per log radius"),
    "PercentMaximal": ("pixels at the maximum\n(more where saturated)", "%"),
    "MeanIntensity": ("mean intensity", "grey levels"),
    "MedianIntensity": ("median intensity", "grey levels"),
    "StdIntensity": ("standard deviation of intensity", "grey levels"),
    "MinIntensity": ("lowest intensity", "grey levels"),
    "MaxIntensity": ("highest intensity", "grey levels"),
}
# For treatments. In a heatmap each has a white rim, so that it stands out on any colour.
OUTLINE_COLOURS = (VERMILION, SKY_BLUE, GREEN, PURPLE, BLACK, ORANGE, BLUE, YELLOW)
CURVES_WIDTH_IN = 12  # of a plate of curves, in inches
CURVE_SIDE = 0.72  # of the square that has a well's curve, in wells
CONTROL_COLOURS = {"positive": VERMILION, "negative": SKY_BLUE, "sample": GREY}


def nuclei(wells: pd.DataFrame, *, plate: str) -> plt.Figure:
    """Draw the nuclei of each well at its position on the plate: the mean of its good fields, and their sum.

    Parameters
    ----------
    wells : pandas.DataFrame
        wells.csv, with platemap columns as text.
    plate : str

    Returns
    -------
    matplotlib.figure.Figure
    """
    values = {
        "mean of the well's good fields": (wells.Mean_Count_Nuclei, "nuclei per field"),
        "sum of the well's good fields": (wells.Count_Nuclei, "nuclei per well"),
    }
    return _heatmaps(wells, values, across=1, title=f"plate {plate}: nuclei")


def quality(wells: pd.DataFrame, fields: pd.DataFrame, *, plate: str) -> plt.Figure:
    """Draw each measure of image quality at the wells' positions: the median of the well's good fields.

    Parameters
    ----------
    wells, fields : pandas.DataFrame
        wells.csv and fields.csv, the latter with the columns of `tables.QUALITY`.
    plate : str

    Returns
    -------
    matplotlib.figure.Figure
    """
    medians = fields[fields.Image_Status == "ok"].groupby("Metadata_Well")[list(tables.QUALITY)].median()
    medians = medians.reindex(wells.Metadata_Well).set_axis(wells.index)
    labels = {column: QUALITY_LABELS[name] for column, name in tables.QUALITY.items()}
    values = {title: (medians[column], unit) for column, (title, unit) in labels.items()}
    return _heatmaps(wells, values, across=3, title=f"plate {plate}: image quality (medians of good fields)")


def controls(wells: pd.DataFrame, *, plate: str) -> plt.Figure:
    """Draw each well's distance from the negative controls, and the counts of controls and samples.

    Parameters
    ----------
    wells : pandas.DataFrame
        wells.csv of a plate whose platemap has a column ``control``.
    plate : str

    Returns
    -------
    matplotlib.figure.Figure
    """
    roles = wells[platemaps.control_column(wells.columns)].map(platemaps.control_of)
    good = wells.Mean_Count_Nuclei.notna()
    z_prime = wells.ZPrime_Count_Nuclei.dropna().unique()
    z_prime = f"{z_prime[0]:.2f}" if len(z_prime) else "undefined"
    numbers = " and ".join(f"{(good & (roles == role)).sum()} {role}" for role in platemaps.CONTROLS)
    values = {
        "robust z of nuclei per field": (wells.RobustZ_Count_Nuclei, "1.4826 MADs from the negative controls' median")
    }
    title = f"plate {plate}: Z' = {z_prime} ({numbers} control wells)"
    if wells.RobustZ_Count_Nuclei.isna().all():
        title += "\nrobust z undefined: it takes two negative controls whose counts differ"
    outlines = _control_positions(wells)
    figure = _heatmaps(wells, values, across=1, title=title, diverging=True, extra_row=2, outlines=outlines)
    if len(wells):
        groups = {role: wells.Mean_Count_Nuclei[good & (roles == role)] for role in CONTROL_COLOURS}
        axes = figure.add_subplot(figure.axes[0].get_gridspec()[-1, :])
        draw_boxes(axes, groups, quantity=MEAN_COUNT, noun="well", colours=CONTROL_COLOURS)
    return figure


def timepoints(wells: pd.DataFrame, counts: pd.DataFrame, *, plate: str) -> plt.Figure:
    """Draw the nuclei per field over time: a curve in every well, with the same scale in all of them.

    A curve has a gap where the well has no good field at a time point. Counts whose time point is not known are not
    drawn, and counted in the title.

    Parameters
    ----------
    wells, counts : pandas.DataFrame
        wells.csv and timepoints.csv.
    plate : str

    Returns
    -------
    matplotlib.figure.Figure
    """
    title = f"plate {plate}: nuclei over time"
    moments = np.sort(counts.Metadata_Timepoint.dropna().unique())
    if wells.empty or not len(moments):
        return empty_picture(title, wells, "no time point is known" if len(wells) else None)
    size = height, width = plate_format(wells.Metadata_Well)
    cell = CURVES_WIDTH_IN / width
    figure = plt.figure(figsize=(CURVES_WIDTH_IN + 0.8, cell * height + 1.6), layout="constrained")
    axes = figure.add_subplot(aspect="equal", xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))
    _name_wells(axes, size, cell=cell, colour="#dddddd")
    good = counts[counts.Mean_Count_Nuclei.notna()]
    dated = good[good.Metadata_Timepoint.notna()]
    top = dated.Mean_Count_Nuclei.max() or 1
    means = dated.pivot(index="Metadata_Well", columns="Metadata_Timepoint", values="Mean_Count_Nuclei")
    heights = means.reindex(columns=moments).to_numpy() / top
    x = (moments - moments[0]) / max(np.ptp(moments), 1) - 0.5
    curves = [np.column_stack([x, 0.5 - of_well]) for of_well in heights]
    _draw_curves(axes, dict(zip(map(row_and_column, means.index), curves, strict=True)), cell=cell)
    marks = well_marks(wells, size)
    _mark(axes, {label: marks[label] for label in ("no image", "every field failed")}, outlined(wells), cell=cell)
    _explain_marks(figure)
    several = f"s {moments[0]:.0f} to {moments[-1]:.0f} from left to right"
    scale = "time point" + (several if len(moments) > 1 else f" {moments[0]:.0f}")
    if len(dated):
        scale += f", 0 to {short(top)} nuclei per field from bottom to top"
    unknown = good.Metadata_Well[good.Metadata_Timepoint.isna()].nunique()
    notes = [f"with counts of no known time point, which are not drawn: {counted(unknown, 'well')}"] * bool(unknown)
    axes.set_title("\n".join([f"in every well: {scale}", *notes]), fontsize=10)
    figure.suptitle(title)
    return figure


def _draw_curves(axes, curves, *, cell):
    """Draw curves, and what is below them; points where they are single.

    `curves`: (row, column) of the well -> (n, 2) array of x from -0.5 to 0.5, and y from 0.5, which is 0 nuclei, to
    -0.5; y is not a number at a gap.
    """
    lines, below = [], []
    for (row, column), points in curves.items():
        ends = np.flatnonzero(np.diff(np.isfinite(points[:, 1]), prepend=False, append=False))
        for first, end in ends.reshape(-1, 2):
            lines.append(CURVE_SIDE * points[first:end] + (column, row))
            bottom = np.full(end - first, row + CURVE_SIDE / 2)
            below.append(np.vstack([lines[-1], np.column_stack([lines[-1][:, 0], bottom])[::-1]]))
    axes.add_collection(PolyCollection(below, facecolors=SKY_BLUE, alpha=0.35, linewidths=0))
    axes.add_collection(LineCollection(lines, colors=BLUE, linewidths=np.clip(2 * cell, 0.7, 1.3)))
    single = np.reshape([line for line in lines if len(line) == 1], (-1, 2))
    axes.plot(*single.T, "o", color=BLUE, ms=np.clip(4 * cell, 1.5, 3), mew=0)


def _heatmaps(wells, values, *, across, title, diverging=False, extra_row=0, outlines=None):
    """Draw a heatmap for each item of {title: (values of the wells, unit)}, with one legend.

    `extra_row`: inches that are left below for another chart; `outlines` are by default those of `outlined`.
    """
    if wells.empty:
        return empty_picture(title, wells)
    height, width = plate_format(wells.Metadata_Well)
    with_numbers = across == 1 and width <= 24
    room = 4.4 if across > 1 else 10 if width > 12 else 8  # inches for a plate
    cell = min(room / width, 0.8)
    down = -(-len(values) // across)
    heights = [max(1.2, cell * height) + 0.8] * down + [extra_row] * bool(extra_row)
    breadth = max(across * (cell * width + 1.3), 7)
    figure = plt.figure(figsize=(breadth, sum(heights) + 0.8), layout="constrained")
    figure.suptitle(title)
    grid = figure.add_gridspec(len(heights), across, height_ratios=heights)
    marks, outlines = well_marks(wells, (height, width)), outlined(wells) if outlines is None else outlines
    for number, (name, (numbers, unit)) in enumerate(values.items()):
        axes = figure.add_subplot(grid[number // across, number % across])
        _heatmap(axes, wells.Metadata_Well, numbers, size=(height, width), cell=cell, unit=unit, diverging=diverging)
        _mark(axes, marks, outlines, cell=cell)
        if with_numbers:
            _write_numbers(axes, cell=cell)
        axes.set_title(name, fontsize=10)
    _explain_marks(figure)
    return figure


def _explain_marks(figure):
    """Write a legend of what `_mark` drew into the first chart."""
    handles, labels = figure.axes[0].get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, loc="outside lower center", ncols=min(4, len(handles)), fontsize=9)


def _heatmap(axes, wells, values, *, size, cell, unit, diverging):
    """Colour the wells by value, with letters and numbers as on the plate; `cell` is a well's width in inches."""
    grid = np.full(size, np.nan)
    for well, value in zip(wells, values, strict=True):
        grid[row_and_column(well)] = value
    known = grid[np.isfinite(grid)]
    limits = (known.min(), known.max()) if known.size else (0, 1)
    if diverging:
        limits = np.array([-1, 1]) * max(3, np.abs(known).max(initial=0))
    image = axes.imshow(np.ma.masked_invalid(grid), cmap="PuOr_r" if diverging else "viridis")
    image.set_clim(*limits)
    axes.set_facecolor("#e8e8e8")
    _name_wells(axes, size, cell=cell, colour="white")
    if known.size:
        bar = axes.figure.colorbar(image, ax=axes, shrink=0.9, pad=0.02, fraction=0.05)
        bar.set_label(unit, fontsize=9)
        bar.ax.tick_params(labelsize=8)


def _name_wells(axes, size, *, cell, colour):
    """Write the letters and numbers of the plate's rows and columns, and draw lines between the wells."""
    step = int(np.ceil(0.15 / cell))  # inches for a number of two digits
    font = min(9, max(6, 0.5 * cell * 72))
    axes.set_xticks(range(0, size[1], step), range(1, size[1] + 1, step), fontsize=font)
    axes.set_yticks(range(0, size[0], step), ROWS[: size[0] : step], fontsize=font)
    axes.tick_params(length=0, top=False, labeltop=True, bottom=False, labelbottom=False)
    axes.set_xticks(np.arange(size[1] + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(size[0] + 1) - 0.5, minor=True)
    axes.grid(which="minor", color=colour, linewidth=min(1, 3 * cell))
    axes.tick_params(which="minor", length=0)


def _write_numbers(axes, *, cell):
    """Write each value into its well, dark on light or light on dark."""
    image = axes.images[0]
    font = min(9, max(6, 0.25 * cell * 72))
    for (row, column), value in np.ndenumerate(image.get_array().filled(np.nan)):
        if np.isfinite(value):
            luminance = np.dot(image.cmap(image.norm(value))[:3], (0.299, 0.587, 0.114))
            colour = "black" if luminance > 0.5 else "white"
            text = axes.text(column, row, short(value), ha="center", va="center", fontsize=font, color=colour)
            text.set_in_layout(False)  # hundreds of texts, all inside the axes: measuring them takes seconds


def short(value: float) -> str:
    """Return a number in about five characters at most: 17.5, 171, 12345, 123k."""
    if abs(value) >= 99_999.5:
        return f"{value / 1000:.0f}k"
    is_whole = abs(value) >= 99.95 or value == round(value)
    return f"{value:z.0f}" if is_whole else f"{value:z.1f}"  # z: no minus zero


def well_marks(wells: pd.DataFrame, size: tuple[int, int]) -> dict[str, list[tuple[int, int]]]:
    """Find the wells without a value, and those whose value comes from only some of their fields.

    Parameters
    ----------
    wells : pandas.DataFrame
        wells.csv.
    size : (int, int)
        Rows and columns of the plate.

    Returns
    -------
    dict of str to list of (int, int)
        Label of the mark -> rows and columns.
    """
    numbers = dict(zip(wells.Metadata_Well.map(row_and_column), wells.index, strict=True))
    failed, total = wells.Fields_Failed, wells.Fields_Total
    return {
        "no image": [position for position in np.ndindex(size) if position not in numbers],
        "every field failed": [position for position, well in numbers.items() if failed[well] == total[well]],
        "some fields failed": [position for position, well in numbers.items() if 0 < failed[well] < total[well]],
    }


def outlined(wells: pd.DataFrame) -> dict[str, list[tuple[int, int]]]:
    """Choose the wells to outline: treatments if they are few, or else controls.

    Parameters
    ----------
    wells : pandas.DataFrame
        wells.csv.

    Returns
    -------
    dict of str to list of (int, int)
        Label -> rows and columns.
    """
    treatment = platemaps.treatment_column(wells.columns)
    names = sorted(set(wells[treatment]) - {""}) if treatment else []
    if 1 < len(names) <= len(OUTLINE_COLOURS):
        return {
            name: [row_and_column(well) for well in wells.Metadata_Well[wells[treatment] == name]] for name in names
        }
    return _control_positions(wells)


def _control_positions(wells):
    """Return label -> positions of the controls; empty if the platemap names none."""
    control = platemaps.control_column(wells.columns)
    if control is None:
        return {}
    roles = wells[control].map(platemaps.control_of)
    groups = {f"{role} control": wells.Metadata_Well[roles == role] for role in platemaps.CONTROLS}
    return {label: [row_and_column(well) for well in members] for label, members in groups.items() if len(members)}


def _mark(axes, marks, outlines, *, cell):
    """Draw the marks of `well_marks` and the squares of `outlined`, with labels for a legend."""
    width = np.clip(3 * cell, 0.8, 2)
    for (label, positions), colour in zip(outlines.items(), OUTLINE_COLOURS, strict=False):
        corners = np.array([[-0.4, -0.4], [-0.4, 0.4], [0.4, 0.4], [0.4, -0.4]])
        squares = [corners + (column, row) for row, column in positions]
        rim = [withStroke(linewidth=2 * width, foreground="white")]
        axes.add_collection(
            PolyCollection(
                squares, facecolors="none", edgecolors=colour, linewidths=width, path_effects=rim, label=label
            )
        )
    looks = {
        "no image": {"marker": ".", "color": GREY, "size": 0.2, "x": 0, "y": 0},
        "every field failed": {"marker": "x", "color": "black", "size": 0.45, "x": 0, "y": 0},
        "some fields failed": {"marker": "v", "color": VERMILION, "size": 0.25, "x": 0.28, "y": -0.28},
    }
    for label, positions in marks.items():
        if positions:
            look, (rows, columns) = looks[label], np.transpose(positions)
            side = np.clip(look["size"] * cell * 72, 4, 16)  # points; a legend has room for no more
            axes.scatter(
                *(columns + look["x"], rows + look["y"]),
                s=side**2,
                marker=look["marker"],
                color=look["color"],
                linewidths=max(0.8, 0.1 * side) if look["marker"] == "x" else 0,
                label=f"{label} ({counted(len(positions), 'well')})",
            )
