"""Charts of a plate, drawn from its tables, and galleries of its fields."""

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
from matplotlib.ticker import LogLocator, NullLocator

from fieldwork.detection.plots import RING_COLOUR, draw_outlines, outline_width
from fieldwork.figures import BLUE, counted, plt, without_chart
from fieldwork.inputs import platemaps
from fieldwork.wells import plate_format, row_and_column

MEAN_COUNT = "nuclei per field, mean of the well"
DOSE_0_COLOUR = "#777777"
FIELD_WIDTH_IN = 2.8  # of a field in a gallery, in inches
MOST_GROUPS = 40  # treatments in one chart; a library of compounds has hundreds
MOST_COMPOUNDS = 24  # charts of dose-response

Nuclei = np.ndarray | list[np.ndarray]  # of a field: centres, or outlines


def fields_by_treatment(wells: pd.DataFrame, fields: pd.DataFrame, *, plate: str) -> plt.Figure:
    """Draw the nuclei of each field, in a row for each treatment.

    The groups are the first of these that exist: the values of the platemap's treatment column
    (`platemaps.TREATMENT_COLUMNS`), if they are at most `MOST_GROUPS`; positive and negative controls and samples; rows
    of the plate, or columns if all wells are in one row. Treatments are sorted by their medians.

    Parameters
    ----------
    wells, fields : pandas.DataFrame
        wells.csv and fields.csv.
    plate : str

    Returns
    -------
    matplotlib.figure.Figure
    """
    good = fields[fields.Image_Status == "ok"]
    if good.empty:
        return empty_picture(f"plate {plate}: nuclei per field", wells)
    grouping, group_of = _grouping(wells)
    group_of_field = good.Metadata_Well.map(group_of)
    groups = {group: good.Image_Count_Nuclei[group_of_field == group] for group in dict.fromkeys(group_of.values())}
    groups = {group: counts for group, counts in groups.items() if len(counts)}
    if grouping not in ("row", "column"):
        groups = dict(sorted(groups.items(), key=lambda item: (-item[1].median(), item[0])))
    noun = "image" if {"Metadata_Timepoint", "Metadata_ZPlane"} & set(fields) else "field"
    figure, axes = plt.subplots(figsize=(9, 1.5 + 0.32 * len(groups)), layout="constrained")
    draw_boxes(axes, groups, quantity=f"nuclei per {noun}", noun=noun)
    axes.set_ylabel(grouping)
    axes.set_title(f"plate {plate}: nuclei per {noun} by {grouping}")
    return figure


def _grouping(wells):
    """Return the name of the property that groups a plate's wells, and well -> group, in the order of the plate."""
    treatment, control = platemaps.treatment_column(wells.columns), platemaps.control_column(wells.columns)
    if treatment and wells[treatment].nunique() <= MOST_GROUPS:
        named = wells[treatment].where(wells[treatment] != "", "(not in the platemap)")
        return treatment.removeprefix("Metadata_"), dict(zip(wells.Metadata_Well, named, strict=True))
    if control:
        return "control", dict(zip(wells.Metadata_Well, wells[control].map(platemaps.control_of), strict=True))
    rows = {well: well.rstrip("0123456789") for well in wells.Metadata_Well}
    if len(set(rows.values())) > 1:
        return "row", rows
    return "column", {well: str(row_and_column(well)[1] + 1) for well in wells.Metadata_Well}


def edge(wells: pd.DataFrame, *, plate: str) -> plt.Figure:
    """Draw the counts of the wells at the rim against those inside, and the same for the negative controls alone.

    The rim is the outermost rows and columns of the plate, or `rim_of` the wells that have images if the plate's own
    rim is left empty.

    Parameters
    ----------
    wells : pandas.DataFrame
        wells.csv.
    plate : str

    Returns
    -------
    matplotlib.figure.Figure
    """
    good = wells[wells.Mean_Count_Nuclei.notna()]
    if good.empty:
        return empty_picture(f"plate {plate}: edge effect", wells)
    definition, at_rim = rim_of(good.Metadata_Well)
    control = platemaps.control_column(wells.columns)
    subsets = {"": np.full(len(at_rim), True)}
    if control:  # only these are surely treated alike at the rim and inside
        subsets[", negative controls"] = (good[control].map(platemaps.control_of) == "negative").to_numpy()
    groups, notes = {}, []
    for suffix, subset in subsets.items():
        pair = {f"rim{suffix}": good.Mean_Count_Nuclei[at_rim & subset]}
        pair[f"inside{suffix}"] = good.Mean_Count_Nuclei[~at_rim & subset]
        rim, inside = (counts.median() for counts in pair.values())
        if inside > 0 and rim == rim:
            relative = f"{rim / inside - 1:+.1%}".replace("-", "\N{MINUS SIGN}")
            notes.append(f"median of the rim{suffix}: {relative} against inside")
        groups |= {name: counts for name, counts in pair.items() if len(counts)}
    notes = notes or ["no wells to compare"]
    figure, axes = plt.subplots(figsize=(9, 1.7 + 0.6 * len(groups)), layout="constrained")
    draw_boxes(axes, groups, quantity=MEAN_COUNT, noun="well", medians=True)
    axes.set_title("\n".join([f"plate {plate}: edge effect", *notes, f"rim: {definition}"]), fontsize=10)
    return figure


