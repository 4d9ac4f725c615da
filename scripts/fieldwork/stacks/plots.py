"""The picture of a stack: charts of what was measured in its frames, and a few of the frames."""

import numpy as np
import pandas as pd

from fieldwork.detection.plots import draw_outlines, outline_width
from fieldwork.figures import BLUE, LARGEST_DRAWN, ORANGE, VERMILION, counted, plt

WIDTH_IN = 11
Nuclei = np.ndarray | list[np.ndarray]  # of a frame: centres, or outlines


def over_time(
    frames: pd.DataFrame, columns: dict[str, str], shown: list[tuple[int, np.ndarray, Nuclei]], *, title: str
) -> plt.Figure:
    """Draw the measured values against the frames' numbers, above a few of the frames.

    Parameters
    ----------
    frames : pandas.DataFrame
        The stack's table of frames.
    columns : dict of str to str
        The columns to draw, a chart for each: column -> its label.
    shown : list of (int, (rows, columns) array, (n, 2) array or list of (n, 2) arrays)
        Number of a frame, its pixels, and its nuclei: row and column of their centres, or their
        `label_images.outlines`.
    title : str

    Returns
    -------
    matplotlib.figure.Figure
    """
    height = 2.4 * len(columns) + 2.6 * bool(shown) + 0.5
    figure = plt.figure(figsize=(WIDTH_IN, height), layout="constrained")
    figure.suptitle(title)
    above, below = figure.subfigures(2, 1, height_ratios=[max(len(columns), 0.1), 1 if shown else 0.01])
    failed = frames.Metadata_Frame[frames.Image_Status == "failed"]
    charts = above.subplots(len(columns), 1, squeeze=False, sharex=True)[:, 0] if columns else []
    for axes, (column, label) in zip(charts, columns.items(), strict=True):
        values = frames[column]
        too_large = (values.abs() > LARGEST_DRAWN) & np.isfinite(values)
        note = f"{counted(too_large.sum(), 'value')} beyond ±{LARGEST_DRAWN:g} left out" if too_large.any() else ""
        values = values.mask(too_large)
        axes.plot(frames.Metadata_Frame, values, ".-", color=BLUE)  # a gap where a frame failed
        for number in failed:
            axes.axvline(number, color=VERMILION, lw=1)
        notes = [f"{len(failed)} of {len(frames)} frames failed"] * bool(len(failed)) + [note] * bool(note)
        axes.set(ylabel=label, title="; ".join(notes))
        if (values.dropna() >= 0).all():
            axes.set_ylim(bottom=0)
    if len(charts):
        charts[-1].set_xlabel("frame")
    if shown:
        sample = np.concatenate([image[::4, ::4].ravel() for _, image, _ in shown])
        low, high = np.percentile(sample, [1, 99.8])  # one contrast for all
        for axes, (number, image, nuclei) in zip(below.subplots(1, len(shown), squeeze=False)[0], shown, strict=True):
            axes.imshow(image, cmap="gray", vmin=low, vmax=max(high, low + 1e-9))
            if isinstance(nuclei, list):
                points_per_px = 72 * WIDTH_IN / len(shown) / image.shape[1]
                draw_outlines(axes, nuclei, width=outline_width(nuclei, points_per_px=points_per_px))
            else:
                axes.plot(nuclei[:, 1], nuclei[:, 0], "o", mfc="none", mec=ORANGE, ms=5, mew=1)
            axes.set_title(f"frame {number}", fontsize=9)
            axes.axis("off")
    return figure
