"""Plates of generated fields, some of them faulty: which faults are flagged, and which good fields are."""

from collections import Counter

import numpy as np

import planted_screen
from accuracy import annotated, generated
from fieldwork.detection import plate_flags
from fieldwork.segmentation import calibrate, segment_field

SHAPE = (300, 400)
TILE_PX = 290  # side, of a real plate's tiles; nuclei are 28 px wide
PLATE_SHAPE = (360, 360)  # of the annotated fields that are of one plate
THRESHOLDS = {
    **{"out_of_focus": 0.8, "saturated": 0.02, "background": 0.15, "debris": 4, "deviations": 4, "least_fields": 8}
}  # the configuration's defaults
PLATES = {
    "as it is": {},
    "half exposure": {"contrast": generated.CONTRAST / 2, "ground": generated.GROUND / 2},
    "light that falls by 60 %": {"uneven": 0.6},
    "diameter of 10 px": {"diameter": 10},
    "offset of half the range": {"offset": 32768},
    "8 bits": {"contrast": 40, "ground": 5, "noise": 0.8, "dtype": "uint8"},
    "contrast of 20 times the noise": {"noise": 100},
    "soft": {"blur": 0.1},
}
GOOD = {  # how good fields of one plate differ
    "usual": {"count": 30},
    "usual, too": {"count": 38},
    "no nucleus": {"count": 0},
    "one nucleus": {"count": 1},
    "two nuclei": {"count": 2},
    "five nuclei": {"count": 5},
    "crowded": {"count": 55, "crowding": 0.9},
    "small bright nuclei": {"count": 12, "diameter": 0.7, "contrast": 2},
    "large nuclei": {"count": 20, "diameter": 1.4},
    "dim nuclei": {"count": 30, "contrast": 0.5},
}
FAULTS = {
    "blurred by 0.2 of a diameter": ("OutOfFocus", {"count": 30, "blur": 0.2}),
    "blurred by 0.2, three nuclei": ("OutOfFocus", {"count": 3, "blur": 0.2}),
    "blurred by 0.35": ("OutOfFocus", {"count": 30, "blur": 0.35}),
    "blurred by 0.8": ("OutOfFocus", {"count": 30, "blur": 0.8}),
    "background of 0.3 contrasts": ("Background", {"count": 30}),
    "background of a contrast, no nucleus": ("Background", {"count": 0}),
    "debris of 2 diameters": ("Debris", {"count": 30}),
    "debris of 6 diameters, one nucleus": ("Debris", {"count": 1}),
    "saturated": ("Saturated", {"count": 30}),
}


def field_of(seed, plate, changes):
    """Draw a field of a plate; diameter and contrast of the changes are multiples of the plate's."""
    options = {"diameter": generated.DIAMETER, "contrast": generated.CONTRAST} | plate
    factors = {name: changes[name] for name in ("diameter", "contrast") if name in changes}
    options |= changes | {name: options[name] * factor for name, factor in factors.items()}
    return generated.planted_field(seed, shape=SHAPE, **options)[0]


def faulty(seed, plate, fault):
    """Draw a field with a fault."""
    _, changes = FAULTS[fault]
    image = field_of(seed, plate, changes)
    contrast, diameter = plate.get("contrast", generated.CONTRAST), plate.get("diameter", generated.DIAMETER)
    kind = image.dtype
    if fault.startswith("background"):
        added = contrast * (0.3 if "0.3" in fault else 1)
        image = image + np.random.default_rng(seed).poisson(added, image.shape)
    if fault.startswith("debris"):
        width = diameter * (2 if "2 d" in fault else 6)
        image = image + generated.speck(SHAPE, (150, 200), width, 8 * contrast)
    if fault == "saturated":
        offset = plate.get("offset", 0)
        top = np.iinfo(kind).max
        image = offset + (image.astype(float) - offset) * ((top - offset) / (0.8 * contrast))
    return generated.as_type(image, kind)


