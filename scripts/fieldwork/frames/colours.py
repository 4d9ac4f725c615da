"""What stored samples mean: colours, palettes, inverted grey; and which colour is the plane of the nuclei."""

from typing import NamedTuple

import numpy as np
import tifffile

from fieldwork import FrameError
from fieldwork.frames.planes import ANY_COLOUR, ChannelError, Plane

COLOURS = ("red", "green", "blue")
BILEVEL = "bilevel, as tifffile stores it (WhiteIsZero): values are as stored"
INVERTED = "stored inverted (WhiteIsZero): values are subtracted from the largest possible one"
# Not by luma: a sum keeps the levels of a palette from black over red and yellow to white apart, in even steps.
PALETTE = "has a palette: its colours count, made grey by the sum of red, green and blue"
ALONE = " alone shows signal"
SQUARE_PX = 8  # side of squares, which are smaller than a nucleus
MOST_NOISE = 2  # variance of the means of squares, in times of that of white noise
HIGHEST_NOISE = 6  # distance of such a mean from their median, in standard deviations
ADVICE = "name it: nuclei_channel (of a plate) or stack.channel: red, green or blue"


class Samples(NamedTuple):
    """The samples of a page, without alpha."""

    values: np.ndarray  # (samples, rows, columns)
    are_colours: bool = False  # red, green and blue
    notes: tuple[str, ...] = ()
    palette: str = ""  # what was taken of a palette, for the form of the image


def samples_of(image: np.ndarray, key: tifffile.TiffPage, *, are_channels: bool = False) -> Samples:
    """Return the samples of a page that `key` describes, as its display tags mean them.

    Parameters
    ----------
    image : array
        The page's values as stored.
    key : tifffile.TiffPage
    are_channels : bool
        A description names the samples: none is a colour or alpha.

    Raises
    ------
    FrameError
        The colours are neither grey, RGB nor a palette's; or numbers with a sign are stored inverted.
    """
    values = image[np.newaxis] if key.axes == "YX" else image.transpose(2, 0, 1) if key.axes == "YXS" else image
    jpeg = key.photometric == 6 and key.compression in {6, 7, 34892}  # YCbCr: its decoder makes it RGB
    if key.photometric == 3 and len(values) == 1 and key.colormap is not None:
        return of_palette(values[0].astype(np.uint16 if key.dtype == np.uint16 else np.uint8), _palette(key))
    if key.photometric not in (0, 1, 2) and not jpeg:
        raise FrameError(f"colours stored as {key.photometric!r}; expected grey or RGB")
    if not are_channels:
        alpha = sum(kind in (1, 2) for kind in key.extrasamples)
        if key.photometric == 2 and len(values) == 4:  # many writers do not say what the fourth is
            alpha = 1
        values = values[: len(values) - alpha]
    if key.photometric != 0:
        return Samples(values, len(values) == 3 and key.photometric in (2, 6) and not are_channels)
    if values.dtype.kind == "b":
        # tifffile stores True as 1 and says by itself that 0 is white; of other writers 0 is white.
        as_stored = key.parent.pages.first.software == "tifffile.py"
        return Samples(values, notes=(BILEVEL,)) if as_stored else Samples(~values, notes=(INVERTED,))
    if values.dtype.kind != "u":
        raise FrameError(f"{values.dtype} stored inverted (WhiteIsZero): what is white cannot be told; export it again")
    largest = values.dtype.type(2 ** int(np.max(key.bitspersample)) - 1)
    return Samples(largest - values, notes=(INVERTED,))


def _palette(key):
    """Return the palette of a page, (3, indices), in the type of the indices."""
    colours = np.asarray(key.colormap)
    if key.dtype == np.uint16:
        return colours
    return (colours >> 8 if colours.max(initial=0) > 255 else colours).astype(np.uint8)  # some writers store 8 bits


def of_palette(indices: np.ndarray, palette: np.ndarray) -> Samples:
    """Return the grey of an image with a palette.

    Parameters
    ----------
    indices : (rows, columns) array of unsigned integers
    palette : (3, colours) array of uint8 or uint16

    Returns
    -------
    Samples
        One: where one colour of the palette alone varies, that one; else the sum of all, in a wider type.

    Raises
    ------
    FrameError
        An index is beyond the palette.
    """
    if indices.max(initial=0) >= palette.shape[1]:
        raise FrameError(f"damaged: index {indices.max()} of a palette of {palette.shape[1]} colours")
    varying = [number for number in range(3) if np.ptp(palette[number])]
    form = " of a palette"
    if (palette == palette[0]).all():
        grey, notes, form = palette[0], ("has a palette of greys, which count",), ""
        if np.array_equal(grey, np.arange(len(grey))):
            return Samples(indices[np.newaxis])
    elif len(varying) == 1:
        grey, notes = palette[varying[0]], (f"has a palette of {COLOURS[varying[0]]} alone, which counts",)
        form += f" of {COLOURS[varying[0]]} alone"
    else:
        wider = {np.dtype(np.uint8): np.uint16, np.dtype(np.uint16): np.uint32}[palette.dtype]
        grey, notes = palette.sum(axis=0, dtype=wider), (PALETTE,)
    return Samples(grey[indices][np.newaxis], notes=notes, palette=form)


