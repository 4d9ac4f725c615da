"""Draw the pictures of README.md into docs/pictures, from the results of `make demo`.

In the clone, after `make demo`: `PYTHONPATH=scripts:tests .venv/bin/python docs/draw_pictures.py`. The one of the
viewer needs Chromium. All are of the demo's images: six fields of BBBC038 (CC0), a picture of tissue that comes with
scikit-image (no known copyright restrictions), and a plate that the demo draws.
"""

import argparse
import asyncio
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np
import zarr
from PIL import Image

from browser.browser import chromium
from fieldwork import label_images
from fieldwork.segmentation import calibration, segment_nuclei

REPOSITORY = Path(__file__).parents[1]
PICTURES = REPOSITORY / "docs" / "pictures"
LARGEST_BYTES = 300_000
OUTLINE = (255, 0, 255)  # as in the pictures of a run
FIELD = "bbbc038_B03_s2_w1.png"  # with nuclei that touch
SETTINGS = {"good": {}, "many": {"diameter": 16}, "few": {"diameter": 90}}  # a third, and twice as wide as they are
FIELD_PART = np.s_[60:300, 100:340]
TISSUE_PART = np.s_[215:425, 150:500]
WINDOW_PX = {"width": 1400, "height": 800}
WELL = "B03"
NEUTRAL_PATH = f"""  // in place of where this clone lies
    document.querySelectorAll("*").forEach((element) => element.childNodes.forEach((node) => {{
        if (node.nodeType === Node.TEXT_NODE) node.data = node.data.replace({str(REPOSITORY)!r}, "~/fieldwork");
    }}));
"""


def main(arguments=None):
    """Draw all pictures, or those whose names are given."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="counts, dose, slide, viewer; default: all")
    names = parser.parse_args(arguments).names or list(DRAWN)
    for name in names:
        DRAWN[name]()
    for path in sorted(PICTURES.iterdir()):
        size = path.stat().st_size
        print(f"{path.relative_to(REPOSITORY)}: {size:,} bytes")
        if size > LARGEST_BYTES:
            sys.exit(f"{path} is larger than {LARGEST_BYTES:,} bytes")


def draw_counts():
    """Draw a field as a run outlines it, and as two wrong settings do."""
    folder = REPOSITORY / "config/demo/bbbc038/images"
    samples = [calibration.measure_sample(cv2.imread(str(path), -1)) for path in sorted(folder.iterdir())]
    image = cv2.imread(str(folder / FIELD), -1)
    darkest, brightest = np.percentile(image, (1, 99.8))
    shown = (255 * ((image - darkest) / (brightest - darkest)).clip(0, 1)).astype(np.uint8)
    for name, values in SETTINGS.items():
        labels = segment_nuclei(image, calibration.calibration_of(samples, **values))
        print(f"{name}: {labels.max()} nuclei")
        picture = with_outlines(np.stack([shown] * 3, axis=-1), labels, FIELD_PART, zoom=1.5)
        Image.fromarray(picture).quantize(64, dither=0).save(PICTURES / f"{name}.png", optimize=True)


def draw_dose():
    """Copy the demo's picture of nuclei against dose."""
    shutil.copyfile(REPOSITORY / "results/plates/demo/plots/doses.png", PICTURES / "dose.png")


def draw_slide():
    """Draw a part of the real tissue with the nuclei that were found."""
    store = zarr.open_group(REPOSITORY / "results/slides/tissue/tissue.ome.zarr", mode="r")
    image = np.moveaxis(store["0"][:].squeeze(), 0, -1)
    picture = with_outlines(image, store["labels/nuclei/0"][:].squeeze(), TISSUE_PART, zoom=2.5)
    Image.fromarray(picture).quantize(128, dither=0).save(PICTURES / "slide.png", optimize=True)


def draw_viewer():
    """Take a picture of the viewer: the real plate with a well open."""

    async def steps(browser):
        await browser.send("Emulation.setDeviceMetricsOverride", **WINDOW_PX, deviceScaleFactor=1, mobile=False)
        await browser.click(f".wells a[data-well={WELL}]")
        await browser.until("document.querySelectorAll('.nuclei path').length > 20")
        await browser.value(NEUTRAL_PATH)
        await asyncio.sleep(2)  # until tiles and pictures are there
        shown = Image.fromarray(await browser.screenshot())
        shown.quantize(256, Image.Quantize.FASTOCTREE, dither=0).save(PICTURES / "viewer.png", optimize=True)

    command = [sys.executable, "scripts/view.py", "--no-browser", "--port", "0"]
    viewer = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)
    try:
        address = re.search(r"http://\S+", viewer.stdout.readline())[0]
        with tempfile.TemporaryDirectory() as profile, chromium(profile) as act:
            act(f"{address}#/plates/bbbc038", steps)
    finally:
        viewer.terminate()
        viewer.wait()


def with_outlines(image, labels, part, *, zoom):
    """Return a part of an image, (rows, columns, 3) uint8, enlarged, with the objects of `labels` outlined."""
    picture = cv2.resize(image[part], None, fx=zoom, fy=zoom, interpolation=cv2.INTER_CUBIC)
    corner = part[1].start, part[0].start
    polygons = [((polygon - corner + 0.5) * zoom - 0.5) for polygon in label_images.outlines(labels)]
    fixed = [(16 * polygon).round().astype(np.int32) for polygon in polygons]  # of a sixteenth of a pixel
    cv2.polylines(picture, fixed, True, OUTLINE, 1, cv2.LINE_AA, shift=4)
    return picture


DRAWN = {"counts": draw_counts, "dose": draw_dose, "slide": draw_slide, "viewer": draw_viewer}

if __name__ == "__main__":
    main()
