#!/usr/bin/env python3
"""A screen of four plates with planted effects and faults: planted_screen.py OUT [SEED] writes it and its truth.

Two layouts of 384 wells in two replicates (L1R1, L1R2, L2R1, L2R2); 224 wells of a plate have an image and a line in
the platemap: controls in columns 2 and 23 (DMSO negative, kill positive, row by row), and 24 compounds in 8 doses
somewhere in columns 3 to 22. 21 compounds lower the number of nuclei with a known EC50, and raise the share of nuclei
with marker with another one; 3 do nothing. Outer wells have 7 % fewer nuclei, plate L2R2 has half the exposure, and 5
wells of any plate are blurred. Images are 16 bit: w1 DNA, w2 marker.

OUT/wells.csv: what was planted in every well; OUT/compounds.csv: the EC50s in uM, empty where inert. Needs numpy,
scipy and tifffile.
"""

import csv
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tifffile
from scipy.ndimage import gaussian_filter

SIDE_PX = 264
CELL_PX = 24  # a nucleus lies somewhere in the middle of a cell of this grid, so that none touch
MOST_NUCLEI = 80  # of the 121 cells
REACH_PX = 15
DOSES_UM = (0.03, 0.1, 0.3, 1, 3, 10, 30, 100)
PLATES = {"L1R1": 1.0, "L1R2": 1.0, "L2R1": 1.0, "L2R2": 0.5}  # exposure
ROWS = "ABCDEFGHIJKLMNOP"
COMPOUNDS, INERT, BLURRED = 24, 3, 5
GROUND, BASE_SHARE, MOST_SHARE = 120, 0.1, 0.8
LEFT = 0.05  # of the nuclei, where all that can die are dead
OUTER_LOSS, SPREAD = 0.07, 0.04  # share of the nuclei; standard deviation of a well's number, of its mean


class Compound(NamedTuple):
    """What a compound does; None: nothing."""

    ec50_um: float | None
    share_ec50_um: float | None
    slope: float


class Well(NamedTuple):
    """What is planted in a well."""

    plate: str
    well: str
    compound: str
    dose_um: float
    control: str
    blur_px: float = 0.0
    nuclei: int = 0
    with_marker: int = 0


def compounds_of(random):
    """Draw what every compound does."""
    inert = set(random.choice(COMPOUNDS, INERT, replace=False).tolist())
    ec50s = 10 ** random.uniform(-1, 1, (COMPOUNDS, 2))
    slopes = random.uniform(1.0, 2.0, COMPOUNDS)
    return {
        f"cpd{number + 1:02d}": Compound(*((None, None) if number in inert else map(float, ec50)), float(slope))
        for number, (ec50, slope) in enumerate(zip(ec50s, slopes, strict=True))
    }


def layout_of(random, compounds):
    """Return well -> (compound, dose, control) of a layout, by rows."""
    inner = [f"{row}{column:02d}" for row in ROWS for column in range(3, 23)]
    treated = [(name, dose, "") for name in compounds for dose in DOSES_UM]
    at = random.permutation(len(inner))[: len(treated)]
    wells = {inner[index]: treatment for index, treatment in zip(at, treated, strict=True)}
    for number, row in enumerate(ROWS):
        for column in (2, 23):
            is_negative = (number + column) % 2 == 0
            wells[f"{row}{column:02d}"] = ("DMSO", 0.0, "negative") if is_negative else ("kill", 10.0, "positive")
    return dict(sorted(wells.items()))


def effect(compounds, well):
    """Return the mean number of nuclei in a well, and the share of them with marker."""
    left, share = 1.0, BASE_SHARE
    if well.control == "positive":
        left = LEFT
    elif well.compound in compounds and compounds[well.compound].ec50_um is not None:
        compound = compounds[well.compound]
        left = LEFT + (1 - LEFT) / (1 + (well.dose_um / compound.ec50_um) ** compound.slope)
        share += (MOST_SHARE - BASE_SHARE) / (1 + (compound.share_ec50_um / well.dose_um) ** 2)
    is_outer = well.well[0] in "AP" or well.well[1:] in ("01", "24")
    return MOST_NUCLEI * left * (1 - OUTER_LOSS * is_outer), share


