"""Tissue masks against planted tissue, and haematoxylin against scikit-image's."""

import cv2
import numpy as np
import pytest
from skimage import data
from skimage.color import rgb2hed

from fieldwork import tissue
from workspace import DATA

SHAPE = (240, 300)
GLASSES = {"white": (255, 255, 255), "grey": (243, 243, 244), "warm": (244, 240, 232), "dim": (200, 201, 198)}
EOSIN, NUCLEI = (226, 160, 190), (110, 70, 140)


def disc(row, column, radius):
    rows, columns = np.indices(SHAPE)
    return np.hypot(rows - row, columns - column) <= radius


def planted(glass, *, where, quality=None, seed=0):
    """Paint stroma with nuclei on glass, with noise, and save it as JPEG of a quality."""
    rng = np.random.default_rng(seed)
    image = np.empty((*SHAPE, 3))
    image[:] = glass
    image[where] = EOSIN
    image[where & (rng.random(SHAPE) < 0.2)] = NUCLEI
    image = (image + rng.normal(0, 2, image.shape)).round().clip(0, 255).astype(np.uint8)
    if quality:
        image = cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_COLOR)
    return image


def glowing(*, where, seed=0):
    """Paint dim tissue with bright nuclei on a dark ground, in blue."""
    rng = np.random.default_rng(seed)
    blue = np.where(where, 25.0, 2) + 120 * (where & (rng.random(SHAPE) < 0.15))
    image = np.zeros((*SHAPE, 3), np.uint8)
    image[..., 2] = rng.poisson(blue).clip(0, 255)
    return image


@pytest.mark.parametrize("quality", [None, 75, 30])
@pytest.mark.parametrize("glass", GLASSES)
def test_planted_tissue_is_found_to_within_2_percent(glass, quality):
    where = disc(120, 110, 100) | disc(60, 260, 30)
    found = tissue.tissue_mask(planted(GLASSES[glass], where=where, quality=quality), fluorescence=False)
    assert found.shape == SHAPE and found.dtype == bool
    assert np.count_nonzero(found) == pytest.approx(np.count_nonzero(where), rel=0.02)
    assert np.count_nonzero(found != where) < 816  # the length of the outlines: off by less than a pixel


@pytest.mark.parametrize("radius", [6, 12, 25])
def test_little_tissue_on_much_glass_is_found(radius):
    where = disc(100, 200, radius)
    found = tissue.tissue_mask(planted(GLASSES["grey"], where=where, quality=75), fluorescence=False)
    assert np.count_nonzero(found) == pytest.approx(np.count_nonzero(where), rel=0.2)
    assert not found[~disc(100, 200, radius + 4)].any()


@pytest.mark.parametrize("quality", [None, 75, 30])
@pytest.mark.parametrize("glass", GLASSES)
def test_blank_glass_has_no_tissue(glass, quality):
    image = planted(GLASSES[glass], where=np.zeros(SHAPE, bool), quality=quality)
    assert not tissue.tissue_mask(image, fluorescence=False).any()


@pytest.mark.parametrize("value", [0, 30, 128, 255])
@pytest.mark.parametrize("fluorescence", [False, True])
def test_a_constant_picture_is_decided_by_its_value(value, fluorescence):
    image = np.full((*SHAPE, 3), value, np.uint8)
    assert (tissue.tissue_mask(image, fluorescence=fluorescence) == (fluorescence and value > 0)).all()


def test_tissue_all_over_is_all_tissue():
    where = np.ones(SHAPE, bool)
    assert tissue.tissue_mask(planted(GLASSES["grey"], where=where), fluorescence=False).all()
    halves = planted(GLASSES["grey"], where=where)
    halves[:, 150:] = (220, 195, 205)  # pale stroma
    assert tissue.tissue_mask(halves, fluorescence=False).all()
    assert tissue.tissue_mask(glowing(where=where), fluorescence=True).all()


@pytest.mark.parametrize("gap", [0, 3, 20])
def test_black_gaps_are_not_tissue_however_noisy(gap):
    where = disc(120, 90, 70)
    image = planted(GLASSES["grey"], where=where)
    noise = np.random.default_rng(1).normal(gap, 2, (240, 60, 3))
    image[:, 240:] = noise.clip(0, 255)
    found = tissue.tissue_mask(image, fluorescence=False)
    assert not found[:, 235:].any()
    assert np.count_nonzero(found != where) < 0.02 * np.count_nonzero(where)


def test_specks_and_pin_holes_are_gone_and_larger_ones_stay():
    where = disc(120, 90, 70)
    for row, column in [(20, 200), (40, 250)]:  # dust of 4 px
        where[row : row + 2, column : column + 2] = True
    where[119:121, 89:91] = False
    where[80:100, 80:100] = False
    found = tissue.tissue_mask(planted(GLASSES["grey"], where=where), fluorescence=False)
    assert not found[:, 180:].any() and found[115:125, 85:95].all() and not found[84:96, 84:96].any()


