"""Tissue on overviews against planted tissue of many stains, and on real slides."""

import cv2
import numpy as np
import pytest
from skimage import data

from fieldwork.slides import overview
from fieldwork.slides.readers import open_slide
from fieldwork.tissue import masks
from workspace import DATA

SHAPE = (240, 300)  # squares of 8 µm
UM = 8
GLASSES = {"white": (255, 255, 255), "grey": (243, 243, 244), "warm": (244, 240, 232), "dim": (200, 201, 198)}
EOSIN, NUCLEI = (226, 160, 190), (110, 70, 140)
# Stroma and nuclei, as they look on a glass of (240, 240, 240).
STAINS = {
    "H&E": (EOSIN, NUCLEI),
    "pale H&E": ((236, 218, 228), (180, 160, 200)),
    "haematoxylin": ((224, 228, 234), (150, 160, 190)),
    "faint blue": ((230, 233, 237), (205, 210, 225)),
    "DAB": ((190, 150, 110), (110, 60, 30)),
    "AEC": ((225, 150, 140), (180, 60, 50)),
    "silver": ((205, 204, 200), (60, 60, 62)),
    "grey": ((190, 190, 190), (90, 90, 90)),
}


def disc(row, column, radius):
    rows, columns = np.indices(SHAPE)
    return np.hypot(rows - row, columns - column) <= radius


def planted(glass, *, where, stain="H&E", noise=2, quality=None, seed=0):
    """Paint stroma with nuclei on glass, with noise, and save it as JPEG of a quality."""
    rng = np.random.default_rng(seed)
    image = np.empty((*SHAPE, 3))
    image[:] = glass
    stroma, nuclei = STAINS[stain]
    image[where] = stroma
    image[where & (rng.random(SHAPE) < 0.2)] = nuclei
    image = (image + rng.normal(0, noise, image.shape)).round().clip(0, 255).astype(np.uint8)
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


def mask_of(image, *, fluorescence=False, um=UM):
    """Return the tissue of a picture whose pixels are the squares of an overview."""
    valid = np.ones(image.shape[:2], bool)
    return masks.find_tissue(image.astype(np.float32), valid, um=um, fluorescence=fluorescence).mask


def share_at(pixels, mpp, um):
    """Return the share of tissue of a picture of `mpp` when it is given with pixels of `um`."""
    height, width = (round(side * mpp / um) for side in pixels.shape[:2])
    pixels = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)
    return tissue_of(pixels, um).mean()


def tissue_of(pixels, mpp, *, fluorescence=False):
    """Return the tissue of a slide's pixels, by its overview."""
    factor = overview.factor_of((mpp, mpp))
    picture = overview.Overview(pixels.shape[:2], factor=factor)
    picture.add(0, 0, *pixels.shape[:2], overview.packed_sums(pixels, 0, 0, factor=factor))
    return masks.find_tissue(*picture.means([]), um=factor * mpp, fluorescence=fluorescence).mask


@pytest.mark.parametrize("quality", [None, 75, 50])
@pytest.mark.parametrize("glass", GLASSES)
def test_planted_tissue_is_found_to_within_2_percent(glass, quality):
    where = disc(120, 110, 100) | disc(60, 260, 30)
    found = mask_of(planted(GLASSES[glass], where=where, quality=quality))
    assert found.shape == SHAPE and found.dtype == bool
    assert np.count_nonzero(found) == pytest.approx(np.count_nonzero(where), rel=0.02)
    assert np.count_nonzero(found != where) < 816  # the length of the outlines: off by less than a pixel


@pytest.mark.parametrize("noise", [0, 0.5, 1])
@pytest.mark.parametrize("stain", STAINS)
def test_tissue_of_every_stain_is_found_to_within_2_percent(stain, noise):
    where = disc(120, 110, 100) | disc(60, 260, 30)
    found = mask_of(planted((240, 240, 240), where=where, stain=stain, noise=noise))
    assert np.count_nonzero(found) == pytest.approx(np.count_nonzero(where), rel=0.02)
    assert np.count_nonzero(found != where) < 816


