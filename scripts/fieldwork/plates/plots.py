"""Pictures of a plate, drawn from its tables."""

import numpy as np
import pandas as pd
from matplotlib.collections import PolyCollection
from matplotlib.patheffects import withStroke
from matplotlib.ticker import LogLocator, NullLocator

from fieldwork.figures import counted, plt
from fieldwork.inputs import platemaps
from fieldwork.plates import tables
from fieldwork.wells import ROWS, place_of, plate_format

QUALITY = {  # title, unit
    "PowerLogLogSlope": ("focus: slope of the power spectrum\n(lower where blurred)", "log power per log radius"),
    "PercentMaximal": ("pixels at the maximum\n(more where saturated)", "%"),
    "MeanIntensity": ("mean intensity", "grey levels"),
    "MedianIntensity": ("median intensity", "grey levels"),
    "StdIntensity": ("standard deviation of intensity", "grey levels"),
    "MinIntensity": ("lowest intensity", "grey levels"),
    "MaxIntensity": ("highest intensity", "grey levels"),
}
COUNT = "nuclei per field, mean of the well"
# Okabe and Ito: safe for colour-blind readers. In a heatmap each has a white rim, so that it shows on any colour.
OUTLINES = ("#d55e00", "#56b4e9", "#009e73", "#cc79a7", "#000000", "#e69f00", "#0072b2", "#f0e442")
CONTROLS = {"positive": "#d55e00", "negative": "#56b4e9", "sample": "#999999"}
RING = "#ff00ff"  # on grey, also for colour-blind readers
PANEL = 2.8  # inches, width of a field
MOST_GROUPS = 40  # of treatments in one chart; a library of compounds has hundreds
MOST_COMPOUNDS = 24  # with a dose-response each


def nuclei(wells, *, plate):
    """Draw the nuclei of each well where it is on the plate: the mean of its good fields, and their sum.

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


def quality(wells, fields, *, plate):
    """Draw each measure of image quality where it is on the plate: the median of the well's good fields.

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
    values = {QUALITY[name][0]: (medians[column], QUALITY[name][1]) for column, name in tables.QUALITY.items()}
    return _heatmaps(wells, values, across=3, title=f"plate {plate}: image quality (medians of good fields)")


