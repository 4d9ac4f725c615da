"""Matplotlib without a screen and without the user's settings: the palette of all pictures, and writing them as PNG."""

import io
import logging
import os
import textwrap
from collections.abc import Callable, Iterator
from contextlib import chdir, contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, ImageColor

from fieldwork import WorkerDied, outputs


@contextmanager
def _without_users_files() -> Iterator[None]:
    """Hide the user's settings of Matplotlib while it is imported: it reads them then, and they may be damaged."""
    hidden = {name: os.environ.pop(name, None) for name in ("MPLBACKEND", "MATPLOTLIBRC")}
    os.environ["MATPLOTLIBRC"] = os.devnull
    try:
        with chdir("/"):  # the working directory's file comes before that of MATPLOTLIBRC
            yield
    finally:
        del os.environ["MATPLOTLIBRC"]  # both are there again for what a function of the user starts
        os.environ.update({name: value for name, value in hidden.items() if value is not None})


with _without_users_files():
    import matplotlib

    get_configdir = matplotlib.get_configdir
    matplotlib.get_configdir = lambda: os.devnull  # where pyplot reads the user's styles
    from matplotlib import pyplot as plt

    matplotlib.get_configdir = get_configdir


def forget_settings() -> None:
    """Set Matplotlib as all pictures need it, whatever files, the environment or a function of the user's set."""
    matplotlib.use("Agg")
    defaults = {name: value for name, value in matplotlib.rcParamsDefault.items() if not name.startswith("backend")}
    # A $ in a path or in the message of an error is no formula.
    matplotlib.rcParams.update(defaults | {"text.parse_math": False})


forget_settings()  # also where something has imported Matplotlib before

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
MAGENTA = "#ff00ff"  # colour-blind readers see it on grey, too
LINE_COLOURS = (BLACK, ORANGE, SKY_BLUE, GREEN, YELLOW, BLUE, VERMILION, PURPLE, GREY, MAGENTA)
LARGEST_DRAWN = 1e150  # in value; Matplotlib's ticks overflow with larger ones

log = logging.getLogger(__name__)


def counted(number: int, noun: str) -> str:
    """Return a number with its noun: ``1 well``, ``2,000 wells``."""
    return f"{number} {noun}" if number == 1 else f"{number:,} {noun}s"


def write(draw: Callable[[], plt.Figure], path: str | os.PathLike, *, colours: int | None = None) -> None:
    """Draw a picture and write it, complete or not at all; in place of one that cannot be drawn, write the reason.

    A picture is no reason to end a run whose tables are right. A disk that is full or gone is one, and so is a worker
    that was killed: the next run draws the picture.

    Parameters
    ----------
    draw : callable
        Returns the figure; reads what it needs.
    path : path-like
    colours : int, optional
        As for `save`.
    """
    with outputs.atomic_file(path) as part:
        try:
            forget_settings()  # of functions of the user's that worked in this process
            save(draw(), part, colours=colours)
        except (OSError, WorkerDied):
            raise
        except Exception as error:  # of Matplotlib and NumPy, by values that nobody foresaw
            plt.close("all")
            forget_settings()
            message = " ".join(str(error).split()).encode(errors="backslashreplace").decode()
            reason = f"{type(error).__name__}: {message}"
            log.warning("the picture %s is missing, as it could not be drawn: %s", path, reason)
            log.info("where it failed", exc_info=True)
            save(_missing(path, reason), part, colours=colours)


def without_chart(title: str, reason: str) -> plt.Figure:
    """Draw a title and a reason in place of a chart.

    Parameters
    ----------
    title, reason : str

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure, axes = plt.subplots(figsize=(7, 1.5), layout="constrained")
    axes.axis("off")
    axes.set_title(title)
    axes.text(0.5, 0.5, "\n".join(textwrap.wrap(reason, 90)), ha="center", va="center", transform=axes.transAxes)
    return figure


def _missing(path, reason):
    """Draw the message that a picture is missing; in ASCII, as what cannot be drawn may be the text."""
    figure, axes = plt.subplots(figsize=(7, 2), layout="constrained")
    axes.axis("off")
    message = f"The picture {path} is missing, as it could not be drawn: {reason[:300]}. The tables are complete."
    lines = textwrap.wrap(message.encode("ascii", "backslashreplace").decode(), 90)
    axes.text(0.5, 0.5, "\n".join(lines), ha="center", va="center", transform=axes.transAxes)
    return figure


def save(figure: plt.Figure, path: str | os.PathLike, *, colours: int | None = None) -> None:
    """Write a figure as PNG and close it.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
    path : path-like
    colours : int, optional
        Largest number of colours, from 16 up to 256; brightness then has every fourth level only. Microscope images,
        which are mostly noise, take a quarter of the bytes this way. Those of `LINE_COLOURS` that are drawn stay.
    """
    drawn = io.BytesIO()
    options = {"pil_kwargs": {"compress_level": 1}} if colours else {}  # it is read again at once
    options |= {"bbox_inches": "tight", "pad_inches": 0.15, "metadata": {"Software": None}}
    figure.savefig(drawn, dpi=110, format="png", **options)
    plt.close(figure)
    if colours:
        picture = _with_fewer_colours(Image.open(drawn).convert("RGB"), colours)
        picture.save(drawn := io.BytesIO(), "png")  # not `optimize`, which takes nine times as long for 4 % less
    Path(path).write_bytes(drawn.getvalue())


def _with_fewer_colours(picture, colours):
    """Return a picture with a palette, in which lines keep their colours: they have few of the pixels."""
    levels = [min(4 * round(level / 4), 255) for level in range(256)]
    coarse = picture.point(levels * 3)
    pixels = np.asarray(coarse.convert("RGBA")).view(np.uint32)[..., 0]
    drawn = {}  # colour of lines -> where it is
    for colour in map(ImageColor.getrgb, LINE_COLOURS):
        is_there = pixels == np.array([*(levels[level] for level in colour), 255], np.uint8).view(np.uint32)
        if is_there.any():
            drawn[colour] = is_there
    others = coarse.quantize(colours - len(drawn), dither=Image.Dither.NONE)
    palette, indices = others.getpalette()[: 3 * (colours - len(drawn))], np.array(others)
    for colour, is_there in drawn.items():
        indices[is_there] = len(palette) // 3
        palette += colour
    picture = Image.fromarray(indices)
    picture.putpalette(palette)
    return picture