@pytest.mark.parametrize("strong", ["DAB", "H&E"])
@pytest.mark.parametrize("radius", [20, 50, 75])
def test_pale_tissue_is_tissue_beside_and_around_strongly_stained_tissue(strong, radius):
    where = disc(120, 110, 100)
    image = planted((240, 240, 240), where=where, stain="haematoxylin", noise=0.5)
    spots = disc(100, 110, radius) | disc(60, 260, 30)
    image[spots] = planted((240, 240, 240), where=spots, stain=strong, noise=0.5)[spots]
    found = mask_of(image)
    assert np.count_nonzero(found != where | spots) < 816


@pytest.mark.parametrize("stain", ["haematoxylin", "silver", "H&E"])
@pytest.mark.parametrize("margin", [2, 4, 8])
def test_a_thin_rim_of_glass_around_flat_tissue_is_glass(stain, margin):
    where = np.zeros(SHAPE, bool)
    where[margin:-margin, margin:-margin] = True
    image = planted((240, 240, 240), where=where, stain=stain, noise=0.5)
    image[where] = STAINS[stain][0]
    found = mask_of(image)
    assert np.count_nonzero(found != where) < 0.01 * found.size


@pytest.mark.parametrize("radius", [6, 12, 25])
def test_little_tissue_on_much_glass_is_found(radius):
    where = disc(100, 200, radius)
    found = mask_of(planted(GLASSES["grey"], where=where, quality=75))
    assert np.count_nonzero(found) == pytest.approx(np.count_nonzero(where), rel=0.2)
    assert not found[~disc(100, 200, radius + 8)].any()  # a block of JPEG


@pytest.mark.parametrize("quality", [None, 75, 30])
@pytest.mark.parametrize("glass", GLASSES)
def test_blank_glass_has_no_tissue(glass, quality):
    image = planted(GLASSES[glass], where=np.zeros(SHAPE, bool), quality=quality)
    assert mask_of(image).mean() < 0.001


@pytest.mark.parametrize("value", [0, 30, 128, 255])
@pytest.mark.parametrize("fluorescence", [False, True])
def test_a_constant_picture_is_decided_by_its_value(value, fluorescence):
    image = np.full((*SHAPE, 3), value, np.uint8)
    is_tissue = value > 0 if fluorescence else value in (30, 128)
    assert (mask_of(image, fluorescence=fluorescence) == is_tissue).all()


def test_tissue_all_over_is_all_tissue():
    where = np.ones(SHAPE, bool)
    assert mask_of(planted(GLASSES["grey"], where=where)).all()
    halves = planted(GLASSES["grey"], where=where)
    halves[:, 150:] = (220, 195, 205)  # pale stroma
    assert mask_of(halves).all()
    assert mask_of(glowing(where=where), fluorescence=True).all()
    assert tissue_of(data.immunohistochemistry(), 0.5).mean() > 0.8


@pytest.mark.parametrize("gap", [0, 3, 20])
def test_black_gaps_are_not_tissue_however_noisy(gap):
    where = disc(120, 90, 70)
    image = planted(GLASSES["grey"], where=where)
    noise = np.random.default_rng(1).normal(gap, 2, (240, 60, 3))
    image[:, 240:] = noise.clip(0, 255)
    found = mask_of(image)
    assert not found[:, 235:].any()
    assert np.count_nonzero(found != where) < 0.02 * np.count_nonzero(where)


def test_specks_and_pin_holes_are_gone_and_larger_ones_stay():
    where = disc(120, 90, 70)
    for row, column in [(20, 200), (40, 250)]:  # dust of 3 squares, 192 µm²
        where[row, column : column + 3] = True
    where[119:121, 89] = False
    where[80:100, 80:100] = False
    found = mask_of(planted(GLASSES["grey"], where=where, noise=0.5))
    assert not found[:, 180:].any() and found[115:125, 85:95].all() and not found[84:96, 84:96].any()


