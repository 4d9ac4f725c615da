"""Charts of the benchmarks."""

import numpy as np
from matplotlib.ticker import LogLocator, NullLocator

from fieldwork.figures import BLUE, GREEN, GREY, ORANGE, PURPLE, SKY_BLUE, VERMILION, counted, plt

DETECTOR_COLOURS = {
    **{"scikit-image": ORANGE, "Fieldwork": BLUE, "Fieldwork, GPU": GREEN},
    **{"Fieldwork, classical": PURPLE, "Fieldwork, network": VERMILION},
}
DEVICE_COLOURS = {"one core": BLUE, "GPU": GREEN, "cuCIM": ORANGE}
ENGINE_COLOURS = {
    "serial": GREY,
    "pool": BLUE,
    "pool, paths": BLUE,
    "pool, fork": GREEN,
    "Pool.map, pickling": PURPLE,
    "Dask, processes": ORANGE,
    "Dask, threads": SKY_BLUE,
    "naive dask.delayed": PURPLE,
}
READER_COLOURS = {"tifffile": BLUE, "cucim": ORANGE, "openslide": GREEN, "cucim, GPU": PURPLE}
SHAPE_STYLES = {"rows": "o-", "columns": "s--", "blocks": "D-", "whole": "o-"}
LOADING_CHARTS = {  # title -> task, kind of workers, shapes; from left to right and from top to bottom
    "strips in threads, dropped": ("strips", "thread", ("rows", "columns")),
    "strips in processes, dropped": ("strips", "process", ("rows", "columns")),
    "whole, the reader's own threads": ("num_workers", "num_workers", ("whole",)),
    "into one array, threads": ("assemble", "thread", ("rows", "columns")),
    "into one array, processes, sent back": ("assemble", "process", ("rows", "columns")),
    "into one array, processes, shared memory": ("assemble", "process_shared", ("rows", "columns")),
    "into Zarr, threads": ("zarr", "thread", ("rows", "columns")),
    "into Zarr, processes": ("zarr", "process", ("rows", "columns")),
    "into Zarr, processes, whole shards": ("zarr", "process", ("blocks",)),
}


def methods(rows: list[dict], *, caption: str) -> plt.Figure:
    """Draw the images per second of every method and detector as bars.

    Parameters
    ----------
    rows : list of dict
        From `methods.compare`.
    caption : str
        The images and the machine.

    Returns
    -------
    matplotlib.figure.Figure
    """
    names = list(dict.fromkeys(row["Method"] for row in rows))
    figure, axes = plt.subplots(figsize=(10, 2 + 0.55 * len(names)), layout="constrained")
    detectors = [detector for detector in DETECTOR_COLOURS if any(row["Detector"] == detector for row in rows)]
    height = 0.8 / len(detectors)
    for number, detector in enumerate(detectors):
        of_detector = [row for row in rows if row["Detector"] == detector]
        rates = [row["Images_per_Second"] for row in of_detector]
        spread = [
            [rate - row["Images"] / row["Seconds_Max"] for rate, row in zip(rates, of_detector, strict=True)],
            [row["Images"] / row["Seconds_Min"] - rate for rate, row in zip(rates, of_detector, strict=True)],
        ]
        positions = [names.index(row["Method"]) + height * (number - (len(detectors) - 1) / 2) for row in of_detector]
        labels = [
            f"{rate:.0f}/s, {row['Peak_Memory_MB']:.0f} MB, {counted(row['Workers'], 'worker')}"
            for rate, row in zip(rates, of_detector, strict=True)
        ]
        bars = axes.barh(
            positions,
            rates,
            0.95 * height,
            xerr=np.clip(spread, 0, None),
            color=DETECTOR_COLOURS[detector],
            label=detector,
        )
        axes.bar_label(bars, labels, padding=6, fontsize=8)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.4 * max(row["Images"] / row["Seconds_Min"] for row in rows))  # room for the labels
    axes.set_xlabel("images per second, reading included (median; bars: least and most)")
    figure.legend(title="detection by", loc="outside lower center", ncols=len(detectors))
    axes.set_title(caption, fontsize=9)
    return figure


def scaling(rows: list[dict], *, caption: str) -> plt.Figure:
    """Draw images per second against workers.

    Parameters
    ----------
    rows : list of dict
        From `methods.compare`, one method with several numbers of workers.
    caption : str

    Returns
    -------
    matplotlib.figure.Figure
    """
    workers = [row["Workers"] for row in rows]
    rates = [row["Images_per_Second"] for row in rows]
    ends = [[row["Images"] / row[column] for row in rows] for column in ("Seconds_Max", "Seconds_Min")]
    spread = np.clip([np.subtract(rates, ends[0]), np.subtract(ends[1], rates)], 0, None)
    label = f"{rows[0]['Method']} (median; bars: least and most)"
    figure, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
    axes.errorbar(workers, rates, yerr=spread, fmt="o-", color=BLUE, capsize=3, label=label)
    axes.plot(workers, [rates[0] * count / workers[0] for count in workers], ":", color="grey", label="ideal")
    axes.set(xlabel="workers", ylabel="images per second, reading included", xticks=workers, ylim=(0, None))
    axes.set_title(caption, fontsize=9)
    axes.legend()
    return figure


