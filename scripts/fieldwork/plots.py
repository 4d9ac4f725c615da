"""Pictures of the tables."""

import matplotlib

matplotlib.use("Agg")

import numpy as np  # noqa: E402
from matplotlib import pyplot as plt  # noqa: E402

COLOURS = {"scikit-image": "#e69f00", "Fieldwork": "#0072b2"}  # Okabe and Ito: safe for colour-blind readers


def methods(rows, *, caption):
    """Draw images per second of each method and detector as bars.

    Parameters
    ----------
    rows : list of dict
        From `benchmarks.compare`.
    caption : str
        What they were measured on.

    Returns
    -------
    matplotlib.figure.Figure
    """
    names = list(dict.fromkeys(row["Method"] for row in rows))
    figure, axes = plt.subplots(figsize=(9, 1.5 + 0.55 * len(names)), layout="constrained")
    for offset, (detector, colour) in zip((-0.2, 0.2), COLOURS.items(), strict=True):
        ours = [row for row in rows if row["Detector"] == detector]
        rates = [row["Images_per_Second"] for row in ours]
        spread = [
            [rate - row["Images"] / row["Seconds_Max"] for rate, row in zip(rates, ours, strict=True)],
            [row["Images"] / row["Seconds_Min"] - rate for rate, row in zip(rates, ours, strict=True)],
        ]
        places = [names.index(row["Method"]) + offset for row in ours]
        labels = [
            f"{rate:.0f}/s, {row['Peak_Memory_MB']:.0f} MB, {row['Workers']} worker(s)"
            for rate, row in zip(rates, ours, strict=True)
        ]
        bars = axes.barh(places, rates, 0.38, xerr=np.clip(spread, 0, None), color=colour, label=detector)
        axes.bar_label(bars, labels, padding=6, fontsize=8)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.margins(x=0.3)
    axes.set_xlabel("images per second, reading included (median; bars: least and most)")
    axes.legend(title="detection by", loc="lower right")
    axes.set_title(caption, fontsize=9)
    return figure


def scaling(rows, *, caption):
    """Draw images per second against workers.

    Parameters
    ----------
    rows : list of dict
        From `benchmarks.compare`, one method with several numbers of workers.
    caption : str

    Returns
    -------
    matplotlib.figure.Figure
    """
    workers = [row["Workers"] for row in rows]
    rates = [row["Images_per_Second"] for row in rows]
    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    axes.plot(workers, rates, "o-", color=COLOURS["Fieldwork"], label="measured")
    axes.plot(workers, [rates[0] * count / workers[0] for count in workers], ":", color="grey", label="ideal")
    axes.set(xlabel="workers", ylabel="images per second", xticks=workers, ylim=(0, None))
    axes.set_title(caption, fontsize=9)
    axes.legend()
    return figure


def fan_out(rows, *, caption):
    """Draw the time of a field under each fan-out as bars.

    Parameters
    ----------
    rows : list of dict
        With ``Fan_Out``, ``Jobs`` and ``Seconds_per_Field``.
    caption : str

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    names = [f"{row['Fan_Out']}\n{row['Jobs']} job(s)" for row in rows]
    bars = axes.bar(names, [row["Seconds_per_Field"] for row in rows], color=COLOURS["Fieldwork"])
    axes.bar_label(bars, fmt="%.2f s")
    axes.set_ylabel("seconds of the whole run, per field")
    axes.set_title(caption, fontsize=9)
    return figure


def densities(fields):
    """Draw fields in a grid, with their nuclei marked.

    Parameters
    ----------
    fields : list of (str, (rows, columns) array, (n, 2) array)
        Title, image, and row and column of its nuclei; in the order in which they are drawn.

    Returns
    -------
    matplotlib.figure.Figure
    """
    width = max(1, int(np.ceil(np.sqrt(len(fields)))))
    height = max(1, int(np.ceil(len(fields) / width)))
    figure, grid = plt.subplots(height, width, figsize=(3 * width, 3 * height), squeeze=False, layout="constrained")
    for axes in grid.flat:
        axes.axis("off")
    # One contrast for all, so that brightness can be compared; every 16th pixel is enough to find it.
    sample = np.concatenate([image[::4, ::4].ravel() for _, image, _ in fields] or [np.zeros(1)])
    low, high = np.percentile(sample, [1, 99.8])
    for axes, (title, image, coordinates) in zip(grid.flat, fields, strict=False):
        axes.imshow(image, cmap="gray", vmin=low, vmax=max(high, low + 1e-9))
        axes.plot(coordinates[:, 1], coordinates[:, 0], "o", mfc="none", mec="#e69f00", ms=4, mew=0.7)
        axes.set_title(title, fontsize=9)
    return figure


def save(figure, path):
    """Write a figure as PNG and forget it.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
    path : path-like
    """
    figure.savefig(path, dpi=110, format="png", metadata={"Software": None})
    plt.close(figure)
