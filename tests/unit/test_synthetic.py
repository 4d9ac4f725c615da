"""Planted fields and tissue keep their promises, and matching counts every nucleus once."""

import cv2
import numpy as np
import pandas as pd
import pytest
from scipy.ndimage import distance_transform_edt
from scipy.spatial.distance import pdist

import score_demo_slide
import synthesize_demo_slide
from fieldwork import nuclei, optical_densities, synthetic
from fieldwork.slides import readers
from fieldwork.tissue import masks


def draw(seed, *, count=40, shape=(300, 360)):
    return synthetic.plant_field(np.random.default_rng(seed), shape=shape, count=count)


@pytest.mark.parametrize("seed", range(5))
def test_nuclei_are_planted_apart_and_off_the_border(seed):
    image, centres = draw(seed)
    assert image.shape == (300, 360) and image.dtype == np.uint16
    assert len(centres) == 40
    assert pdist(centres).min() >= 24
    assert (centres >= 16).all() and (centres <= np.array(image.shape) - 1 - 16).all()


def test_a_field_holds_no_more_nuclei_than_fit_and_none_if_none_are_wanted():
    _, centres = draw(0, count=500)
    assert 60 < len(centres) < 150  # random packing covers about half: 268 x 328 px / 24**2 px / 0.55
    assert pdist(centres).min() >= 24
    image, centres = draw(0, count=0)
    assert centres.shape == (0, 2)
    assert abs(image.mean() - 300) < 2 and image.max() < 600


def test_light_is_where_the_nuclei_are_and_nowhere_else():
    image, centres = draw(2)
    heights = image[tuple(centres.T)]
    assert heights.min() > 4000 and heights.max() < 12600 and np.ptp(heights) > 3000
    far = np.ones(image.shape, bool)
    for row, column in centres:
        far[row - 13 : row + 14, column - 13 : column + 14] = False
    assert far.sum() > 20000 and image[far].max() < 600


def test_detection_finds_what_was_planted():
    planted = detected = matched = 0
    for seed in range(5):
        image, centres = draw(seed, count=60)
        peaks = nuclei.detect_nuclei(image)
        planted, detected = planted + len(centres), detected + len(peaks)
        matched += synthetic.match(peaks, centres, within=4)
    assert planted > 200 and matched / planted > 0.97 and matched / detected > 0.97


def test_one_seed_gives_one_field():
    (image, centres), (again, same), (other, _) = draw(1), draw(1), draw(2)
    np.testing.assert_array_equal(image, again)
    np.testing.assert_array_equal(centres, same)
    assert (image != other).any()


def draw_tissue(seed, *, count=60, shape=(400, 500)):
    rng = np.random.default_rng(seed)
    depth = synthetic.piece_of_tissue(rng, shape=shape)
    image, centres = synthetic.plant_tissue(rng, depth=depth, count=count)
    return synthetic.lay_on_glass(image, depth), centres, depth


@pytest.mark.parametrize("shape", [(400, 500), (500, 300)])
@pytest.mark.parametrize("seed", range(4))
def test_a_piece_of_tissue_lies_within_its_rectangle_and_knows_how_far_the_glass_is(seed, shape):
    depth = synthetic.piece_of_tissue(np.random.default_rng(seed), shape=shape)
    assert depth.shape == shape and 0.4 < (depth > 0).mean() < 0.7
    assert not (depth[[0, -1]].any() or depth[:, [0, -1]].any())
    inner, true = depth > 20, distance_transform_edt(depth > 0)
    assert (depth[inner] < 1.34 * true[inner]).all() and depth.max() > 100


def test_outside_the_piece_is_glass_and_inside_is_the_picture():
    depth = synthetic.piece_of_tissue(np.random.default_rng(1), shape=(300, 300))
    picture = np.random.default_rng(2).integers(0, 256, (300, 300, 3), dtype=np.uint8)
    laid = synthetic.lay_on_glass(picture, depth)
    assert (laid[depth == 0] == 242).all() and (depth == 0).sum() > 10000
    np.testing.assert_array_equal(laid[depth >= 4], picture[depth >= 4])


@pytest.mark.parametrize("seed", range(3))
def test_nuclei_in_tissue_are_planted_apart_and_off_the_glass_and_found(seed):
    image, centres, depth = draw_tissue(seed)
    assert image.shape == (400, 500, 3) and image.dtype == np.uint8 and len(centres) == 60
    assert pdist(centres).min() >= 24 and depth[tuple(centres.T)].min() >= 24
    detected = nuclei.detect_nuclei(optical_densities.haematoxylin(image), sigma=3, min_distance=6, threshold_abs=0.05)
    assert len(detected) == 60 and synthetic.match(detected, centres, within=3) == 60
    means = cv2.resize(image, None, fx=1 / 4, fy=1 / 4, interpolation=cv2.INTER_AREA).astype(np.float32)
    seen = masks.find_tissue(means, np.ones(means.shape[:2], bool), um=8, fluorescence=False)
    assert (seen.mask == (depth[2::4, 2::4] > 0)).mean() > 0.95