def rim_of(wells: Iterable[str]) -> tuple[str, np.ndarray]:
    """Find the wells at the rim of the plate, or of the block of these wells if they do not reach all sides.

    Such a block may be a smaller plate than `plate_format` assumes.

    Parameters
    ----------
    wells : iterable of str

    Returns
    -------
    definition : str
        Definition of the rim, for the title of a chart.
    at_rim : (n,) bool array
    """
    positions = [row_and_column(well) for well in wells]
    height, width = plate_format(wells)
    ends = [{min(axis), max(axis)} for axis in zip(*positions, strict=True)]
    definition = "the outermost rows and columns of the plate"
    if ends != [{0, height - 1}, {0, width - 1}]:
        definition = "of the block of wells with images, which does not reach all sides of the plate"
    return definition, np.array([row in ends[0] or column in ends[1] for row, column in positions])


def doses(wells: pd.DataFrame, *, plate: str) -> plt.Figure:
    """Draw nuclei against the dose, a chart for each compound: wells, means and standard deviations.

    Wells of dose 0 stand at the left of every chart: they are the vehicle's, unless they are positive controls. Of more
    than `MOST_COMPOUNDS` compounds, those with the most doses are drawn.

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
    known = count.notna() & np.isfinite(dose) & (dose >= 0)
    control = platemaps.control_column(wells.columns)
    vehicle = wells[control].map(platemaps.control_of) != "positive" if control else known
    treated, zero = wells[known & (dose > 0)], count[known & (dose == 0) & vehicle]
    if treated.empty:
        return empty_picture(f"plate {plate}: dose-response", wells, "no well has a dose above 0 and a count")
    compounds = treated[treatment] if treatment else pd.Series("all wells", treated.index)
    tested = dose[treated.index].groupby(compounds).nunique().sort_index().sort_values(ascending=False, kind="stable")
    drawn = sorted(tested.index[:MOST_COMPOUNDS])
    figure, grid = _grid_of_compounds(len(drawn))
    doses_of_all = dose[treated.index]
    for axes, compound in zip(grid.flat, drawn, strict=False):
        members = compounds.index[compounds == compound]
        _dose_response(axes, dose[members], count[members], zero, span=(doses_of_all.min(), doses_of_all.max()))
        axes.set_title(compound or "(no name)", fontsize=10)
    for axes in grid.flat[len(drawn) :]:
        axes.axis("off")
    grid[0, 0].set_ylim(bottom=0)
    grid[0, 0].legend(fontsize=8, handletextpad=0.3)
    name, unit = column.removeprefix("Metadata_"), platemaps.unit_of(column)
    figure.supxlabel(f"dose, {unit}" if unit else f"dose ({name})", fontsize=10)
    figure.supylabel("nuclei per field (means of wells)", fontsize=10)
    notes = [f"plate {plate}: nuclei against dose"]
    if len(tested) > len(drawn):
        notes.append(f"{len(drawn)} of {len(tested)} compounds, those with the most doses")
    if left_out := len(wells) - known.sum():
        notes.append(f"without a count or a dose, left out: {counted(left_out, 'well')}")
    if left_out := (known & (dose == 0) & ~vehicle).sum():
        notes.append(f"positive controls of dose 0, left out: {counted(left_out, 'well')}")
    figure.suptitle("\n".join(notes), fontsize=11)
    return figure


def _grid_of_compounds(number):
    """Create a figure with a nearly square grid of charts, at most four in a row."""
    across = min(4, int(np.ceil(np.sqrt(number))))
    down = -(-number // across)
    size = (8, 4.5) if number == 1 else (max(8, 3.4 * across), 2.7 * down + 1)
    return plt.subplots(down, across, figsize=size, sharex=True, sharey=True, squeeze=False, layout="constrained")


def _dose_response(axes, dose, count, zero, *, span):
    """Draw one compound, and the counts of dose 0 (`zero`) at the left; `span`: lowest and highest dose of all."""
    lowest, highest = span
    zero_dose = lowest / max(3, (highest / lowest) ** 0.15)
    ticks = LogLocator(subs=(1,) if highest >= 10 * lowest else (1, 2, 5)).tick_values(lowest, highest)
    ticks = [tick for tick in ticks if lowest <= tick <= highest] or [lowest, highest]
    _points_and_means(axes, np.full(len(zero), zero_dose), zero, colour=DOSE_0_COLOUR, label="dose 0")
    if len(zero):
        axes.axhline(zero.mean(), color=DOSE_0_COLOUR, linestyle=":", linewidth=1)
        axes.axvline(np.sqrt(zero_dose * lowest), color="#cccccc", linewidth=1)
    _points_and_means(axes, dose, count, colour=BLUE, label="wells, mean and SD")
    axes.set_xscale("log")
    axes.set_xticks([zero_dose, *ticks] if len(zero) else ticks, ["0", *map("{:g}".format, ticks)][not len(zero) :])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.tick_params(labelbottom=True)


def _points_and_means(axes, x, y, *, colour, label):
    """Draw points, and their means and sample standard deviations at each x, joined by a line."""
    by_dose = pd.Series(np.asarray(y)).groupby(np.asarray(x))
    mean, deviation = by_dose.mean(), by_dose.std().fillna(0)
    axes.plot(x, y, "o", ms=3.5, color=colour, alpha=0.5, mew=0)
    if len(mean):
        axes.errorbar(
            mean.index, mean, yerr=deviation, fmt="s-", ms=5, color=colour, capsize=3, linewidth=1.2, label=label
        )


def gallery(fields: Sequence[tuple[str, np.ndarray, Nuclei]], *, title: str, radius: float) -> plt.Figure:
    """Draw fields in a grid, with their nuclei marked: outlines, or rings around centres.

    Parameters
    ----------
    fields : list of (str, (rows, columns) array, (n, 2) array or list of (n, 2) arrays)
        Title, image, and its nuclei: row and column of their centres, or their `label_images.outlines`; drawn in this
        order.
    title : str
    radius : float
        Of the ring around a nucleus, in px of the image; drawn larger if it would be too small to see.

    Returns
    -------
    matplotlib.figure.Figure
    """
    width = max(1, int(np.ceil(np.sqrt(len(fields)))))
    height = max(1, int(np.ceil(len(fields) / width)))
    # As high as the fields and their titles, so that no gaps are between them.
    aspect = np.median([image.shape[0] / image.shape[1] for _, image, _ in fields] or [1])
    size = (FIELD_WIDTH_IN * width, (FIELD_WIDTH_IN * min(aspect, 2) + 0.4) * height + 0.4)
    figure, grid = plt.subplots(height, width, figsize=size, squeeze=False, layout="constrained")
    figure.suptitle(title)
    for axes in grid.flat:
        axes.axis("off")
    # One contrast for all, so that brightness can be compared; every 16th pixel is enough to find it.
    sample = np.concatenate([image[::4, ::4].ravel() for _, image, _ in fields] or [np.zeros(1)])
    low, high = np.percentile(sample, [1, 99.8])
    for axes, (name, image, nuclei) in zip(grid.flat, fields, strict=False):
        axes.imshow(image, cmap="gray", vmin=low, vmax=max(high, low + 1e-9))
        px = 72 * FIELD_WIDTH_IN / image.shape[1]  # points
        if isinstance(nuclei, list):
            draw_outlines(axes, nuclei, width=outline_width(nuclei, points_per_px=px))
        else:
            rings = {"mfc": "none", "mec": RING_COLOUR, "ms": max(2 * radius * px, 5), "mew": 1.1}
            axes.plot(nuclei[:, 1], nuclei[:, 0], "o", **rings)
        axes.set_title(name, fontsize=9)
    return figure


def draw_boxes(
    axes: plt.Axes,
    groups: dict[str, pd.Series],
    *,
    quantity: str,
    noun: str,
    colours: dict[str, str] | None = None,
    medians: bool = False,
) -> None:
    """Draw a box and points for each group, from top to bottom, labelled with the group's size.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
    groups : dict of str to pandas.Series
        Name -> values.
    quantity, noun : str
        Names of the values, and of the things that have them (``field``).
    colours : dict of str to str, optional
        Name -> colour of the points; blue for the others.
    medians : bool
        Write each group's median beside its size.
    """
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
        colour = (colours or {}).get(name, BLUE)
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


def empty_picture(title: str, wells: pd.DataFrame, reason: str | None = None) -> plt.Figure:
    """Draw a title and a reason in place of a chart; by default, that the plate has no image or no good one."""
    return without_chart(title, reason or ("no field could be read" if len(wells) else "the plate has no image"))
