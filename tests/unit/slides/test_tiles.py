"""Tiles against the whole: the same nuclei, to the bit, whatever the tile, on planted and on random slides."""

import cv2
import numpy as np
import pytest
from scipy import ndimage
from skimage import data
from skimage.feature import peak_local_max
from skimage.filters import gaussian

from fieldwork import nuclei, optical_densities
from fieldwork.slides import tables, tiles
from fieldwork.slides.channels import Channels
from fieldwork.slides.tiles import Tile

SHAPE = (330, 420)
SIZES = [64, 100, 256, 512]
BRIGHTFIELD = {"sigma": 3.0, "min_distance": 5, "threshold_abs": 0.03}
FLUORESCENCE = {"sigma": 3.0, "min_distance": 5, "threshold_abs": 30}
TIES = {"sigma": 0.7, "min_distance": 4, "threshold_abs": 30}
LONG_TIES = {"sigma": 0.7, "min_distance": 15, "threshold_abs": 30}  # a halo of 63 px
FACTOR = 8


def blobs(rng, *, count=300, shape=SHAPE):
    """Gaussian blobs of height 0.3 to 1 at any place, borders and corners too."""
    image = np.zeros(shape)
    image[rng.integers(shape[0], size=count), rng.integers(shape[1], size=count)] = rng.uniform(60, 200, count)
    return ndimage.gaussian_filter(image, 5) / 1.3


def in_blue(values):
    image = np.zeros((*values.shape, 3), np.uint8)
    image[..., 2] = values.clip(0, 255)
    return image


def noisy(rng):
    return in_blue(200 * blobs(rng) + rng.poisson(8, SHAPE))


def saturated(rng):
    """Most nuclei are flat on top; the smoothed ones are flat for up to 30 px."""
    return in_blue(255 * np.minimum(blobs(rng) * 1.3 > 0.25, 1) * (rng.random(SHAPE) > 0.001))


def tied(rng):
    """Pairs, squares and rows of equal pixels on black: each a plateau of a few equal peaks."""
    values = np.zeros(SHAPE)
    for row in range(4, 320, 11):
        for column in range(4, 410, 13):
            height, width = rng.integers(1, 5, 2)
            values[row : row + height, column : column + width] = 250
    return in_blue(values)


