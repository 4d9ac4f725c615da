"""Nuclei of stained tissue are outlined where people see them, without a setting."""

import csv

import cv2
import numpy as np
import pytest
import skimage.data

from accuracy import annotated
from fieldwork import label_images
from slide_files import REAL_SLIDES, read_level_0
from stained import outline

SLIDE = REAL_SLIDES / "CMU-1-Small-Region.svs"
MPP = 0.499
either = pytest.mark.parametrize("method", ["network", "classical"])


@pytest.mark.skipif(not annotated.STAINED_FOLDER.is_dir(), reason=f"needs {annotated.STAINED_FOLDER}: {annotated.SET}")
@either
def test_annotated_colour_fields(method):
    score = annotated.scores()
    points, hits, found, nuclei = np.zeros(3, int), 0, 0, 0
    for path in sorted((annotated.STAINED_FOLDER / "images").glob("*.png")):
        image = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
        truth = cv2.imread(str(annotated.STAINED_FOLDER / "labels" / path.name), cv2.IMREAD_UNCHANGED)
        labels, _ = outline(image, method=method)
        points += score.points_score(score.points_of(labels), truth)
        at_overlaps, objects, true_objects = score.outlines_score(labels, truth)
        hits, found, nuclei = hits + at_overlaps[0], found + objects, nuclei + true_objects
    true, surplus, missed = points
    assert nuclei == 2290
    least_points, least_outlines = {"network": (0.83, 0.71), "classical": (0.8, 0.64)}[method]  # it was trained on them
    assert 2 * true / (2 * true + surplus + missed) >= least_points
    assert 2 * hits / (found + nuclei) >= least_outlines


@pytest.mark.skipif(not SLIDE.is_file(), reason="the real slides are not here")
@either
def test_a_slide_whose_nuclei_were_counted_by_eye(method):
    labels, facts = outline(np.ascontiguousarray(read_level_0(SLIDE, "tifffile")), mpp=MPP, method=method)
    assert facts["modality"] == "he"
    with annotated.SLIDE_COUNT_FILE.open(newline="") as stream:
        points = np.array([(int(row["row"]), int(row["column"])) for row in csv.DictReader(stream)])
    centres = np.stack(label_images.properties(labels)[:2], axis=1)
    side = annotated.SLIDE_COUNT_SIDE_PX
    counted = sum(
        np.count_nonzero(((centres >= corner) & (centres < np.add(corner, side))).all(axis=1))
        for corner in annotated.SLIDE_COUNT_TILES.values()
    )
    assert counted == pytest.approx(len(points), rel=0.1)
    hits = len(set(labels[tuple(points.T)]) - {0})
    assert 2 * hits / (counted + len(points)) >= 0.87


@either
def test_immunohistochemistry_beside_brown_cytoplasm(method):
    labels, facts = outline(skimage.data.immunohistochemistry(), method=method)
    assert facts["modality"] == "hdab" and facts["tissue_area_px"] >= 0.8 * labels.size
    assert 200 <= labels.max() <= 400


@either
def test_fibres_without_nuclei_are_none(method):
    rng = np.random.default_rng(4)
    texture = cv2.GaussianBlur(rng.standard_normal((600, 700)), (0, 0), 2)
    density = 0.15 + 0.05 * texture / texture.std()
    image = np.rint(245 * 10 ** -(density[..., None] * (0.07, 0.99, 0.11))).astype(np.uint8)
    image[:40] = 245
    labels, _ = outline(image, mpp=0.5, method=method)
    assert labels.max() == 0