def test_fluorescent_tissue_holds_all_planted_and_little_more():
    where = disc(120, 90, 70) | disc(60, 230, 40)
    found = tissue.tissue_mask(glowing(where=where), fluorescence=True)
    assert found[disc(120, 90, 68)].all() and found[disc(60, 230, 38)].all()
    assert not found[~(disc(120, 90, 76) | disc(60, 230, 46))].any()
    assert not tissue.tissue_mask(glowing(where=where & False), fluorescence=True).any()


@pytest.mark.parametrize(
    "image",
    [np.zeros((5, 5), np.uint8), np.zeros((5, 5, 4), np.uint8), np.zeros((0, 5, 3), np.uint8), np.zeros((5, 5, 3))],
    ids=["grey", "alpha", "empty", "float"],
)
def test_other_pictures_are_refused_by_shape_and_dtype(image):
    for function in (tissue.tissue_mask, tissue.nuclei_channel):
        for fluorescence in (False, True):
            with pytest.raises(ValueError, match=r"expected \(h, w, 3\) uint8.*found \(.*\) (uint8|float64)"):
                function(image, fluorescence=fluorescence)


@pytest.mark.parametrize("colour", [(0, 0, 0), GLASSES["white"], EOSIN, NUCLEI])
def test_one_pixel_is_a_picture(colour):
    found = tissue.tissue_mask(np.array([[colour]], np.uint8), fluorescence=False)
    assert found.tolist() == [[colour in (EOSIN, NUCLEI)]]


def colours():
    """Every 5th value of each channel with every other: 140,608 colours, black and white among them."""
    steps = np.arange(0, 256, 5, dtype=np.uint8)
    return np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(52, -1, 3)


@pytest.mark.parametrize(
    "image", [colours(), data.immunohistochemistry(), planted(GLASSES["grey"], where=disc(120, 90, 70))]
)
def test_haematoxylin_is_scikit_images(image):
    expected = rgb2hed(image)[..., 0]
    found = tissue.haematoxylin(image)
    assert found.dtype == np.float32 and found.shape == image.shape[:2] and expected.max() > 0.05
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=2e-7)  # 2e-7: where stains cancel out


def test_haematoxylin_of_a_pixel_does_not_depend_on_its_neighbours_or_the_memory():
    image = data.immunohistochemistry()[:90, :101]
    whole = tissue.haematoxylin(image)
    assert len(np.unique(whole)) > 1000
    for top, left, height, width in [(0, 0, 1, 1), (3, 7, 80, 93), (11, 50, 17, 33), (89, 0, 1, 101)]:
        part = image[top : top + height, left : left + width]
        np.testing.assert_array_equal(tissue.haematoxylin(part), whole[top : top + height, left : left + width])
    np.testing.assert_array_equal(tissue.haematoxylin(image[::-1, ::2]), whole[::-1, ::2])
    assert tissue.haematoxylin(np.full((4, 4, 3), 255, np.uint8)).max() == 0


@pytest.mark.parametrize("channel", [0, 1, 2])
def test_the_nuclei_channel_is_haematoxylin_or_the_brightest_channel(channel):
    image = data.immunohistochemistry()
    np.testing.assert_array_equal(tissue.nuclei_channel(image, fluorescence=False), tissue.haematoxylin(image))
    found = tissue.nuclei_channel(image, fluorescence=True)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, image.max(axis=-1))
    single = np.zeros_like(image)
    single[..., channel] = image[..., 1]
    np.testing.assert_array_equal(tissue.nuclei_channel(single, fluorescence=True), image[..., 1])


@pytest.mark.skipif(not (DATA / "slides").is_dir(), reason="the real slides are not here")
@pytest.mark.parametrize(
    ("name", "factor", "fluorescence", "least", "most"),
    [
        ("CMU-1-Small-Region.svs", 8, False, 0.30, 0.36),
        ("tcga-cr-7395-01a-01-ts1.svs", 16, False, 0.58, 0.66),
        ("test3-DAPI-2-(387).ndpi", 16, True, 0.6, 0.8),
        ("test3-TRITC 2 (560).ndpi", 16, True, 0.75, 0.88),
    ],
)
def test_the_mask_of_real_slides_covers_what_was_seen_to_be_tissue(name, factor, fluorescence, least, most):
    openslide = pytest.importorskip("openslide")
    with openslide.OpenSlide(str(DATA / "slides" / name)) as slide:
        width, height = slide.dimensions
        image = np.array(slide.read_region((0, 0), 0, (width, height)).convert("RGB"))
    image = cv2.resize(image, (width // factor, height // factor), interpolation=cv2.INTER_AREA)
    assert least < tissue.tissue_mask(image, fluorescence=fluorescence).mean() < most