def controls(wells, *, plate):
    """Draw how far each well is from the negative controls, and the counts of controls and samples.

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
    counted = " and ".join(f"{(good & (roles == role)).sum()} {role}" for role in platemaps.CONTROLS)
    said = f"{z_prime[0]:.2f}" if len(z_prime) else "undefined"
    values = {
        "robust z of nuclei per field": (wells.RobustZ_Count_Nuclei, "1.4826 MADs from the negative controls' median")
    }
    title = f"plate {plate}: Z' = {said} ({counted} control wells)"
    if wells.RobustZ_Count_Nuclei.isna().all():
        title += "\nrobust z undefined: it takes two negative controls whose counts differ"
    figure = _heatmaps(wells, values, across=1, title=title, diverging=True, extra_row=2, outlines=_controls(wells))
    if len(wells):
        groups = {role: wells.Mean_Count_Nuclei[good & (roles == role)] for role in CONTROLS}
        axes = figure.add_subplot(figure.axes[0].get_gridspec()[-1, :])
        _boxes(axes, groups, quantity=COUNT, noun="well", colours=CONTROLS)
    return figure


def fields_by_treatment(wells, fields, *, plate):
    """Draw the nuclei of each field, in a row for each treatment.

    The groups are the first of these that there is: the values of the platemap's treatment column
    (`platemaps.TREATMENT_COLUMNS`), if they are at most `MOST_GROUPS`; positive and negative controls and samples; rows
    of the plate, or columns where all wells are in one row. Treatments are sorted by their medians.

    Parameters
    ----------
    wells, fields : pandas.DataFrame
        wells.csv and fields.csv.
    plate : str

    Returns
    -------
    matplotlib.figure.Figure
    """
    counted = fields[fields.Image_Status == "ok"]
    if counted.empty:
        return _nothing(f"plate {plate}: nuclei per field", wells)
    what, group_of = _grouping(wells)
    ours = counted.Metadata_Well.map(group_of)
    groups = {group: counted.Image_Count_Nuclei[ours == group] for group in dict.fromkeys(group_of.values())}
    groups = {group: counts for group, counts in groups.items() if len(counts)}
    if what not in ("row", "column"):
        groups = dict(sorted(groups.items(), key=lambda item: (-item[1].median(), item[0])))
    noun = "image" if {"Metadata_Timepoint", "Metadata_ZPlane"} & set(fields) else "field"
    figure, axes = plt.subplots(figsize=(9, 1.5 + 0.32 * len(groups)), layout="constrained")
    _boxes(axes, groups, quantity=f"nuclei per {noun}", noun=noun)
    axes.set_ylabel(what)
    axes.set_title(f"plate {plate}: nuclei per {noun} by {what}")
    return figure


def _grouping(wells):
    """Say by what the wells of a plate are grouped, and give each one's group, in the order of the plate."""
    treatment, control = platemaps.treatment_column(wells.columns), platemaps.control_column(wells.columns)
    if treatment and wells[treatment].nunique() <= MOST_GROUPS:
        named = wells[treatment].where(wells[treatment] != "", "(not in the platemap)")
        return treatment.removeprefix("Metadata_"), dict(zip(wells.Metadata_Well, named, strict=True))
    if control:
        return "control", dict(zip(wells.Metadata_Well, wells[control].map(platemaps.control_of), strict=True))
    rows = {well: well.rstrip("0123456789") for well in wells.Metadata_Well}
    if len(set(rows.values())) > 1:
        return "row", rows
    return "column", {well: str(place_of(well)[1] + 1) for well in wells.Metadata_Well}


def edge(wells, *, plate):
    """Draw the counts of the wells at the rim against those inside.

    The rim is the outermost rows and columns of the plate; where no well there has images, as on plates whose rim is
    left empty, that of the block of wells that have. Negative controls are compared apart too.

    Parameters
    ----------
    wells : pandas.DataFrame
        wells.csv.
    plate : str

    Returns
    -------
    matplotlib.figure.Figure
    """
    counted = wells[wells.Mean_Count_Nuclei.notna()]
    if counted.empty:
        return _nothing(f"plate {plate}: edge effect", wells)
    where, rim = rim_of(counted.Metadata_Well)
    control = platemaps.control_column(wells.columns)
    alike = {"": np.full(len(rim), True)}
    if control:  # the only wells at the rim and inside that are surely treated alike
        alike[", negative controls"] = (counted[control].map(platemaps.control_of) == "negative").to_numpy()
    groups, notes = {}, []
    for suffix, ours in alike.items():
        pair = {f"rim{suffix}": counted.Mean_Count_Nuclei[rim & ours]}
        pair[f"inside{suffix}"] = counted.Mean_Count_Nuclei[~rim & ours]
        at_rim, inside = (counts.median() for counts in pair.values())
        if inside > 0 and at_rim == at_rim:
            relative = f"{at_rim / inside - 1:+.1%}".replace("-", "\N{MINUS SIGN}")
            notes.append(f"median of the rim{suffix}: {relative} against inside")
        groups |= {name: counts for name, counts in pair.items() if len(counts)}
    notes = notes or ["no wells to compare"]
    figure, axes = plt.subplots(figsize=(9, 1.7 + 0.6 * len(groups)), layout="constrained")
    _boxes(axes, groups, quantity=COUNT, noun="well", medians=True)
    axes.set_title("\n".join([f"plate {plate}: edge effect", *notes, f"rim: {where}"]), fontsize=10)
    return figure


