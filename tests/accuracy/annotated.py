"""Find the images that people annotated, and the definitions of the scores; both lie outside the repository."""

import csv
import importlib.util
from collections import defaultdict
from pathlib import Path

import cv2
import tifffile

from workspace import DATA

SET = "BBBC038 (Data Science Bowl 2018, stage 1) with lopuhin's fixes, CC0"
FOLDER = DATA / "annotated"
STAINED_FOLDER = DATA / "annotated_he"  # colour fields of the same set
SLIDE_COUNT_FILE = Path(__file__).with_name("cmu_1_points.csv")
SLIDE_COUNT_TILES = {"A": (640, 1080), "B": (960, 1040), "C": (1800, 1060), "D": (2340, 900), "E": (2560, 600)}
SLIDE_COUNT_SIDE_PX = 256  # of these tiles, by row and column of their first pixels
SCORE_FILE = DATA.parent / "accuracy" / "score.py"
HAND_COUNT_FILE = Path(__file__).with_name("md_multisite_points.csv")
HAND_COUNT_FOLDER = DATA / "plates" / "MD-MULTISITE-TIF"


def is_here():
    """Return whether the annotated images and the definitions of their scores are on this machine."""
    return FOLDER.is_dir() and SCORE_FILE.is_file()


def scores():
    """Import the module that defines the scores."""
    specification = importlib.util.spec_from_file_location("score", SCORE_FILE)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def annotated_fields(every=1):
    """Yield (name, image, labels) of the annotated fields, or of `every` nth."""
    for path in sorted((FOLDER / "images").glob("*.png"))[::every]:
        labels = cv2.imread(str(FOLDER / "labels" / path.name), cv2.IMREAD_UNCHANGED)
        yield path.stem, cv2.imread(str(path), cv2.IMREAD_UNCHANGED), labels


def hand_counted_fields():
    """Yield (name, image, points) of the plate whose nuclei were marked by hand; a point is a row and a column."""
    points = defaultdict(list)
    with HAND_COUNT_FILE.open() as file:
        for row in csv.DictReader(file):
            points[row["file"]].append((int(row["row"]), int(row["column"])))
    for name in sorted(points):
        yield name, tifffile.imread(HAND_COUNT_FOLDER / name), points[name]