def chained(rng):
    """Lines and stairs of equal pixels, up to 60 px long: what is kept at one end depends on the other."""
    values = np.zeros(SHAPE)
    for row in range(8, 300, 33):
        for column in range(8, 350, 66):
            steps = np.arange(rng.integers(10, 60))
            values[row + steps // 3 * rng.integers(2), column + steps] = 250
    return in_blue(values)


def stained(rng):
    """Haematoxylin blobs on eosin, and glass."""
    density = np.stack([blobs(rng), np.full(SHAPE, 0.2), np.zeros(SHAPE)], axis=-1) * (0.9, 1, 0)
    density[:, 300:] *= 0.02
    image = 255 * 10 ** -(density @ np.array(list(optical_densities.STAINS.values()))) + rng.normal(0, 2, (*SHAPE, 3))
    return image.clip(0, 255).astype(np.uint8)


KINDS = {"noisy": noisy, "saturated": saturated, "tied": tied, "chained": chained, "stained": stained}


def mask_of(shape, *, seed=None):
    """Tissue everywhere, or (with a seed) in some blotches."""
    size = [-(-length // FACTOR) for length in shape[:2]]
    if seed is None:
        return np.ones(size, bool)
    return ndimage.gaussian_filter(np.random.default_rng(seed).random(size), 3) > 0.5


def measured(image, size, *, mask=None, fluorescence=True, detection=None, factor=FACTOR):
    """Measure all tiles of a slide in memory."""
    detection = detection or (FLUORESCENCE if fluorescence else BRIGHTFIELD)

    def read(row, column, height, width):
        assert row >= 0 and column >= 0 and height > 0 and width > 0
        assert row + height <= image.shape[0] and column + width <= image.shape[1]
        return image[row : row + height, column : column + width].copy()

    options = {"read": read, "shape": image.shape[:2], "factor": factor}
    options["channels"] = Channels("fluorescence" if fluorescence else "he")
    options |= {"mask": mask_of(image.shape) if mask is None else mask, "detection": detection}
    halo = tiles.halo_of(detection)
    return [tiles.measure_tile(tile, halo=halo, **options) for tile in tiles.tiles_of(image.shape[:2], tile=size)]


def found(image, size, **options):
    """Return the nuclei as sorted (row, column, peak), after checks that the tiles are sound and share nothing."""
    done = measured(image, size, **options)
    for one in done:
        assert one.error == ""
        assert len(one.coordinates) == len(one.peaks)
        inside = one.coordinates - one.tile[:2]
        assert (inside >= 0).all() and (inside < one.tile[2:]).all()
        assert one.coordinates.tolist() == sorted(one.coordinates.tolist())
    table = tables.nuclei_table("S", done, mpp=None)
    columns = ["Nuclei_Location_Center_Y", "Nuclei_Location_Center_X", "Nuclei_Intensity_Peak"]
    return list(zip(*(table[name].to_pylist() for name in columns), strict=True))


def whole(image, *, mask=None, fluorescence=True, detection=None):
    """Detect in the whole slide at once, with its own smoothing for the peaks."""
    detection = detection or (FLUORESCENCE if fluorescence else BRIGHTFIELD)
    channel = image.max(axis=-1) if fluorescence else optical_densities.haematoxylin(image)
    coordinates = nuclei.detect_nuclei(channel, **detection)
    if mask is not None:
        coordinates = coordinates[mask[tuple(coordinates.T // FACTOR)]]
    coordinates = np.array(sorted(coordinates.tolist()))
    peaks = [nuclei.intensities_at(one[None], channel, sigma=detection["sigma"])[0] for one in coordinates]
    return [(*place, peak) for place, peak in zip(coordinates.tolist(), peaks, strict=True)]


@pytest.mark.parametrize("size", [*SIZES, 37])
@pytest.mark.parametrize("kind", KINDS)
def test_tiles_give_the_nuclei_of_the_whole_slide_to_the_bit(kind, size):
    image = KINDS[kind](np.random.default_rng(list(KINDS).index(kind)))
    options = {"fluorescence": kind != "stained", "detection": {"tied": TIES, "chained": LONG_TIES}.get(kind)}
    expected = whole(image, **options)
    assert len(expected) > 80
    assert found(image, size, **options) == expected


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", ["noisy", "saturated", "stained"])
def test_nuclei_outside_the_tissue_are_left_out(kind, size):
    image = KINDS[kind](np.random.default_rng(5))
    mask, fluorescence = mask_of(image.shape, seed=1), kind != "stained"
    expected = whole(image, mask=mask, fluorescence=fluorescence)
    assert 20 < len(expected) < 0.8 * len(whole(image, fluorescence=fluorescence))
    assert found(image, size, mask=mask, fluorescence=fluorescence) == expected


@pytest.mark.parametrize("seed", range(25))
def test_random_slides_tiles_and_settings(seed):
    rng = np.random.default_rng([7, seed])
    kind = list(KINDS)[seed % 4]
    sigma, min_distance = rng.choice([0.7, 1.5, 4.0]), int(rng.choice([1, 2, 6, 10]))
    detection = {"sigma": float(sigma), "min_distance": min_distance, "threshold_abs": 20}
    height, width = rng.integers(20, SHAPE)
    image = KINDS[kind](rng)[-height:, -width:]
    whole_slide = found(image, 1000, detection=detection)
    for size in rng.integers(15, 200, size=2):
        assert found(image, int(size), detection=detection) == whole_slide
    plateaus = kind in ("saturated", "chained")
    if not plateaus:
        assert whole_slide == whole(image, detection=detection)


@pytest.mark.parametrize("size", SIZES)
def test_a_photograph_of_tissue(size):
    image = data.immunohistochemistry()
    expected = whole(image, fluorescence=False)
    assert len(expected) > 200
    assert found(image, size, fluorescence=False) == expected


def test_planted_nuclei_on_borders_and_corners_of_tiles_are_found_once():
    planted = [(63, 63), (64, 128), (128, 64), (127, 127), (63, 200), (192, 191), (100, 64), (255, 255), (256, 384)]
    values = np.zeros(SHAPE)
    for row, column in planted:
        values[row, column] = 40000
    image = in_blue(ndimage.gaussian_filter(values, 5))
    assert [place[:2] for place in found(image, 64)] == sorted(planted)


@pytest.mark.parametrize("size", [*SIZES, 1000])
def test_wide_plateaus_are_no_nuclei_and_narrow_ones_are_in_any_tile(size):
    halo = tiles.halo_of(FLUORESCENCE)  # 32 px; the smoothing leaves a saturated square flat but for 12 px at its sides
    image = np.zeros((*SHAPE, 3), np.uint8)
    image[20:120, 30:230] = 255
    image[40 : 40 + 24 + halo - 3, 270 : 270 + 24 + halo - 3] = 255
    image[260:300:13, 100:400:17] = 255
    everything = whole(image)
    expected = [place for place in everything if place[0] > 240 or place[1] > 250]
    assert len(everything) > len(expected) + 200
    assert [place for place in expected if place[0] < 240]
    assert found(image, size) == expected


@pytest.mark.parametrize("size", [*SIZES, 1000])
def test_long_lines_are_no_nuclei_and_short_ones_are_in_any_tile(size):
    values = np.zeros(SHAPE)
    for row in range(12, 320, 30):
        values[row, row // 2 : row // 2 + 200] = 250  # nowhere flat on a square, and over 19 px long
        values[row + 15, 40:400:23] = values[row + 15, 41:400:23] = 250
    everything = whole(in_blue(values), detection=TIES)
    expected = [place for place in everything if place[0] % 30 == 27]
    assert len(everything) > len(expected) + 300 and len(expected) > 100
    assert found(in_blue(values), size, detection=TIES) == expected


@pytest.mark.parametrize("value", [0, 200, 255])
@pytest.mark.parametrize("size", [20, 64, 1000])
@pytest.mark.parametrize("shape", [SHAPE, (30, 25)])
def test_a_constant_slide_has_no_nuclei(value, size, shape):
    assert found(np.full((*shape, 3), value, np.uint8), size) == []


@pytest.mark.parametrize("size", [7, 20, 64])
def test_a_window_may_be_constant_where_the_slide_is_not(size):
    image = np.zeros((20, 200, 3), np.uint8)
    image[:, 70:136] = 255  # smoothed, 26 px are level; narrower than the halo of 28
    detection = {"sigma": 5.0, "min_distance": 2, "threshold_abs": 30}
    expected = whole(image, detection=detection)
    assert len(expected) > 50
    assert found(image, size, detection=detection) == expected


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (300, 1), (9, 300), (300, 11), (64, 65), (30, 30)])
def test_narrow_slides(shape):
    image = noisy(np.random.default_rng(3))[-shape[0] :, -shape[1] :]
    for size in (17, 64):
        assert found(image, size) == whole(image)


def test_tiles_cover_the_slide_row_by_row():
    cut = tiles.tiles_of((250, 330), tile=100)
    assert cut == sorted(cut) and len(cut) == 12 and cut[1] == Tile(0, 100, 100, 100)
    assert cut[-1] == Tile(200, 300, 50, 30)
    seen = np.zeros((250, 330), int)
    for row, column, height, width in cut:
        seen[row : row + height, column : column + width] += 1
    assert (seen == 1).all()
    assert tiles.tiles_of((100, 200), tile=100) == [Tile(0, 0, 100, 100), Tile(0, 100, 100, 100)]
    assert tiles.tiles_of((3, 4), tile=100) == [Tile(0, 0, 3, 4)]


def test_focus_and_colour_are_those_of_the_core_and_blur_lowers_focus():
    image = data.immunohistochemistry()
    for one in measured(image, 200, fluorescence=False):
        row, column, height, width = one.tile
        core = image[row : row + height, column : column + width]
        assert one.colour == pytest.approx(core.reshape(-1, 3).mean(axis=0), rel=1e-12)
        grey = cv2.cvtColor(core, cv2.COLOR_RGB2GRAY).astype(float)
        laplacian = ndimage.convolve(grey, [[0, 1, 0], [1, -4, 1], [0, 1, 0]], mode="mirror")
        assert one.focus == pytest.approx(laplacian.var(), rel=1e-9)
        assert one.focus > 20
    blurred = [measured(cv2.GaussianBlur(image, (0, 0), s), 1000, fluorescence=False)[0].focus for s in (0.5, 1, 2, 4)]
    assert blurred == sorted(blurred, reverse=True)


def test_tiles_without_tissue_are_not_read_and_the_fraction_is_that_of_the_tile():
    mask = np.zeros((20, 30), bool)
    mask[3, 5] = True  # pixels 24 .. 31, 40 .. 47
    image = noisy(np.random.default_rng(0))[:160, :240]
    without, *others = measured(image[:, :], 16, mask=mask)
    assert (without.tissue, without.focus, without.colour) == (0, None, (None, None, None))
    assert {one.tile[:2]: one.tissue for one in (without, *others) if one.tissue} == {(16, 32): 0.25}

    def unread(*place):
        raise AssertionError(place)

    options = {"shape": (160, 240), "mask": mask, "factor": 8, "channels": Channels("fluorescence"), "halo": 5}
    assert tiles.measure_tile(Tile(0, 0, 24, 40), read=unread, detection=FLUORESCENCE, **options).error == ""


@pytest.mark.parametrize("factor", [7, 8.1, 16.04])
def test_a_mask_that_ends_early_goes_on_to_the_border(factor):
    image = noisy(np.random.default_rng(2))
    mask = np.ones([int(length / factor) for length in SHAPE], bool)
    assert mask.shape[0] * factor < SHAPE[0]
    assert found(image, 100, mask=mask, factor=factor) == whole(image)
    assert {one.tissue for one in measured(image, 100, mask=mask, factor=factor)} == {1.0}


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError("no tile\n at  3"), "OSError: no tile at 3"),
        (ValueError("odd"), "ValueError: odd"),
        (MemoryError(), "not read: Cannot allocate memory"),
    ],
)
def test_a_tile_that_cannot_be_read_is_a_row_with_its_reason(error, reason):
    def read(*place):
        raise error

    options = {
        "shape": (64, 64),
        "mask": mask_of((64, 64)),
        "factor": 8,
        "channels": Channels("fluorescence"),
        "halo": 5,
    }
    failed = tiles.measure_tile(Tile(0, 0, 64, 64), read=read, detection=FLUORESCENCE, **options)
    assert failed.error == reason and failed.tissue == 1 and len(failed.coordinates) == 0
    (row,) = tables.tiles_table("S", [failed]).to_pylist()
    assert row["Tile_Error"].strip() == reason and row["Tile_Count_Nuclei"] is None and row["Tile_Focus"] is None
    (row,) = tables.tiles_table("S", [tiles.failed_tile(Tile(0, 0, 64, 64), "no reason")]).to_pylist()
    assert row["Tile_Error"] == "no reason" and row["Tile_TissueFraction"] is None


def test_interrupts_are_not_swallowed():
    def read(*place):
        raise KeyboardInterrupt

    options = {
        "shape": (64, 64),
        "mask": mask_of((64, 64)),
        "factor": 8,
        "channels": Channels("fluorescence"),
        "halo": 5,
    }
    with pytest.raises(KeyboardInterrupt):
        tiles.measure_tile(Tile(0, 0, 64, 64), read=read, detection=FLUORESCENCE, **options)


@pytest.mark.parametrize(
    ("mpp", "expected"),
    [
        (None, {"sigma": 4, "min_distance": 6, "threshold_abs": 0.05}),
        ((0.5, 0.5), {"sigma": 3.0, "min_distance": 5, "threshold_abs": 0.05}),
        ((0.2, 0.3), {"sigma": 6.0, "min_distance": 10, "threshold_abs": 0.05}),
        ((8, 8), {"sigma": 0.1875, "min_distance": 1, "threshold_abs": 0.05}),
    ],
)
def test_settings_are_turned_into_pixels_where_their_size_is_known(mpp, expected):
    settings = {"sigma_um": 1.5, "min_distance_um": 2.5, "sigma": 4, "min_distance": 6, "threshold": 0.05}
    found = tiles.detection_px(settings, mpp)
    assert found == pytest.approx(expected)
    assert type(found["min_distance"]) is int  # of another type, detect_nuclei is slow


def test_the_tables_do_not_depend_on_the_order_of_tiles():
    image = noisy(np.random.default_rng(4))
    done = measured(image, 100, mask=mask_of(image.shape, seed=1))
    nuclei_rows = tables.nuclei_table("00123", done, mpp=(0.25, 0.5))
    tiles_rows = tables.tiles_table("00123", done)
    for _ in range(3):
        np.random.default_rng(1).shuffle(done)
        assert tables.nuclei_table("00123", iter(done), mpp=(0.25, 0.5)).equals(nuclei_rows)
        assert tables.tiles_table("00123", iter(done)).equals(tiles_rows)
    assert nuclei_rows.num_rows > 50
    assert {str(field.type) for field in nuclei_rows.schema} == {"string", "int64", "double"}
    rows = nuclei_rows.to_pylist()
    places = [(row["Nuclei_Location_Center_Y"], row["Nuclei_Location_Center_X"]) for row in rows]
    assert places == sorted(places) and [row["ObjectNumber"] for row in rows] == list(range(1, len(rows) + 1))
    assert {row["Metadata_Slide"] for row in rows} == {"00123"}
    assert [(row["Nuclei_Location_Center_Y_um"], row["Nuclei_Location_Center_X_um"]) for row in rows] == [
        (row * 0.25, column * 0.5) for row, column in places
    ]
    counts = {}
    for row, column in places:
        corner = (row // 100 * 100, column // 100 * 100)
        counts[corner] = counts.get(corner, 0) + 1
    assert tiles_rows.schema == tables.TILES and tiles_rows.num_rows == 20
    for row in tiles_rows.to_pylist():
        assert row["Tile_Count_Nuclei"] == counts.get((row["Tile_Row"], row["Tile_Column"]), 0)
        assert row["Tile_Error"] is None and (row["Tile_TissueFraction"] > 0) == (row["Tile_Mean_B"] is not None)
    without = tables.nuclei_table("S", done, mpp=None)
    assert without.drop_columns("Metadata_Slide").equals(
        nuclei_rows.drop_columns(["Metadata_Slide", "Nuclei_Location_Center_X_um", "Nuclei_Location_Center_Y_um"])
    )
    assert tables.nuclei_table("S", [], mpp=None).schema == without.schema


def test_the_whole_slide_reference_is_scikit_images():
    image = stained(np.random.default_rng(6))
    smoothed = gaussian(optical_densities.haematoxylin(image), 3, preserve_range=True)
    peaks = peak_local_max(smoothed, min_distance=5, threshold_abs=0.03)
    places = found(image, 64, fluorescence=False)
    assert [list(place[:2]) for place in places] == sorted(peaks.tolist())
    heights = [smoothed[int(row), int(column)] for row, column, _ in places]
    np.testing.assert_allclose([place[2] for place in places], heights, rtol=3e-7)  # float32's rounding


def test_a_tile_says_how_much_of_it_could_not_be_decoded():
    measured = tiles.MeasuredTile(Tile(100, 200, 50, 100), tissue=0.5, focus=1.0, colour=(1.0, 2.0, 3.0))
    failed = [[90, 190, 20, 30, "reason"], [140, 290, 64, 64, "reason"], [0, 0, 64, 64, "reason"]]
    noted = tiles.with_undecoded(measured, failed)
    assert noted.error == f"{(10 * 20 + 10 * 10) / 5000:.1%} of it could not be decoded and is blank"
    assert tiles.with_undecoded(measured, failed[2:]) == measured
    assert tables.tiles_table("S", [noted])["Tile_Count_Nuclei"].to_pylist() == [0]