def fan_out(rows: list[dict], *, caption: str) -> plt.Figure:
    """Draw the seconds per field of every fan-out as bars.

    Parameters
    ----------
    rows : list of dict
        With ``Fan_Out``, ``Jobs`` and ``Seconds_per_Field``.
    caption : str

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
    names = [f"{row['Fan_Out']}\n{counted(row['Jobs'], 'job')}" for row in rows]
    bars = axes.bar(names, [row["Seconds_per_Field"] for row in rows], color=BLUE)
    axes.bar_label(bars, fmt="%.2f s", padding=2)
    axes.margins(y=0.1)
    axes.set_ylabel("seconds of the whole run, per field")
    axes.set_title(caption, fontsize=9)
    return figure


def devices(rows: list[dict], *, caption: str) -> plt.Figure:
    """Draw the speed of every way as a multiple of one core's, as bars, for fields and for tiles.

    Parameters
    ----------
    rows : list of dict
        From `gpu.compare_devices`.
    caption : str

    Returns
    -------
    matplotlib.figure.Figure
    """
    kinds = list(dict.fromkeys(row["Kind"] for row in rows))
    figure, charts = plt.subplots(1, len(kinds), figsize=(5.5 * len(kinds), 4.5), layout="constrained", squeeze=False)
    for axes, kind in zip(charts[0], kinds, strict=True):
        of_kind = [row for row in rows if row["Kind"] == kind]
        names = [f"{row['Way']}\n{counted(row['Workers'], 'worker')}" for row in of_kind]
        colours = [DEVICE_COLOURS[row["Way"]] for row in of_kind]
        bars = axes.bar(names, [row["Times_One_Core"] for row in of_kind], color=colours)
        texts = [f"{row['Times_One_Core']:.3g}\n{row['Images_per_Second']:.3g}/s" for row in of_kind]
        axes.bar_label(bars, texts, padding=2, fontsize=8)
        axes.margins(y=0.15)
        first = of_kind[0]
        equal = min(row["Images_Equal"] for row in of_kind if row["Way"] == "GPU")
        size = f"{first['Image_Height']} x {first['Image_Width']} px"
        axes.set_title(f"{first['Images']} {kind} of {size}\nGPU: the same nuclei in {equal}", fontsize=9)
        axes.set_ylabel("times as fast as one core")
    figure.suptitle(caption, fontsize=9)
    return figure


def loading(rows: list[dict], *, caption: str) -> plt.Figure:
    """Draw the speed of ways to load a slide: bars for its levels, lines against workers for the other tasks.

    Parameters
    ----------
    rows : list of dict
        From `slide_loading.measure`. ``Seconds`` is None where a way failed.
    caption : str

    Returns
    -------
    matplotlib.figure.Figure
    """
    failed = sum(row["Seconds"] is None for row in rows)
    missing = f"; {failed} of {len(rows)} ways failed, see the table" if failed else ""
    rows = [row for row in rows if row["Seconds"] is not None]
    readers = [reader for reader in READER_COLOURS if any(row["Reader"] == reader for row in rows)]
    workers = sorted({row["Workers"] for row in rows})
    figure = plt.figure(figsize=(12, 14), layout="constrained")
    grid = figure.add_gridspec(4, 3)
    _levels(figure.add_subplot(grid[0, :]), [row for row in rows if row["Task"] == "load level"], readers)
    axes = None
    for number, (title, (task, kind, shapes)) in enumerate(LOADING_CHARTS.items()):
        # The charts of a row have one scale: its three ways can be compared.
        axes = figure.add_subplot(grid[1 + number // 3, number % 3], sharey=axes if number % 3 else None)
        in_chart = [
            row for row in rows if (row["Task"], row["Workers_Kind"]) == (task, kind) and row["Shape"] in shapes
        ]
        for reader in readers:
            for shape in shapes:
                _against_workers(axes, [row for row in in_chart if (row["Reader"], row["Shape"]) == (reader, shape)])
        axes.set_title(title, fontsize=10)
        axes.set(xlabel="workers", ylabel="megapixels per second")
        axes.set_xscale("log", base=2)
        axes.set_xticks(workers, workers)
        axes.minorticks_off()
        axes.margins(x=0.1)
    for axes in figure.axes:
        axes.set_ylim(0)  # only now: drawing changes the scale
    keys = [plt.Line2D([], [], color=READER_COLOURS[reader], lw=4, label=reader) for reader in readers]
    for label, shape in {"rows, or whole": "rows", "columns": "columns", "blocks": "blocks"}.items():
        keys += plt.plot([], [], SHAPE_STYLES[shape], color="grey", label=label)
    figure.legend(handles=keys, loc="outside lower center", ncols=len(keys))
    figure.suptitle(f"{caption}\nmedian; thin bars: slowest and fastest run{missing}", fontsize=9)
    return figure


def _levels(axes, rows, readers):
    """Draw a group of bars for every level, one for every reader, labelled with the seconds."""
    levels = sorted({row["Level"] for row in rows})
    width = 0.8 / len(readers)
    for offset, reader in enumerate(readers):
        of_reader = [row for row in rows if row["Reader"] == reader]
        positions = [row["Level"] + (offset - (len(readers) - 1) / 2) * width for row in of_reader]
        rates = [row["Megapixels_Per_Second"] for row in of_reader]
        bars = axes.bar(positions, rates, 0.93 * width, yerr=_spread(of_reader), color=READER_COLOURS[reader])
        texts = [f"{row['Seconds']:.2g} s" for row in of_reader]
        axes.bar_label(bars, texts, padding=2, fontsize=8, rotation=90 if len(levels) > 6 else 0)
    sizes = {row["Level"]: f"level {row['Level']}\n{row['Width']} x {row['Height']} px" for row in rows}
    axes.set_xticks(levels, [sizes[level] for level in levels], fontsize=8)
    axes.set_xlim(-0.6, len(levels) - 0.4)
    axes.margins(y=0.3)
    axes.set_ylabel("megapixels per second")
    axes.set_title("one region of a level, in one call", fontsize=10)


def _against_workers(axes, rows):
    """Draw the megapixels per second of one reader and shape against the workers."""
    if not rows:
        return
    workers, rates = ([row[column] for row in rows] for column in ("Workers", "Megapixels_Per_Second"))
    style, colour = SHAPE_STYLES[rows[0]["Shape"]], READER_COLOURS[rows[0]["Reader"]]
    axes.errorbar(workers, rates, yerr=_spread(rows), fmt=style, color=colour, capsize=2, elinewidth=0.7)


def _spread(rows):
    """Return the distances of the slowest and fastest run from the median, in megapixels per second: (2, n)."""
    rates = [row["Megapixels_Per_Second"] for row in rows]
    ends = [[row["Megapixels"] / row[column] for row in rows] for column in ("Seconds_Max", "Seconds_Min")]
    return np.clip([np.subtract(rates, ends[0]), np.subtract(ends[1], rates)], 0, None)


def speed_ups(rows: list[dict], *, caption: str) -> plt.Figure:
    """Draw the speed of every engine as a multiple of a loop's, as bars up or down from 1, in a group for every batch.

    Parameters
    ----------
    rows : list of dict
        From `engines.measure_filters` or `engines.measure_stack`.
    caption : str

    Returns
    -------
    matplotlib.figure.Figure
    """
    engines = list(dict.fromkeys(row["Engine"] for row in rows))
    batches = list(dict.fromkeys(map(_batch, rows)))
    figure, axes = plt.subplots(figsize=(3 + 1.6 * len(batches), 5.5), layout="constrained")
    width = 0.9 / len(engines)
    for number, engine in enumerate(engines):
        of_engine = [row for row in rows if row["Engine"] == engine]
        positions = [batches.index(_batch(row)) + (number - (len(engines) - 1) / 2) * width for row in of_engine]
        speeds = np.array([row["Speedup"] for row in of_engine])
        # Of the slowest and the fastest run, against the same loop.
        ends = [
            [row["Speedup"] * row["Seconds"] / row[column] for row in of_engine]
            for column in ("Seconds_Max", "Seconds_Min")
        ]
        spread = np.clip([speeds - ends[0], ends[1] - speeds], 0, None)
        thin = {"elinewidth": 0.7}
        bars = axes.bar(
            positions,
            speeds - 1,
            0.9 * width,
            bottom=1,
            yerr=spread,
            color=ENGINE_COLOURS[engine],
            label=engine,
            error_kw=thin,
        )
        axes.bar_label(bars, [f"{speed:.2g}" for speed in speeds], padding=2, fontsize=7)
    axes.axhline(1, color="black", linewidth=0.8)
    axes.set_yscale("log")
    axes.margins(y=0.15)
    low, high = axes.get_ylim()
    axes.set_ylim(min(low, 0.4), max(high, 2.5))  # at least three ticks
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_xticks(range(len(batches)), batches, fontsize=8)
    axes.set_ylabel("times as fast as the loop\n(median; thin bars: slowest and fastest run)")
    axes.set_title(caption, fontsize=9)
    figure.legend(loc="outside lower center", ncols=len(engines))
    return figure


def _batch(row):
    """Describe the batch of a row: how many images or frames, and of how many in the full batch."""
    what = "Images" if "Images" in row else "Frames"
    full = f" of {row[what] * row['Scaled_By']:,.0f}" if row["Scaled_By"] != 1 else ""
    return f"{row[what]:,}{full} {what.lower()}\n{row['Height']} x {row['Width']} px"
