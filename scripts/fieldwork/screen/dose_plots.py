"""Dose-response curves of a screen, with the wells behind them and the interval of the EC50."""

import math
import textwrap

import numpy as np
import pandas as pd
from matplotlib.ticker import FixedLocator, NullLocator

from fieldwork.figures import BLUE, GREY, VERMILION, counted, plt, without_chart
from fieldwork.screen.controls import reference_of
from fieldwork.screen.curves import response
from fieldwork.screen.doses import scale_of
from fieldwork.screen.labels import amount, broken, cut, interval
from fieldwork.screen.wells import is_treated

MOST_TREATMENTS, MOST_READOUTS, MOST_ACROSS = 24, 3, 6
CHART_IN = (2.55, 2.25)  # with its margins
MARGINS_IN = (0.75, 0.95)  # left of a chart; above and below it
SERIES = ["Batch", "Treatment", "Unit"]
CURVE_POINTS = 100
NARROW_CHARACTERS = 45  # of a line of the title, for each chart across


def doses(wells: pd.DataFrame, curves: pd.DataFrame, hits: pd.DataFrame) -> plt.Figure:
    """Draw the wells of each treatment against the dose, the fitted curve, and the EC50 with its 95 % interval.

    Parameters
    ----------
    wells, curves, hits : pandas.DataFrame
        wells.parquet, doses.csv and hits.csv of a screen.

    Returns
    -------
    matplotlib.figure.Figure
        Of the `MOST_TREATMENTS` treatments with the strongest effects, in the `MOST_READOUTS` readouts with the most
        EC50s.
    """
    title = "dose-response"
    treated = wells[is_treated(wells) & ~wells["Excluded"].to_numpy(bool) & (wells["Dose"] > 0).to_numpy()]
    numbers = treated.groupby(SERIES)["Dose"].nunique()
    several = numbers[numbers > 1]
    if several.empty:
        reason = (
            "no treatment has more than one dose"
            if len(numbers)
            else "no well that is not excluded has a treatment and a dose"
        )
        return without_chart(title, reason)
    readouts = _readouts(curves)
    strengths = _strengths(hits, readouts)
    series = sorted(several.index, key=lambda key: (-strengths.get(key, 0.0), key))
    drawn = series[:MOST_TREATMENTS]
    across = len(readouts) * max(1, min(MOST_ACROSS // len(readouts), len(drawn)))
    down = -(-len(drawn) * len(readouts) // across)
    notes = [f"{title}: {counted(len(series), 'treatment')} with several doses"]
    if len(series) > len(drawn):
        notes[0] += f", the {len(drawn)} with the strongest effects"
    numbers_known = curves.groupby("Readout", sort=False)["EC50"].count()
    if (with_any := int((numbers_known > 0).sum())) > len(readouts):
        notes.append(f"{len(readouts)} of {with_any} readouts with an EC50, those with the most")
    if without := [name for name, number in numbers_known.items() if not number and name not in readouts]:
        notes += textwrap.wrap(f"no EC50: {', '.join(without)}", min(120, NARROW_CHARACTERS * across))
    if left_out := len(numbers) - len(several):
        notes.append(f"with one dose, not drawn: {counted(left_out, 'treatment')}")
    is_wide = across > 2
    figure, grid = _grid(down, across, lines=len(notes), legend_lines=1 if is_wide else 4)
    scales = {readout: scale_of(wells, readout) for readout in readouts}
    rows = curves.set_index([*SERIES, "Readout"], drop=False)
    charts = [(key, readout) for key in drawn for readout in readouts]
    plates, is_negative = wells["Metadata_Plate"].to_numpy(), reference_of(wells, wells["Role"])
    for axes, (key, readout) in zip(grid.flat, charts, strict=False):
        values = scales[readout].values
        members = treated.index[(treated[SERIES] == list(key)).all(axis=1)].to_numpy()
        controls = values[is_negative & np.isin(plates, plates[members])]
        chart = _Chart(axes, treated.loc[members, "Dose"].to_numpy(float), values[members], controls)
        chart.draw(rows.loc[(*key, readout)] if (*key, readout) in rows.index else None)
        chart.name(key, readout, is_percent=scales[readout].is_percent)
    for axes in grid.flat[len(charts) :]:
        axes.axis("off")
    _share_limits(grid.flat[: len(charts)], len(readouts))
    figure.suptitle("\n".join(notes), fontsize=11, y=1 - 0.08 / figure.get_figheight(), va="top")
    figure.legend(handles=_legend(), loc="lower center", ncols=4 if is_wide else 1, fontsize=9)
    return figure


def _grid(down, across, *, lines, legend_lines):
    """Create a figure with a grid of charts between a title and a legend of so many lines.

    It is laid out here: the constrained layout takes 10 s for 72 charts.
    """
    legend = 0.18 * (legend_lines - 1)  # in, beyond its first line
    width, height = CHART_IN[0] * across, CHART_IN[1] * down + 0.95 + 0.2 * lines + legend
    figure, grid = plt.subplots(down, across, figsize=(width, height), squeeze=False)
    chart_width, chart_height = 1 - MARGINS_IN[0] / CHART_IN[0], 1 - MARGINS_IN[1] / CHART_IN[1]
    figure.subplots_adjust(
        left=MARGINS_IN[0] / width,
        right=1,
        bottom=(0.4 + 0.45 + legend) / height,
        top=1 - (0.6 + 0.2 * lines) / height,
        wspace=1 / chart_width - 1,
        hspace=1 / chart_height - 1,
    )
    return figure, grid


def _readouts(curves):
    """Return the readouts with the most EC50s, in the order of the table; without any, the first."""
    order = list(curves["Readout"].unique())
    numbers = curves.groupby("Readout")["EC50"].count()
    chosen = sorted((name for name in order if numbers[name]), key=lambda name: -numbers[name])[:MOST_READOUTS]
    return sorted(chosen, key=order.index) or order[:1]


def _strengths(hits, readouts):
    """Return the largest effect of each treatment in some readouts, or the largest change where no effect is known."""
    sizes = hits.loc[hits["Readout"].isin(readouts), ["Effect", "Change"]].abs()
    largest = sizes.groupby([hits[name] for name in SERIES]).max()
    return largest["Effect"].fillna(largest["Change"]).fillna(0.0).to_dict()


class _Chart:
    """A chart of a treatment and readout: its wells, the negative controls, and the curve."""

    def __init__(self, axes, doses, values, controls):
        self.axes, self.doses, self.values = axes, doses, values
        self.controls = controls[np.isfinite(controls)]

    def draw(self, row):
        """Draw everything; `row` of doses.csv, or None."""
        if len(self.controls):
            low, middle, high = np.percentile(self.controls, [5, 50, 95])
            self.axes.axhspan(low, high, color="#e8e8e8", linewidth=0)
            self.axes.axhline(middle, color=GREY, linewidth=1)
        self.axes.plot(self.doses, self.values, "o", ms=3, mew=0, alpha=0.55, color=BLUE)
        means = pd.Series(self.values).groupby(self.doses).mean()
        self.axes.plot(means.index, means, "s", ms=3.8, mew=0, color=BLUE)
        self.axes.set_xscale("log")
        self.title = reason = "" if row is None else row["Reason"]
        if row is not None and math.isfinite(row["EC50"]):
            self._draw_curve(row)
            self.title = f"EC50 {interval(row)}" + f"\n{reason}" * bool(reason)

    def _draw_curve(self, row):
        known = self.doses[np.isfinite(self.values)]
        log_doses = np.linspace(*np.log10([known.min(), known.max()]), CURVE_POINTS)
        start, end = (row["Bottom"], row["Top"]) if row["Slope"] > 0 else (row["Top"], row["Bottom"])
        fitted = response(log_doses, math.log10(row["EC50"]), abs(row["Slope"]), start, end)
        self.axes.plot(10**log_doses, fitted, color=VERMILION, linewidth=1.4)
        ends = [
            bound if math.isfinite(bound) else limit
            for bound, limit in zip(
                (row["EC50_Low"], row["EC50_High"]), (self.doses.min() / 1.5, self.doses.max() * 1.5), strict=True
            )
        ]
        self.axes.axvspan(*ends, color=VERMILION, alpha=0.18, linewidth=0)
        self.axes.axvline(row["EC50"], color=VERMILION, linewidth=0.8, linestyle="--")

    def name(self, key, readout, *, is_percent):
        """Write what the chart is of, and its result."""
        batch, treatment, unit = key
        self.axes.set_title(
            f"{cut(treatment)}" + f", {cut(batch, 12)}" * bool(batch) + f"\n{self.title or ' '}", fontsize=8
        )
        self.axes.set_ylabel(broken(readout) + ("\n% of control" if is_percent else ""), fontsize=7)
        self.axes.set_xlabel(f"dose, {unit}" if unit else "dose", fontsize=7.5, labelpad=1)
        low, high = self.doses.min(), self.doses.max()
        decades = 10.0 ** np.arange(math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9) + 1)
        ticks = decades if len(decades) > 1 else np.array([low, high])
        ticks = ticks[:: -(-len(ticks) // 5)]
        self.axes.xaxis.set_major_locator(FixedLocator(ticks))
        self.axes.xaxis.set_minor_locator(NullLocator())
        self.axes.set_xticklabels([amount(float(tick), "") for tick in ticks])
        self.axes.set_xlim(low / 1.5, high * 1.5)
        self.axes.tick_params(labelsize=7.5, pad=1.5)


def _share_limits(charts, readouts):
    """Set the same limits for all charts of a readout, from 0 on where nothing is below."""
    charts = list(charts)
    for number in range(readouts):
        of_readout = charts[number::readouts]
        limits = np.array([axes.get_ylim() for axes in of_readout])
        drawn = [line.get_ydata() for axes in of_readout for line in axes.lines if len(line.get_ydata())]
        low = (
            limits[:, 0].min() if min(np.nanmin(y) for y in drawn if np.isfinite(np.asarray(y, float)).any()) < 0 else 0
        )
        for axes in of_readout:
            axes.set_ylim(low, limits[:, 1].max())


def _legend():
    """Return what the legend explains."""
    return [
        plt.Line2D([], [], linestyle="none", marker="o", ms=4, color=BLUE, label="well; square: mean"),
        plt.Line2D([], [], color=VERMILION, linewidth=1.4, label="fitted curve"),
        plt.Rectangle((0, 0), 1, 1, color=VERMILION, alpha=0.18, label="EC50, 95 % interval"),
        plt.Rectangle((0, 0), 1, 1, color="#dddddd", label="negative controls, 5 to 95 %; line: median"),
    ]
