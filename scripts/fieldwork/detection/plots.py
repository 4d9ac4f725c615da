"""Draw outlines of nuclei, and the picture of a calibration."""

import functools
import itertools
import math
import textwrap
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np
from matplotlib.collections import LineCollection

from fieldwork import figures, label_images
from fieldwork.detection import calibration as detection_calibration
from fieldwork.figures import GREY, MAGENTA, VERMILION, plt

RING_COLOUR = MAGENTA
PICTURE_WIDTH_IN = 16.8  # of a calibration
MOST_COLUMNS = 4  # of panels in it
LARGEST_PANEL_IN = 8.4  # in width
PANEL_PX_PER_IN = 110  # of a picture as it is written
LINE_HEIGHT_IN = 0.2  # of a title or a note, at 11 points
DIAMETERS_PER_IN = 7.6  # of a typical nucleus, side by side in a panel: each is 14 px of the picture
CHARACTERS_PER_IN = 10  # at 11 points, of capitals; of small letters there are 13
SMALLEST_PANEL_PX, LARGEST_PANEL_PX = 120, 4000  # of the image
MASK_STEP_PX = 4  # of a field, to find the part with the most nuclei
PANEL_GAMMA = 0.6  # below 1: lifts what is dim


def draw_outlines(
    axes: plt.Axes, polygons: Sequence[np.ndarray], *, width: float, offset: tuple[float, float] = (0, 0)
) -> None:
    """Draw closed polygons, (n, 2) arrays of x and y, shifted by `offset`; `width` in points."""
    closed = [np.concatenate([polygon, polygon[:1]]) + offset for polygon in polygons]
    axes.add_collection(LineCollection(closed, colors=RING_COLOUR, linewidths=width), autolim=False)


def outline_width(polygons: Sequence[np.ndarray], *, points_per_px: float) -> float:
    """Return the width, in points, of lines around nuclei that are drawn with so many points a pixel."""
    diameter = np.median([np.ptp(polygon, axis=0).mean() for polygon in polygons] or [0])
    return float(np.clip(diameter * points_per_px / 8, 0.3, 0.9))


class Panel(NamedTuple):
    """An image of the picture of a calibration. It is read when it is drawn: large ones would fill the memory."""

    title: str
    shape: tuple[int, int] | tuple[None, None]  # rows and columns, where it was measured
    areas: np.ndarray  # of what was found, px
    load: Callable[[], tuple[np.ndarray, np.ndarray]]  # its pixels, also in colour, and labels of the same shape


def draw_calibration(
    record: dict,
    images: Sequence,
    *,
    measure: Callable[[list], list],
    read: Callable[[Any], np.ndarray],
    title_of: Callable[[Any], str],
    title: str,
    note: str | None = None,
) -> plt.Figure:
    """Draw images of a sample with what is found in them.

    Parameters
    ----------
    record : dict
        Of ``calibration.json``.
    images : sequence
        Those of the sample that count, in the order of the record.
    measure : callable
        Takes a list of images; returns what is found in each.
    read : callable
        Takes an image; returns its pixels, (rows, columns) or, in colour, (rows, columns, 3) uint8.
    title_of : callable
        Takes what was found in an image; returns its title.
    title : str
        Of the picture.
    note : str, optional
        Describes the calibration; else that of `calibration.note_of`.

    Returns
    -------
    matplotlib.figure.Figure
    """
    even, worst = record["drawn"]["even"], record["drawn"]["worst"]
    indices = even + [worst] * (worst is not None)

    def load(image, measured):
        pixels = read(image)
        return pixels, detection_calibration.labels_of(measured, pixels.shape[:2])

    results = list(measure([images[index] for index in indices]))
    figures.forget_settings()  # of a function of the user's, which may have worked in this process
    panels = [
        Panel(
            title_of(measured),
            measured.shape,
            detection_calibration.areas_of(measured),
            functools.partial(load, images[index], measured),
        )
        for index, measured in zip(indices, results, strict=True)
    ]
    note = note or detection_calibration.note_of(detection_calibration.of_record(record))
    notes = [note, *record["warnings"]]
    return calibration_picture(panels[: len(even)], panels[-1] if worst is not None else None, title=title, notes=notes)


