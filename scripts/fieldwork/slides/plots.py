"""The picture of a slide: its tissue, and how dense the nuclei are in it."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from fieldwork.figures import VERMILION, plt

OUTLINE_COLOUR = VERMILION
MOST_SQUARES = 60  # along the longer side
LEAST_NUCLEI = 4  # in a square, on average: with fewer, a map shows chance
SCALE_BARS_MM = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50)


def overview(
    thumbnail: np.ndarray,
    tissue: np.ndarray,
    nuclei: np.ndarray,
    *,
    shape: tuple[int, int],
    mpp: tuple[float, float] | None,
    title: str,
) -> Figure:
    """Draw a slide beside the map of its nuclei.

    Parameters
    ----------
    thumbnail : (rows, columns, 3) uint8 array
        The whole slide at low resolution, RGB.
    tissue : (rows, columns) bool array
        True where there is tissue; the whole slide at any resolution.
    nuclei : (n, 2) array
        Row and column of each nucleus, in pixels of level 0.
    shape : (int, int)
        Height and width of level 0, in pixels.
    mpp : (float, float) or None
        Micrometres per pixel, vertically and horizontally; None: axes are in pixels, and density is per megapixel.
    title : str

    Returns
    -------
    matplotlib.figure.Figure
    """
    scale, unit = ((mpp[0] / 1000, mpp[1] / 1000), "mm") if mpp else ((1, 1), "px")
    height, width = shape[0] * scale[0], shape[1] * scale[1]
    extent = (0, width, height, 0)
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 1.2 + 5 * min(height / width, 1.6)), layout="constrained")
    figure.suptitle(title)
    left.imshow(thumbnail, extent=extent)
    if tissue.any() and not tissue.all():
        rows, columns = (np.linspace(0, side, count) for side, count in zip((height, width), tissue.shape, strict=True))
        left.contour(columns, rows, tissue, levels=[0.5], colors=OUTLINE_COLOUR, linewidths=1)
    left.set_title("tissue outlined")
    if mpp:
        bar = max([length for length in SCALE_BARS_MM if length <= width / 4], default=SCALE_BARS_MM[0])
        ends = [width * 0.04, width * 0.04 + bar]
        rim = [withStroke(linewidth=6, foreground="white")]  # on fluorescence slides
        left.plot(ends, [height * 0.95] * 2, color="black", lw=4, solid_capstyle="butt", path_effects=rim)
        label = f"{bar:g} mm" if bar >= 1 else f"{1000 * bar:g} µm"
        left.text(np.mean(ends), height * 0.93, label, ha="center", va="bottom", path_effects=rim)
    left.axis("off")
    side = max(max(height, width) / MOST_SQUARES, np.sqrt(LEAST_NUCLEI * height * width / max(1, len(nuclei))))
    edges = [np.arange(0, length + side, side) for length in (height, width)]
    counts = np.histogram2d(*(nuclei * scale).T, bins=edges)[0]
    # Of squares that extend beyond the slide, only the part on it counts.
    sides = [np.diff(np.minimum(edge, length)) for edge, length in zip(edges, (height, width), strict=True)]
    density = np.ma.masked_equal(counts, 0) / np.outer(*sides) * (1 if mpp else 1e6)
    image = right.imshow(density, extent=(0, edges[1][-1], edges[0][-1], 0), cmap="viridis", vmin=0)
    right.set(xlim=(0, width), ylim=(height, 0), xlabel=unit, ylabel=unit, title=f"{len(nuclei):,} nuclei")
    figure.colorbar(image, ax=right, label="nuclei per mm²" if mpp else "nuclei per megapixel")
    return figure


def failed(title: str, reason: str) -> Figure:
    """Draw the reason why there is no picture of a slide."""
    figure = plt.figure(figsize=(6, 2))
    figure.suptitle(title)
    figure.text(0.5, 0.4, reason, ha="center", va="center", wrap=True)
    return figure
