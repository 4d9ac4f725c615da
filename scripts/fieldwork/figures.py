"""Matplotlib without a screen: the palette of all pictures, and writing them as PNG."""

import io
import os
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
matplotlib.rcParams["text.parse_math"] = False  # a $ in a path or in the message of an error is no formula

from matplotlib import pyplot as plt  # noqa: E402
from PIL import Image  # noqa: E402

# Okabe and Ito's palette: colour-blind readers can tell its colours apart (https://jfly.uni-koeln.de/color/).
BLACK = "#000000"
ORANGE = "#e69f00"
SKY_BLUE = "#56b4e9"
GREEN = "#009e73"
YELLOW = "#f0e442"
BLUE = "#0072b2"
VERMILION = "#d55e00"
PURPLE = "#cc79a7"
GREY = "#999999"  # beside the palette


def counted(number: int, noun: str) -> str:
    """Return a number with its noun: ``1 well``, ``2 wells``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def save(figure: plt.Figure, path: str | os.PathLike, *, colours: int | None = None) -> None:
    """Write a figure as PNG and close it.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
    path : path-like
    colours : int, optional
        Largest number of colours, up to 256; brightness then has every fourth level only. Microscope images, which
        are mostly noise, take a quarter of the bytes this way.
    """
    drawn = io.BytesIO()
    options = {"pil_kwargs": {"compress_level": 1}} if colours else {}  # it is read again at once
    options |= {"bbox_inches": "tight", "pad_inches": 0.15, "metadata": {"Software": None}}
    figure.savefig(drawn, dpi=110, format="png", **options)
    plt.close(figure)
    if colours:
        coarse = Image.open(drawn).convert("RGB").point([min(4 * round(level / 4), 255) for level in range(256)] * 3)
        # Not `optimize`, which takes nine times as long for 4 % less.
        coarse.quantize(colours, dither=Image.Dither.NONE).save(drawn := io.BytesIO(), "png")
    Path(path).write_bytes(drawn.getvalue())