def judged(images, calibration=None):
    """Return the rows of a plate's fields with their flags; without a calibration, a sample of them makes it."""
    calibration = calibration or calibrate(images[:: max(1, len(images) // 24)])
    rows = []
    for image in images:
        result = segment_field(image, calibration)
        rows.append(
            {"Image_Status": "ok", "Image_Count_Nuclei": int(result.labels.max()), "Image_Ground": None}
            | {"Flag_OutOfFocus": result.out_of_focus, "Flag_Saturated": result.saturated}
            | {"Flag_UnlikePlate": result.unlike_plate}
            | {column: getattr(result.figures, name) for column, name in plate_flags.FIGURES.items()}
        )
    plate_flags.judge_fields(rows, THRESHOLDS)
    return rows


def flags_of(row):
    """Return the names of the flags that a row has, without Flag_ and that of emptiness."""
    return {column.removeprefix("Flag_") for column in plate_flags.WELL_FLAGS if row[column]}


def plate_of(name, *, good, share_faulty, seed=1):
    """Draw a plate: its images, and what is right or wrong with each."""
    faults = list(FAULTS)
    number = round(good * share_faulty / (1 - share_faulty))
    kinds = [list(GOOD)[index % len(GOOD)] for index in range(good)] + [
        faults[index % len(faults)] for index in range(number)
    ]
    images = [
        field_of(seed + index, PLATES[name], GOOD[kind]) if kind in GOOD else faulty(seed + index, PLATES[name], kind)
        for index, kind in enumerate(kinds)
    ]
    order = np.random.default_rng(seed).permutation(len(images))
    return [images[index] for index in order], [kinds[index] for index in order]


def counts(shares_faulty=(0.1, 0.3), *, good=60, seed=1):
    """Count what is flagged in plates: kind of field -> (with its fault's flag, or with any if it is good; of so many).

    Nuclei that differ from the plate's are no fault, and `Flag_UnlikePlate` says no more: it does not count.
    """
    flagged, total = Counter(), Counter()
    for share in shares_faulty:
        for name in PLATES:
            images, kinds = plate_of(name, good=good, share_faulty=share, seed=seed)
            for kind, row in zip(kinds, judged(images), strict=True):
                flags = flags_of(row) - {"UnlikePlate"}
                flagged[kind] += FAULTS[kind][0] in flags if kind in FAULTS else bool(flags)
                total[kind] += 1
    return {kind: (flagged[kind], total[kind]) for kind in (*FAULTS, *GOOD)}


def screen_counts(seed):
    """Count the blurred wells of the planted screen that are flagged so, and the others with any flag.

    Returns
    -------
    blurred, others : (int, int)
        Flagged, of so many.
    """
    plates, random = {}, np.random.default_rng(seed)
    for well, images in planted_screen.drawn_wells(random, planted_screen.compounds_of(random)):
        plates.setdefault(well.plate, []).append((well, images[0]))
    blurred, others = [], []
    for wells in plates.values():
        for (well, _), row in zip(wells, judged([image for _, image in wells]), strict=True):
            flags = flags_of(row)
            (blurred if well.blur_px else others).append("OutOfFocus" in flags if well.blur_px else bool(flags))
    return (sum(blurred), len(blurred)), (sum(others), len(others))


def real_counts(blur_px):
    """Count what is flagged in real fields: kind -> (right flag, flagged, of so many).

    Tiles of the plate that was counted by hand, a quarter of them blurred, and 40 annotated fields of one plate.
    """
    tiles = [
        image[top : top + TILE_PX, left : left + TILE_PX]
        for _, image, _ in annotated.hand_counted_fields()
        for top in range(0, image.shape[0] - TILE_PX, TILE_PX)
        for left in range(0, image.shape[1] - TILE_PX, TILE_PX)
    ]
    for index, tile in enumerate(tiles[::4]):
        tiles[4 * index] = generated.as_type(generated.smooth(tile.astype(float), blur_px), tile.dtype)
    flags = [flags_of(row) for row in judged(tiles)]
    blurred = flags[::4]
    sharp = [flags[index] for index in range(len(flags)) if index % 4]
    plate = [image for _, image, _ in annotated.annotated_fields() if image.shape == PLATE_SHAPE]
    others = [flags_of(row) for row in judged(plate)]
    return {
        f"tiles of a real plate, blurred by {blur_px} px": (
            *("OutOfFocus", sum("OutOfFocus" in flag for flag in blurred), len(blurred)),
        ),
        "other tiles of that plate": ("none", sum(map(bool, sharp)), len(sharp)),
        "fields of one plate of BBBC038": ("none", sum(map(bool, others)), len(others)),
    }