def calibration_picture(
    fields: Sequence[Panel],
    worst: Panel | None,
    *,
    title: str,
    notes: Sequence[str],
) -> plt.Figure:
    """Draw the outlines that a calibration gives: a few fields, and the one that it fits worst.

    Each field has its own contrast, with dim nuclei lifted. All are drawn at one scale; of a field that is too large
    for it, the part with the most nuclei. The fewer fields, the larger their panels.

    Parameters
    ----------
    fields : list of Panel
        Up to 6, from sparse to dense.
    worst : Panel or None
        The field that the calibration fits worst; drawn last, in a frame.
    title : str
    notes : list of str
        Written after the last field, a paragraph each, or below all where there is no room.

    Returns
    -------
    matplotlib.figure.Figure
    """
    drawn = [*fields, *([worst] if worst else [])]
    areas = np.concatenate([np.zeros(0, int), *(panel.areas for panel in drawn)])
    diameter = 2 * label_images.usual_radius(areas) if len(areas) else LARGEST_PANEL_PX
    rows = max(1, math.ceil(len(drawn) / MOST_COLUMNS))
    columns = max(1, math.ceil(len(drawn) / rows))
    width = min(PICTURE_WIDTH_IN / columns, LARGEST_PANEL_IN)
    height = width * np.clip(
        np.median([panel.shape[0] / panel.shape[1] for panel in drawn if panel.shape[0]] or [0]), 0.25, 1.5
    )
    names = [f"fits worst: {name}" if number == len(fields) else name for number, (name, *_) in enumerate(drawn)]
    titles = [_wrapped([name], width) for name in names]
    titles_height = LINE_HEIGHT_IN * (2 + max(map(len, titles), default=0))
    text = _wrapped(notes, width)
    with_free_panel = len(drawn) < rows * columns and len(text) <= height / LINE_HEIGHT_IN
    if not with_free_panel:
        text = _wrapped(notes, columns * width)
    below = 0 if with_free_panel else LINE_HEIGHT_IN * (len(text) + 1)
    size = columns * width, rows * (height + titles_height) + 2 * LINE_HEIGHT_IN + below
    figure, grid = plt.subplots(rows, columns, figsize=size, squeeze=False, layout="constrained")
    figure.suptitle(title, fontsize=14)
    for axes in grid.flat:
        axes.axis("off")
    side = np.clip(DIAMETERS_PER_IN * width * diameter, SMALLEST_PANEL_PX, LARGEST_PANEL_PX)
    for number, (axes, title_lines, panel) in enumerate(zip(grid.flat, titles, drawn, strict=False)):
        _draw_part(axes, title_lines, *panel.load(), side=side, width_px=round(PANEL_PX_PER_IN * width))
        is_worst = number == len(fields)
        axes.axis("on")
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set(color=VERMILION if is_worst else GREY, linewidth=3 if is_worst else 0.5)
    if with_free_panel:
        grid[-1, -1].text(0.03, 0.97, "\n".join(text), va="top", fontsize=11, transform=grid[-1, -1].transAxes)
    else:
        figure.supxlabel("\n".join(text), x=0.01, ha="left", fontsize=11)
    return figure


def _wrapped(paragraphs, width):
    """Return the lines of paragraphs, `width` inches wide, with an empty one after each but the last."""
    lines = [[*textwrap.wrap(paragraph, round(CHARACTERS_PER_IN * width)), ""] for paragraph in paragraphs]
    return list(itertools.chain.from_iterable(lines))[:-1]


def _draw_part(axes, lines, image, labels, *, side, width_px):
    """Draw the part of a field with the most nuclei, at most `side` px wide, with their outlines.

    Parameters
    ----------
    lines : list of str
        The title.
    width_px : int
        Of the panel.
    """
    rows, columns = _densest_part(labels, side)
    height, width = rows.stop - rows.start, columns.stop - columns.start
    pixels = image[rows, columns]
    pixels = pixels if pixels.ndim == 3 else pixels.astype(np.float32)
    if width > width_px:  # matplotlib would do it too, in ten times the time
        pixels = cv2.resize(pixels, (width_px, max(1, round(height * width_px / width))), interpolation=cv2.INTER_AREA)
    if pixels.ndim == 2:
        low, high = np.percentile(pixels, [1, 99.8])
        pixels = np.clip((pixels - low) / max(high - low, 1e-9), 0, 1) ** np.float32(PANEL_GAMMA)
    axes.imshow(pixels, cmap="gray", vmin=0, vmax=1, extent=(-0.5, width - 0.5, height - 0.5, -0.5))
    around = [slice(max(0, int(part.start - side / 8)), int(part.stop + side / 8)) for part in (rows, columns)]
    shift = around[1].start - columns.start, around[0].start - rows.start
    draw_outlines(axes, label_images.outlines(labels[tuple(around)]), offset=shift, width=1)
    if (height, width) != image.shape[:2]:
        lines = [*lines, f"{height} x {width} of {image.shape[0]} x {image.shape[1]} px"]
    axes.set_title("\n".join(lines), fontsize=11)


def _densest_part(labels, side):
    """Find the rows and columns of the part with the most pixels in objects, `side` px wide, in the image's form."""
    objects = labels[::MASK_STEP_PX, ::MASK_STEP_PX] > 0
    height, width = (min(length, math.ceil(side * length / labels.shape[1])) for length in objects.shape)
    sums = np.pad(objects.cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))
    covered = sums[height:, width:] - sums[:-height, width:] - sums[height:, :-width] + sums[:-height, :-width]
    best = np.flatnonzero(covered == covered.max())
    top, left = np.unravel_index(best[len(best) // 2], covered.shape)
    ends = [
        (MASK_STEP_PX * int(start), min(MASK_STEP_PX * int(start + part), length))
        for start, part, length in zip((top, left), (height, width), labels.shape, strict=True)
    ]
    return tuple(slice(*pair) for pair in ends)