def plane_of(
    timepoint: int | None, z: int | None, samples: Samples, channel: str | int = "auto", *, required: bool = False
) -> Plane:
    """Return the plane of the colour that holds the signal.

    Parameters
    ----------
    timepoint, z : int or None
    samples : Samples
        One, or three colours.
    channel : str or int
        A colour: its name, or its number from 0. Else the colours are equal, or one alone shows signal in the image:
        the others are constant, or white noise.
    required : bool
        Refuse the image if it has no such colour, grey images too: those have channel 0, and the name 1, alone.

    Returns
    -------
    Plane

    Raises
    ------
    FrameError
        Pixels are NaN or infinite, there is no such colour, or several colours differ and none is named.
    """
    values = samples.values
    if values.dtype.kind == "f" and not (finite := np.isfinite(values)).all():
        raise FrameError(f"{np.count_nonzero(~finite)} of {values.size} pixels are NaN or infinite")
    number, colours = 0, samples.palette
    if samples.are_colours:
        number, colours = _colour(values, channel, required)
    elif len(values) > 1:
        raise ChannelError(f"{len(values)} samples a pixel that are no colours")
    elif required and str(channel).lower() not in ("1" if isinstance(channel, str) else "0", "auto"):
        raise ChannelError(f"channel {channel!r} is not there; found one channel without a name")
    image, notes = values[number], samples.notes
    if colours.endswith(ALONE):
        notes += (f"in colours, of which {COLOURS[number]} alone shows signal: it is taken",)
    dtype = np.uint8 if image.dtype.kind == "b" else image.dtype.newbyteorder("=")
    return Plane(timepoint, z, np.ascontiguousarray(image, dtype), colours, notes)


def _colour(values, channel, required):
    """Return the number of the colour to take, and what the form of the image says of it: see `planes.usual_form`."""
    if channel in range(3):
        return channel, ANY_COLOUR
    if str(channel).lower() in COLOURS:
        return COLOURS.index(channel.lower()), ANY_COLOUR
    if required:
        raise ChannelError(f"channel {channel!r} is not there; found the colours red, green and blue, numbered from 0")
    ranges = [(colour.min(), colour.max()) for colour in values]
    varying = [number for number, (low, high) in enumerate(ranges) if low != high]
    if all(np.array_equal(colour, values[0]) for colour in values[1:]):
        return 0, "" if varying else ANY_COLOUR  # grey
    shown = varying if len(varying) < 2 else _with_signal(values)
    if len(shown) == 1:
        return shown[0], f"{ANY_COLOUR}, of which {COLOURS[shown[0]]}{ALONE}"
    figures = ", ".join(f"{name} {low:g} to {high:g}" for name, (low, high) in zip(COLOURS, ranges, strict=True))
    fault = f"{'several colours show' if shown else 'no colour shows'} signal ({figures})"
    raise ChannelError(f"{fault}: which shows the nuclei cannot be told; {ADVICE}")


def _with_signal(values):
    """Return the numbers of the colours that show more than noise, or vary more than half as much as another does.

    Of white noise, means over squares have a variance that is smaller by the number of their pixels. What is there in
    several pixels side by side, a dim nucleus or a lossy codec's artefacts, makes it larger.
    """
    spread = values.std(axis=(1, 2), dtype=np.float64)
    shown = []
    for number, colour in enumerate(values):
        rows, columns = (length // SQUARE_PX * SQUARE_PX for length in colour.shape)
        if not rows or not columns:
            continue
        whole = colour[:rows, :columns].astype(np.float64)
        means = whole.reshape(rows // SQUARE_PX, SQUARE_PX, -1, SQUARE_PX).mean(axis=(1, 3))
        expected = np.mean(np.diff(whole, axis=1) ** 2) / 2 / SQUARE_PX**2  # neighbours differ by noise
        away = (means - np.median(means)) ** 2
        if away.mean() > MOST_NOISE * expected or away.max() > HIGHEST_NOISE**2 * expected:
            shown.append(number)
    others = set(range(len(values))) - set(shown)
    return shown + [number for number in others if shown and spread[number] > spread[shown].max() / 2]