def draw(random, count, share, *, exposure=1.0, blur_px=0.0):
    """Draw the images of a well with so many nuclei; return them, and the number of nuclei with marker."""
    cells = SIDE_PX // CELL_PX
    light = np.zeros((2, SIDE_PX, SIDE_PX))
    with_marker = random.random(count) < share
    grid = np.arange(-REACH_PX, REACH_PX + 1)
    for cell, has_marker in zip(random.permutation(cells**2)[:count], with_marker, strict=True):
        row, column = (CELL_PX * (index + 0.5) + random.uniform(-3, 3) for index in divmod(int(cell), cells))
        top, left = round(row), round(column)
        away = np.hypot(grid[:, None] + top - row, (grid + left - column) * random.uniform(0.9, 1.1))
        disc = 1 / (1 + np.exp((away - random.uniform(6, 8)) * 1.5))
        rows, columns = (slice(max(0, at - REACH_PX), at + REACH_PX + 1) for at in (top, left))
        part = light[:, rows, columns]
        disc = disc[max(0, REACH_PX - top) :, max(0, REACH_PX - left) :][: part.shape[1], : part.shape[2]]
        part += disc * np.array([random.uniform(2400, 4000), 2500 if has_marker else 250])[:, None, None]
    if blur_px:
        light = gaussian_filter(light, (0, blur_px, blur_px))
    images = random.poisson(exposure * light + GROUND)
    return images.clip(0, 65535).astype(np.uint16), int(with_marker.sum())


def plan(random, compounds):
    """Return all wells of all plates, with what blurs them."""
    layouts = [layout_of(random, compounds) for _ in range(2)]
    wells = [
        Well(plate, well, *treatment)
        for number, plate in enumerate(PLATES)
        for well, treatment in layouts[number // 2].items()
    ]
    for index in random.choice(len(wells), BLURRED, replace=False):
        wells[index] = wells[index]._replace(blur_px=float(random.uniform(3, 6)))
    return wells


def drawn_wells(random, compounds):
    """Yield every well of a screen with what was planted, and its images, (channels, rows, columns) uint16."""
    for well in plan(random, compounds):
        mean, share = effect(compounds, well)
        count = max(0, round(random.normal(mean, SPREAD * mean)))
        images, with_marker = draw(random, count, share, exposure=PLATES[well.plate], blur_px=well.blur_px)
        yield well._replace(nuclei=count, with_marker=with_marker), images


def plant_screen(folder, seed=1):
    """Write the images, platemaps, sheet and truth of a screen into a folder; return its wells and compounds."""
    folder, random, wells = Path(folder), np.random.default_rng(seed), []
    compounds = compounds_of(random)
    for well, images in drawn_wells(random, compounds):
        wells.append(well)
        (folder / well.plate).mkdir(parents=True, exist_ok=True)
        for channel, image in enumerate(images, 1):
            tifffile.imwrite(folder / well.plate / f"scr_{well.well}_s1_w{channel}.tif", image)
    for plate in PLATES:
        lines = [(w.well, w.compound, f"{w.dose_um:g}", w.control) for w in wells if w.plate == plate]
        write_csv(folder / f"{plate}.csv", ("well", "compound", "concentration_um", "control"), lines)
    write_csv(folder / "wells.csv", Well._fields, wells)
    truth = [(name, *compound) for name, compound in compounds.items()]
    write_csv(folder / "compounds.csv", ("compound", *Compound._fields), truth)
    (folder / "config").mkdir(exist_ok=True)
    sheet = "plate\timages\tplatemap\n" + "".join(f"{plate}\t{plate}\t{plate}.csv\n" for plate in PLATES)
    (folder / "config/plates.tsv").write_text(sheet)
    return wells, compounds


def write_csv(path, header, rows):
    """Write rows as CSV."""
    with open(path, "w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows])


if __name__ == "__main__":
    plant_screen(sys.argv[1], int(sys.argv[2]) if sys.argv[2:] else 1)
