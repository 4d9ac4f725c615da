"""What a slide's overview shows: its modality, its glass and its tissue."""

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np

from fieldwork import processes
from fieldwork.slides import SlideError, overview
from fieldwork.slides.inside import channels
from fieldwork.tissue import marks, masks
from fieldwork.tissue.modality import have_dab, hues_of, light_of, signals_of, stain_of
from fieldwork.tissue.samples import lines_in_mask, sample_of

COLOURS = ("Red", "Green", "Blue")
SIGNAL_PX = 4  # side of the squares of sampled tiles that tell what light the colours show: their means have less noise


def describe(
    picture: overview.Overview,
    facts: dict[str, Any],
    modality: str | None,
    read: Callable,
    nuclei_channel: str | None = None,
) -> tuple[np.ndarray, dict[str, Any]]:
    """Find the tissue on a slide, and decide what its channels are.

    Parameters
    ----------
    picture : overview.Overview
        Complete.
    facts : dict
        What is known of the slide: ``mpp``, ``failed_tiles``, ``fluorescence`` (as it was converted),
        ``fluorescence_stated`` (by its metadata), ``nuclei_channel`` (None: it is in colour).
    modality : str or None
        As the user states it.
    read : callable
        ``read(row, column, height, width)`` returns (height, width, channels) pixels of level 0.
    nuclei_channel : str or None
        Of a slide in colour: that with the nuclei, where the user states it.

    Returns
    -------
    (rows, columns) bool array
        Tissue, a square of the overview each.
    dict
        Of ``slide.json``: modality and its reason, the nuclei's channel, glass, share of brown squares, tissue,
        warnings.

    Raises
    ------
    SlideError
        It is fluorescence in several colours, and which one shows the nuclei is not known.
    """
    um = picture.factor * overview.pixel_um(facts["mpp"])
    means, valid = picture.means(facts["failed_tiles"])
    warnings = []
    if modality:
        fluorescence, reason = modality == "fluorescence", "as the sheet states"
    elif facts["fluorescence_stated"]:
        fluorescence, reason = True, "its channels or its metadata state it"
    else:
        fluorescence, reason = light_of(means, valid)
    if fluorescence != facts["fluorescence"]:
        was = "black, as in fluorescence" if facts["fluorescence"] else "white, as in brightfield"
        warnings.append(f"parts of the slide without pixels, if there are any, are {was}: so its first samples looked")
    if picture.dtype != "uint8":
        means = masks.as_8_bits(means, valid)
    tissue = masks.find_tissue(means, valid, um=um, fluorescence=fluorescence)
    processes.release_memory()
    if not tissue.mask.any():
        warnings.append("no tissue is seen on it")
    colour = (tissue.glass or masks.WHITE).colour
    hues = None if fluorescence else hues_of(means, tissue.mask, colour)
    if fluorescence:
        modality = "fluorescence"
    elif not modality:
        modality, shares = stain_of(hues._replace(dab=_dab_share(picture, tissue.mask, colour, read)))
        reason = f"{shares}; {reason}"
    chosen, warning = facts["nuclei_channel"], ""
    if chosen is None and fluorescence:
        chosen, warning = _nuclei_colour(picture, tissue.mask, read, nuclei_channel)
    elif chosen is None and nuclei_channel:
        warning = f"nuclei_channel {nuclei_channel!r} has no effect: the slide is in colour"
    if warning:
        warnings.append(warning)
    height, width = picture.shape
    squares = [np.minimum(picture.factor, side - np.arange(0, side, picture.factor)) for side in (height, width)]
    area = int(squares[0] @ tissue.mask @ squares[1])
    mpp = facts["mpp"]
    return tissue.mask, {
        "modality": modality,
        "modality_reason": reason,
        "fluorescence": fluorescence,
        "nuclei_channel": chosen,
        "glass": tissue.glass and [round(level, 1) for level in tissue.glass.colour],
        "brown": hues and round(float(hues.brown), 4),
        "tissue_factor": picture.factor,
        "tissue_um": um if mpp else None,
        "tissue_area_px": area,
        "tissue_area_mm2": area * mpp[0] * mpp[1] / 1e6 if mpp else None,
        "marks": None if fluorescence else float(tissue.marks.mean()),
        "folds": _folds(means, tissue, um) if modality == "he" else None,
        "warnings": warnings,
    }


def _nuclei_colour(picture, mask, read, wanted):
    """Choose the colour of a fluorescence slide that shows the nuclei, and note what is doubtful about it.

    None is the brightest colour of every pixel, where all light is of one channel.
    """
    if wanted:
        return channels.nuclei_channel(COLOURS, wanted)
    sample = [_averaged(pixels)[_averaged(inside) > 0.5] for pixels, inside in _sampled(picture, mask, read)]
    shown = signals_of(np.concatenate(sample)) if sample else []
    if len(shown) < 2:
        return None, ""
    names = "red, green and blue" if len(shown) == 3 else " and ".join(COLOURS[n].lower() for n in sorted(shown))
    if 2 not in shown:
        raise SlideError(
            f"it is fluorescence in colours, of which {names} show signals of their own, and blue, in which a DNA "
            "stain is usually shown, does not. Name the colour of the nuclei, Red, Green or Blue, in column "
            "nuclei_channel of the sheet of slides"
        )
    return "Blue", (
        f"its {names} show signals of their own: nuclei are taken from Blue, in which a DNA stain is usually shown; "
        "column nuclei_channel of the sheet of slides names another colour"
    )


def _averaged(pixels):
    """Return the means of squares of `SIGNAL_PX`, or nearly so at the slide's border, as float32."""
    height, width = (max(1, side // SIGNAL_PX) for side in pixels.shape[:2])
    return cv2.resize(pixels.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA)


def _dab_share(picture, mask, colour, read):
    """Return the share of brown pixels in the tissue of tiles that are spread over the slide."""
    brown = tissue = 0
    for pixels, inside in _sampled(picture, mask, read):
        brown += np.count_nonzero(have_dab(pixels, colour) & inside)
        tissue += np.count_nonzero(inside)
    return brown / max(tissue, 1)


def _sampled(picture, mask, read):
    """Yield the pixels of tiles that are spread over the tissue, and which of these are tissue."""
    for tile in sample_of(picture.shape, mask, picture.factor):
        yield read(*tile), mask[np.ix_(*lines_in_mask(tile, mask, picture.factor))]


def _folds(means, tissue, um):
    """Return the share of folds in the tissue."""
    folds = marks.folds(means, tissue.mask, tissue.glass or masks.WHITE, um=um)
    return float(np.count_nonzero(folds) / max(np.count_nonzero(tissue.mask), 1))
