"""What a slide's overview shows: its modality, its glass and its tissue."""

from collections.abc import Callable
from typing import Any

import numpy as np

from fieldwork.slides import overview
from fieldwork.tissue import marks, masks
from fieldwork.tissue.modality import have_dab, hues_of, light_of, stain_of
from fieldwork.tissue.samples import lines_in_mask, sample_of


def describe(
    picture: overview.Overview, facts: dict[str, Any], modality: str | None, read: Callable
) -> tuple[np.ndarray, dict[str, Any]]:
    """Find the tissue on a slide, and decide what its channels are.

    Parameters
    ----------
    picture : overview.Overview
        Complete.
    facts : dict
        What is known of the slide: ``mpp``, ``failed_tiles``, ``fluorescence`` (as it was converted),
        ``fluorescence_stated`` (by its metadata).
    modality : str or None
        As the user states it.
    read : callable
        ``read(row, column, height, width)`` returns (height, width, channels) pixels of level 0.

    Returns
    -------
    (rows, columns) bool array
        Tissue, a square of the overview each.
    dict
        Of ``slide.json``: modality and its reason, glass, share of brown squares, tissue, warnings.
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
        was = "fluorescence" if facts["fluorescence"] else "brightfield"
        warnings.append(f"where the slide has no pixels, they were filled in as for {was}, as first samples looked")
    if picture.dtype != "uint8":
        means = masks.as_8_bits(means, valid)
    tissue = masks.find_tissue(means, valid, um=um, fluorescence=fluorescence)
    colour = (tissue.glass or masks.WHITE).colour
    hues = None if fluorescence else hues_of(means, tissue.mask, colour)
    if fluorescence:
        modality = "fluorescence"
    elif not modality:
        modality, shares = stain_of(hues._replace(dab=_dab_share(picture, tissue.mask, colour, read)))
        reason = f"{shares}; {reason}"
    height, width = picture.shape
    squares = [np.minimum(picture.factor, side - np.arange(0, side, picture.factor)) for side in (height, width)]
    area = int(squares[0] @ tissue.mask @ squares[1])
    mpp = facts["mpp"]
    return tissue.mask, {
        "modality": modality,
        "modality_reason": reason,
        "fluorescence": fluorescence,
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


def _dab_share(picture, mask, colour, read):
    """Return the share of brown pixels in the tissue of tiles that are spread over the slide."""
    brown = tissue = 0
    for tile in sample_of(picture.shape, mask, picture.factor):
        inside = mask[np.ix_(*lines_in_mask(tile, mask, picture.factor))]
        brown += np.count_nonzero(have_dab(read(*tile), colour) & inside)
        tissue += np.count_nonzero(inside)
    return brown / max(tissue, 1)


def _folds(means, tissue, um):
    """Return the share of folds in the tissue."""
    folds = marks.folds(means, tissue.mask, tissue.glass or masks.WHITE, um=um)
    return float(np.count_nonzero(folds) / max(np.count_nonzero(tissue.mask), 1))