def test_tissue_without_nuclei_has_no_haematoxylin():
    image, centres, _ = draw_tissue(0, count=0)
    assert centres.shape == (0, 2)
    assert optical_densities.haematoxylin(image).max() < 0.01


def test_one_seed_gives_one_tissue():
    (image, centres, _), (again, same, _), (other, _, _) = draw_tissue(1), draw_tissue(1), draw_tissue(2)
    np.testing.assert_array_equal(image, again)
    np.testing.assert_array_equal(centres, same)
    assert (image != other).any()


@pytest.mark.parametrize("reader", readers.READERS)
def test_every_reader_knows_the_written_slides_levels_pixels_and_pixel_size(tmp_path, reader):
    if reader != "tifffile":
        pytest.importorskip(reader)
    image, _, _ = draw_tissue(0, shape=(512, 768))
    synthesize_demo_slide.write_pyramid(tmp_path / "slide.tif", image)
    slide = readers.open_slide(tmp_path / "slide.tif", reader)
    assert slide.shapes == ((512, 768), (256, 384), (128, 192), (64, 96))
    assert slide.mpp == pytest.approx((0.5, 0.5)) and not slide.fluorescence
    for level in range(4):
        mean = image.reshape(512 >> level, 1 << level, 768 >> level, 1 << level, 3).mean(axis=(1, 3))
        shown = slide.read(level, 0, 0, *slide.shapes[level])
        assert np.abs(shown - mean).mean() < 5  # JPEG
    slide.close()


@pytest.mark.parametrize(("missed", "invented", "passes"), [(1, 1, True), (0, 0, True), (3, 0, False), (0, 3, False)])
def test_the_demo_slide_fails_below_99_percent_and_says_what_nobody_planted(tmp_path, missed, invented, passes):
    rows, columns = np.mgrid[1030:1330:30, 530:1130:30]
    planted = np.stack([rows.ravel(), columns.ravel()], axis=-1)
    assert len(planted) == 200
    pd.DataFrame(planted, columns=["Row", "Column"]).to_csv(tmp_path / "planted.csv")
    detected = np.vstack([planted[missed:] + (2, -2), planted[:invented] + 12])
    columns = ["Nuclei_Location_Center_Y", "Nuclei_Location_Center_X"]
    pd.DataFrame(detected.astype(float), columns=columns).to_parquet(tmp_path / "nuclei.parquet")
    pd.DataFrame(planted[:30].astype(float), columns=columns).to_parquet(tmp_path / "tissue.parquet")
    arguments = {
        "planted": tmp_path / "planted.csv",
        "nuclei": tmp_path / "nuclei.parquet",
        "tissue_nuclei": tmp_path / "tissue.parquet",
        "score": tmp_path / "score.txt",
    }
    if passes:
        score_demo_slide.main(**arguments)
        shares = f"precision {1 - invented / 200:.1%}, recall {1 - missed / 200:.1%}"
        planted_line, real_line = (tmp_path / "score.txt").read_text().splitlines()
        counts = f"200 nuclei planted, 200 found, {200 - missed} of them planted ones, {invented} others"
        assert planted_line == f"Demo slide: {counts}: {shares}."
        assert "30 nuclei found; none was planted and nobody has counted them" in real_line
    else:
        with pytest.raises(RuntimeError, match="At least 99%"):
            score_demo_slide.main(**arguments)
        assert not (tmp_path / "score.txt").exists()


@pytest.mark.parametrize(("concentration", "left"), [(0, 150), (1, 75), (3, 15), (1e6, 0)])
def test_survivors_follow_the_hill_curve(concentration, left):
    assert synthetic.nuclei_at(concentration, untreated=150, half=1.0) == left


def test_every_nucleus_is_matched_once_in_any_order():
    rng = np.random.default_rng(4)
    planted = np.stack(np.meshgrid(np.arange(0, 300, 24), np.arange(0, 300, 24)), axis=-1).reshape(-1, 2)
    moved = planted + rng.uniform(-2.5, 2.5, planted.shape)  # 3.5 px at the most
    missed, invented = 10, planted[:7] + 12
    detected = rng.permutation(np.vstack([moved[missed:], invented]))
    assert synthetic.match(detected, planted, within=4) == len(planted) - missed
    assert synthetic.match(planted, detected, within=4) == len(planted) - missed


@pytest.mark.parametrize(
    ("detected", "planted", "pairs"),
    [
        ([[10, 10], [11, 10], [10, 11]], [[10, 10]], 1),
        ([[10, 10]], [[10, 10], [10, 12]], 1),
        ([[10, 12], [10, 9]], [[10, 10], [10, 14]], 2),
        ([[13, 14]], [[10, 10]], 1),  # 5 px: still within
        ([[13, 14.01]], [[10, 10]], 0),
        (np.empty((0, 2)), [[10, 10]], 0),
        ([[10, 10]], np.empty((0, 2)), 0),
    ],
)
def test_pairs_are_one_to_one_and_within_reach(detected, planted, pairs):
    assert synthetic.match(detected, planted, within=5) == pairs