def rim_of(wells):
    """Tell which wells are at the rim; of the plate, or of the block of these wells where they do not reach all sides.

    Wells that do not may be of a smaller plate than `plate_format` says.

    Parameters
    ----------
    wells : iterable of str

    Returns
    -------
    where : str
    rim : (n,) bool array
    """
    places = [place_of(well) for well in wells]
    height, width = plate_format(wells)
    ends = [{min(axis), max(axis)} for axis in zip(*places, strict=True)]
    where = "the outermost rows and columns of the plate"
    if ends != [{0, height - 1}, {0, width - 1}]:
        where = "of the block of wells with images, which does not reach all sides of the plate"
    return where, np.array([row in ends[0] or column in ends[1] for row, column in places])


def doses(wells, *, plate):
    """Draw nuclei against the dose, one chart for each compound: wells, means and standard deviations.

    Wells of dose 0 are in every chart, apart: they are the vehicle's, but for positive controls. Of many compounds,
    those with the most doses.

    Parameters
    ----------
    wells : pandas.DataFrame
        wells.csv of a plate whose platemap has a column of doses.
    plate : str

    Returns
    -------
    matplotlib.figure.Figure
    """
    column, treatment = platemaps.dose_column(wells.columns), platemaps.treatment_column(wells.columns)
    dose, count = pd.to_numeric(wells[column], errors="coerce"), wells.Mean_Count_Nuclei
    given = count.notna() & np.isfinite(dose) & (dose >= 0)
    control = platemaps.control_column(wells.columns)
    vehicle = wells[control].map(platemaps.control_of) != "positive" if control else given
    treated, zero = wells[given & (dose > 0)], count[given & (dose == 0) & vehicle]
    if treated.empty:
        return _nothing(f"plate {plate}: dose-response", wells, "no well has a dose above 0 and a count")
    compounds = treated[treatment] if treatment else pd.Series("all wells", treated.index)
    tested = dose[treated.index].groupby(compounds).nunique().sort_index().sort_values(ascending=False, kind="stable")
    shown = sorted(tested.index[:MOST_COMPOUNDS])
    across = min(4, int(np.ceil(np.sqrt(len(shown)))))
    down = -(-len(shown) // across)
    size = (8, 4.5) if len(shown) == 1 else (max(8, 3.4 * across), 2.7 * down + 1)
    figure, grid = plt.subplots(
        down, across, figsize=size, sharex=True, sharey=True, squeeze=False, layout="constrained"
    )
    lowest, highest = dose[treated.index].min(), dose[treated.index].max()
    apart = lowest / max(3, (highest / lowest) ** 0.15)
    ticks = LogLocator(subs=(1,) if highest >= 10 * lowest else (1, 2, 5)).tick_values(lowest, highest)
    ticks = [tick for tick in ticks if lowest <= tick <= highest] or [lowest, highest]
    for axes, compound in zip(grid.flat, shown, strict=False):
        _summed_up(axes, np.full(len(zero), apart), zero, colour="#777777", label="dose 0")
        if len(zero):
            axes.axhline(zero.mean(), color="#777777", linestyle=":", linewidth=1)
            axes.axvline(np.sqrt(apart * lowest), color="#cccccc", linewidth=1)
        ours = compounds.index[compounds == compound]
        _summed_up(axes, dose[ours], count[ours], colour="#0072b2", label="wells, mean and SD")
        axes.set_xscale("log")
        axes.set_title(compound or "(no name)", fontsize=10)
        axes.set_xticks([apart, *ticks] if len(zero) else ticks, ["0", *map("{:g}".format, ticks)][not len(zero) :])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.tick_params(labelbottom=True)
    for axes in grid.flat[len(shown) :]:
        axes.axis("off")
    grid[0, 0].set_ylim(bottom=0)
    grid[0, 0].legend(fontsize=8, handletextpad=0.3)
    name, unit = column.removeprefix("Metadata_"), platemaps.unit_of(column)
    figure.supxlabel(f"dose, {unit}" if unit else f"dose ({name})", fontsize=10)
    figure.supylabel("nuclei per field (means of wells)", fontsize=10)
    notes = [f"plate {plate}: nuclei against dose"]
    if len(tested) > len(shown):
        notes.append(f"{len(shown)} of {len(tested)} compounds, those with the most doses")
    if left_out := len(wells) - given.sum():
        notes.append(f"without a count or a dose, left out: {counted(left_out, 'well')}")
    if left_out := (given & (dose == 0) & ~vehicle).sum():
        notes.append(f"positive controls of dose 0, left out: {counted(left_out, 'well')}")
    figure.suptitle("\n".join(notes), fontsize=11)
    return figure


def _summed_up(axes, x, y, *, colour, label):
    """Draw points, and means and sample standard deviations of those at one x, joined by a line."""
    by_dose = pd.Series(np.asarray(y)).groupby(np.asarray(x))
    mean, deviation = by_dose.mean(), by_dose.std().fillna(0)
    axes.plot(x, y, "o", ms=3.5, color=colour, alpha=0.5, mew=0)
    if len(mean):
        axes.errorbar(
            mean.index, mean, yerr=deviation, fmt="s-", ms=5, color=colour, capsize=3, linewidth=1.2, label=label
        )


def gallery(fields, *, title, radius):
    """Draw fields in a grid, with their nuclei marked.

    Parameters
    ----------
    fields : list of (str, (rows, columns) array, (n, 2) array)
        Title, image, and row and column of its nuclei; in the order in which they are drawn.
    title : str
    radius : float
        Of the ring around a nucleus, in px of the image; drawn larger where it would be too small to see.

    Returns
    -------
    matplotlib.figure.Figure
    """
    width = max(1, int(np.ceil(np.sqrt(len(fields)))))
    height = max(1, int(np.ceil(len(fields) / width)))
    # As high as the fields are with their titles, so that there are no gaps between them.
    aspect = np.median([image.shape[0] / image.shape[1] for _, image, _ in fields] or [1])
    size = (PANEL * width, (PANEL * min(aspect, 2) + 0.4) * height + 0.4)
    figure, grid = plt.subplots(height, width, figsize=size, squeeze=False, layout="constrained")
    figure.suptitle(title)
    for axes in grid.flat:
        axes.axis("off")
    # One contrast for all, so that brightness can be compared; every 16th pixel is enough to find it.
    sample = np.concatenate([image[::4, ::4].ravel() for _, image, _ in fields] or [np.zeros(1)])
    low, high = np.percentile(sample, [1, 99.8])
    for axes, (name, image, coordinates) in zip(grid.flat, fields, strict=False):
        axes.imshow(image, cmap="gray", vmin=low, vmax=max(high, low + 1e-9))
        across = 2 * radius * 72 * PANEL / image.shape[1]  # points
        axes.plot(coordinates[:, 1], coordinates[:, 0], "o", mfc="none", mec=RING, ms=max(across, 5), mew=1.1)
        axes.set_title(name, fontsize=9)
    return figure


def _heatmaps(wells, values, *, across, title, diverging=False, extra_row=0, outlines=None):
    """Draw a plate for each of {title: (values of the wells, unit)}, with one legend.

    `extra_row` inches below are left for another chart; `outlines` are by default those of `outlined`.
    """
    if wells.empty:
        return _nothing(title, wells)
    height, width = plate_format(wells.Metadata_Well)
    numbers = across == 1 and width <= 24
    room = 4.4 if across > 1 else 10 if width > 12 else 8  # inches for a plate
    cell = min(room / width, 0.8)
    down = -(-len(values) // across)
    heights = [max(1.2, cell * height) + 0.8] * down + [extra_row] * bool(extra_row)
    breadth = max(across * (cell * width + 1.3), 7)
    figure = plt.figure(figsize=(breadth, sum(heights) + 0.8), layout="constrained")
    figure.suptitle(title)
    grid = figure.add_gridspec(len(heights), across, height_ratios=heights)
    marks, outlines = well_marks(wells, (height, width)), outlined(wells) if outlines is None else outlines
    for number, (name, (numbered, unit)) in enumerate(values.items()):
        axes = figure.add_subplot(grid[number // across, number % across])
        _heatmap(axes, wells.Metadata_Well, numbered, size=(height, width), cell=cell, unit=unit, diverging=diverging)
        _mark(axes, marks, outlines, cell=cell)
        if numbers:
            _write(axes, cell=cell)
        axes.set_title(name, fontsize=10)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, loc="outside lower center", ncols=min(4, len(handles)), fontsize=9)
    return figure


def _heatmap(axes, wells, values, *, size, cell, unit, diverging):
    """Colour the wells by value, with letters and numbers as on the plate."""
    shown = np.full(size, np.nan)
    for well, value in zip(wells, values, strict=True):
        shown[place_of(well)] = value
    known = shown[np.isfinite(shown)]
    limits = (known.min(), known.max()) if known.size else (0, 1)
    if diverging:
        limits = np.array([-1, 1]) * max(3, np.abs(known).max(initial=0))
    image = axes.imshow(np.ma.masked_invalid(shown), cmap="PuOr_r" if diverging else "viridis")
    image.set_clim(*limits)
    axes.set_facecolor("#e8e8e8")
    step = int(np.ceil(0.15 / cell))  # inches for a number of two digits
    font = min(9, max(6, 0.5 * cell * 72))
    axes.set_xticks(range(0, size[1], step), range(1, size[1] + 1, step), fontsize=font)
    axes.set_yticks(range(0, size[0], step), ROWS[: size[0] : step], fontsize=font)
    axes.tick_params(length=0, top=False, labeltop=True, bottom=False, labelbottom=False)
    axes.set_xticks(np.arange(size[1] + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(size[0] + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=min(1, 3 * cell))
    axes.tick_params(which="minor", length=0)
    if known.size:
        bar = axes.figure.colorbar(image, ax=axes, shrink=0.9, pad=0.02, fraction=0.05)
        bar.set_label(unit, fontsize=9)
        bar.ax.tick_params(labelsize=8)


def _write(axes, *, cell):
    """Write each value into its well, dark on light or light on dark."""
    image = axes.images[0]
    font = min(9, max(6, 0.25 * cell * 72))
    for (row, column), value in np.ndenumerate(image.get_array().filled(np.nan)):
        if np.isfinite(value):
            luminance = np.dot(image.cmap(image.norm(value))[:3], (0.299, 0.587, 0.114))
            colour = "black" if luminance > 0.5 else "white"
            text = axes.text(column, row, short(value), ha="center", va="center", fontsize=font, color=colour)
            text.set_in_layout(False)  # hundreds of them, all inside; to measure each takes seconds


def short(value):
    """Write a number in at most five characters or so: 17.5, 171, 12345, 123k."""
    if abs(value) >= 99_999.5:
        return f"{value / 1000:.0f}k"
    whole = abs(value) >= 99.95 or value == round(value)
    return f"{value:z.0f}" if whole else f"{value:z.1f}"  # z: no minus zero


def well_marks(wells, size):
    """Sort out the wells without a value, or with one of only some of their fields.

    Parameters
    ----------
    wells : pandas.DataFrame
        wells.csv.
    size : (int, int)
        Rows and columns of the plate.

    Returns
    -------
    dict
        What is wrong -> list of (row, column).
    """
    places = dict(zip(wells.Metadata_Well.map(place_of), wells.index, strict=True))
    failed = wells.Fields_Failed
    return {
        "no image": [there for there in np.ndindex(size) if there not in places],
        "every field failed": [there for there, row in places.items() if failed[row] == wells.Fields_Total[row]],
        "some fields failed": [there for there, row in places.items() if 0 < failed[row] < wells.Fields_Total[row]],
    }


def outlined(wells):
    """Choose the wells to outline: treatments where there are few, or else controls.

    Parameters
    ----------
    wells : pandas.DataFrame
        wells.csv.

    Returns
    -------
    dict
        Label -> list of (row, column).
    """
    treatment = platemaps.treatment_column(wells.columns)
    names = sorted(set(wells[treatment]) - {""}) if treatment else []
    if 1 < len(names) <= len(OUTLINES):
        return {name: [place_of(well) for well in wells.Metadata_Well[wells[treatment] == name]] for name in names}
    return _controls(wells)


def _controls(wells):
    """Give the places of the controls, under labels; nothing where the platemap names none."""
    control = platemaps.control_column(wells.columns)
    if control is None:
        return {}
    roles = wells[control].map(platemaps.control_of)
    groups = {f"{role} control": wells.Metadata_Well[roles == role] for role in platemaps.CONTROLS}
    return {label: [place_of(well) for well in ours] for label, ours in groups.items() if len(ours)}


def _mark(axes, marks, outlines, *, cell):
    """Draw the marks of `well_marks` and the squares of `outlined`, named for a legend."""
    width = np.clip(3 * cell, 0.8, 2)
    for (label, places), colour in zip(outlines.items(), OUTLINES, strict=False):
        corners = np.array([[-0.4, -0.4], [-0.4, 0.4], [0.4, 0.4], [0.4, -0.4]])
        squares = [corners + (column, row) for row, column in places]
        rim = [withStroke(linewidth=2 * width, foreground="white")]
        axes.add_collection(
            PolyCollection(
                squares, facecolors="none", edgecolors=colour, linewidths=width, path_effects=rim, label=label
            )
        )
    looks = {
        "no image": {"marker": ".", "color": "#999999", "size": 0.2, "x": 0, "y": 0},
        "every field failed": {"marker": "x", "color": "black", "size": 0.45, "x": 0, "y": 0},
        "some fields failed": {"marker": "v", "color": "#d55e00", "size": 0.25, "x": 0.28, "y": -0.28},
    }
    for label, places in marks.items():
        if places:
            look, (rows, columns) = looks[label], np.transpose(places)
            side = np.clip(look["size"] * cell * 72, 4, 16)  # points; a legend has room for no more
            axes.scatter(
                *(columns + look["x"], rows + look["y"]),
                s=side**2,
                marker=look["marker"],
                color=look["color"],
                linewidths=max(0.8, 0.1 * side) if look["marker"] == "x" else 0,
                label=f"{label} ({counted(len(places), 'well')})",
            )


def _boxes(axes, groups, *, quantity, noun, colours=None, medians=False):
    """Draw a box and points for each group, from top to bottom, with its size."""
    shift = np.random.default_rng(0)  # of the points, so that they do not hide each other
    names = list(groups)
    axes.boxplot(
        list(groups.values()),
        positions=range(len(groups)),
        orientation="horizontal",
        widths=0.7,
        showfliers=False,
        medianprops={"color": "black", "linewidth": 1.5},
        manage_ticks=False,
    )
    for number, (name, counts) in enumerate(groups.items()):
        height = number + shift.uniform(-0.22, 0.22, len(counts))
        colour = (colours or {}).get(name, "#0072b2")
        axes.plot(counts, height, "o", ms=3.5, alpha=0.6, mew=0, color=colour, zorder=1)
    labels = [
        f"{name if len(name) <= 40 else name[:39] + '…'}  (n = {len(groups[name])}"
        + (f", median {groups[name].median():.4g})" if medians and len(groups[name]) else ")")
        for name in names
    ]
    axes.set_yticks(range(len(groups)), labels, fontsize=9)
    axes.set_ylim(len(groups) - 0.4, -0.6)
    axes.set_xlim(left=min(0, axes.get_xlim()[0]))
    axes.grid(axis="x", color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.set_xlabel(f"{quantity}; n: {noun}s, box: quartiles")


def _nothing(title, wells, reason=None):
    """Say in a picture why there is nothing in it."""
    figure, axes = plt.subplots(figsize=(7, 1.5), layout="constrained")
    axes.axis("off")
    axes.set_title(title)
    reason = reason or ("no field could be read" if len(wells) else "the plate has no image")
    axes.text(0.5, 0.5, reason, ha="center", va="center", transform=axes.transAxes)
    return figure