def test_fluorescent_tissue_holds_all_planted_and_little_more():
    where = disc(120, 90, 70) | disc(60, 230, 40)
    found = mask_of(glowing(where=where), fluorescence=True)
    assert found[disc(120, 90, 68)].all() and found[disc(60, 230, 38)].all()
    assert not found[~(disc(120, 90, 72) | disc(60, 230, 42))].any()  # squares of 8 µm
    assert not mask_of(glowing(where=where & False), fluorescence=True).any()


@pytest.mark.parametrize("colour", [(0, 0, 0), GLASSES["white"], EOSIN, NUCLEI])
def test_one_pixel_is_a_picture(colour):
    assert mask_of(np.array([[colour]], np.uint8)).tolist() == [[colour in (EOSIN, NUCLEI)]]


@pytest.mark.skipif(not (DATA / "slides").is_dir(), reason="the real slides are not here")
@pytest.mark.parametrize(
    ("name", "mpp", "fluorescence", "least", "most"),
    [
        ("CMU-1-Small-Region.svs", 0.499, False, 0.29, 0.36),
        ("OS-2-vsi.ome.tif", 0.346, False, 0.75, 0.85),
        ("tcga-cr-7395-01a-01-ts1.svs", 0.5, False, 0.56, 0.66),
        ("test3-DAPI-2-(387).ndpi", 0.228, True, 0.6, 0.9),
        ("test3-TRITC 2 (560).ndpi", 0.228, True, 0.75, 0.9),
    ],
)
def test_the_mask_of_real_slides_covers_what_was_seen_to_be_tissue_at_any_resolution(
    name, mpp, fluorescence, least, most
):
    slide = open_slide(DATA / "slides" / name, "tifffile")
    pixels = slide.read(0, 0, 0, *slide.shapes[0])
    assert least < tissue_of(pixels, mpp, fluorescence=fluorescence).mean() < most
    if name.startswith(("CMU", "tcga")):  # OS-2 would have 15 x 15 pixels
        shares = [share_at(pixels, mpp, um) for um in (4, 8, 16, 32)]
        assert max(shares) - min(shares) < 0.02, shares


@pytest.mark.parametrize("side", [60, 300])
@pytest.mark.parametrize("falloff", [0.05, 0.1, 0.15])
@pytest.mark.parametrize("stain", STAINS)
def test_uneven_light_is_no_tissue(stain, falloff, side):
    rows, columns = np.indices((side, side)) / side - 0.5
    light = 1 - falloff * 2 * (rows**2 + columns**2)
    where = np.hypot(rows, columns - 0.1) < 0.25
    rng = np.random.default_rng(0)
    image = np.full((side, side, 3), 243.0)
    stroma, nuclei = STAINS[stain]
    image[where] = stroma
    image[where & (rng.random(where.shape) < 0.2)] = nuclei
    for picture, planted in ((image, where), (np.full_like(image, 243), where & False)):
        found = mask_of((picture * light[..., None] + rng.normal(0, 0.3, image.shape)).astype(np.float32))
        assert np.count_nonzero(found != planted) <= 4 * side


@pytest.mark.parametrize(("offset", "stroma", "nuclei"), [(0, 200, 2000), (100, 60, 500), (1000, 2000, 40000)])
def test_fluorescence_of_16_bits_is_scaled_to_its_range(offset, stroma, nuclei):
    where = disc(120, 90, 70) | disc(60, 230, 40)
    everywhere = np.ones(SHAPE, bool)
    for planted in (where, where & False):
        rng = np.random.default_rng(0)
        light = np.where(planted, offset + stroma, offset) + nuclei * (planted & (rng.random(SHAPE) < 0.15))
        channels = np.stack([rng.poisson(light), rng.poisson(offset + 5, SHAPE)], axis=-1).astype(np.float32)
        means = masks.as_8_bits(channels, everywhere)
        found = masks.find_tissue(means, everywhere, um=UM, fluorescence=True).mask
        assert found[planted].all() and np.count_nonzero(found & ~planted) < 0.05 * np.count_nonzero(where)
