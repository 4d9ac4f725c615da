"""Nuclei of slides are outlined and measured block by block, without Snakemake."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import skimage.data
import tifffile
from skimage.color import rgb2hed
from skimage.segmentation import expand_labels

from fieldwork import InputError, label_images, optical_densities, outputs
from fieldwork.omezarr import slides
from fieldwork.segmentation import sampling
from fieldwork.slides import blocks, calibration, channels, tables
from slide_files import leave_out_tiles, write_pyramid
from stained import AUTO, DAB, RADIUS_PX, SERIAL, calibrate, convert, detect, grid, outline, plant

SHAPE = (700, 900)
CENTRES = grid(SHAPE, 37)
PERIOD_PX = 37


@pytest.fixture(scope="module")
def slide(tmp_path_factory):
    """Return the folder of a converted and calibrated slide whose every other nucleus is brown, and its picture."""
    folder = tmp_path_factory.mktemp("slide")
    image = plant(SHAPE, CENTRES, brown=range(0, len(CENTRES), 2))
    convert(folder, image, modality="hdab")
    calibrate(folder)
    return folder, image


def outlined(folder, image):
    """Return what `measure_block` finds in every block of a slide in memory, and how."""
    facts = outputs.read_json(folder / "slide.json")
    detection = calibration.block_detection(outputs.read_json(folder / "calibration.json"), facts, AUTO)

    def read(row, column, height, width):
        return image[row : row + height, column : column + width]

    mask = np.ones([-(-side // facts["tissue_factor"]) for side in image.shape[:2]], bool)
    found = [
        blocks.measure_block(block, read=read, mask=mask, detection=detection)
        for block in blocks.blocks_of(image.shape[:2])
    ]
    return found, detection


def painted(found, shape):
    """Return the labels of a slide, numbered block by block; no pixel has two."""
    labels, first = np.zeros(shape, np.int32), 0
    for block in found:
        if block.count:
            window = label_images.decode(block.labels, block.shape).astype(np.int32)
            rows, columns = (slice(start, start + side) for start, side in zip(block.origin, block.shape, strict=True))
            target = labels[rows, columns]
            assert not target[window > 0].any()
            target[window > 0] = window[window > 0] + first
            first += block.count
    return labels


@pytest.mark.parametrize(
    ("modality", "planted"),
    [
        ("he", {}),
        ("hdab", {"brown": range(0, 200, 5), "brown_stains": (0.2, 0.7), "stroma": (0.06, 0)}),
        ("brightfield", {"stroma": (0.06, 0)}),
    ],
)
def test_the_stain_decides_the_modality_of_a_slide_and_what_is_measured(tmp_path, modality, planted):
    shape = 500, 560
    centres = grid(shape, 41)
    facts = convert(tmp_path, plant(shape, centres, **planted))
    assert facts["modality"] == modality, facts["modality_reason"]
    assert calibrate(tmp_path)["modality"] == modality
    nuclei, _ = detect(tmp_path)
    assert len(nuclei) == len(centres) and nuclei.schema.metadata[b"modality"] == modality.encode()
    assert ("Nuclei_Positive_DAB" in nuclei.column_names) == (modality == "hdab")
    assert ("Nuclei_Intensity_MeanIntensity_Density" in nuclei.column_names) == (modality == "brightfield")
    stated = convert(tmp_path, plant(shape, centres, **planted), modality="hdab")
    assert (stated["modality"], stated["modality_reason"]) == ("hdab", "as the sheet states")


def test_nuclei_of_a_slide_are_those_that_were_planted(slide):
    folder, _ = slide
    nuclei, tiles = detect(folder)
    assert len(nuclei) == len(CENTRES) == sum(tiles["Tile_Count_Nuclei"].to_pylist())
    found = np.stack([nuclei[f"Nuclei_Location_Center_{axis}"].to_numpy() for axis in "YX"], axis=1)
    nearest = np.abs(found[:, None] - CENTRES).max(axis=2)
    assert nearest.min(axis=1).max() < 1 and len(set(nearest.argmin(axis=1))) == len(CENTRES)
    area = nuclei["Nuclei_AreaShape_Area"].to_numpy()
    assert np.median(area) == pytest.approx(np.pi * RADIUS_PX**2, rel=0.25)
    assert nuclei["ObjectNumber"].to_pylist() == list(range(1, len(nuclei) + 1))
    np.testing.assert_array_equal(nuclei["Nuclei_Location_Center_X_um"], found[:, 1] * 0.5)
    assert not any(nuclei["Nuclei_TouchesBorder"].to_pylist())


def test_the_share_of_positive_nuclei_is_that_of_brown_ones(slide, tmp_path):
    folder, _ = slide
    nuclei, _ = detect(folder)
    found = np.stack([nuclei[f"Nuclei_Location_Center_{axis}"].to_numpy() for axis in "YX"], axis=1)
    planted = np.abs(found[:, None] - CENTRES).max(axis=2).argmin(axis=1)
    np.testing.assert_array_equal(nuclei["Nuclei_Positive_DAB"].to_numpy(), planted % 2 == 0)
    facts = outputs.read_json(folder / "slide.json")
    row = tables.slide_row("P", facts, folder / "tiles.parquet", folder / "nuclei.parquet", max_failed=0.05)
    assert row["Share_Positive"] == np.mean(planted % 2 == 0)
    assert row["Positive_Threshold"] == 0.2
    metadata = nuclei.schema.metadata
    assert json.loads(metadata[b"positive"]) == {"DAB": 0.2} and metadata[b"modality"] == b"hdab"
    features = json.loads(metadata[b"features"])
    assert {"Nuclei_AreaShape_Area", "Cytoplasm_Intensity_MeanIntensity_DAB"} <= set(features)
    assert not {"Nuclei_Positive_DAB", "Nuclei_TouchesBorder", "Nuclei_AreaShape_Center_X"} & set(features)


@pytest.mark.parametrize("method", ["network", "classical"])
def test_cytoplasm_that_may_be_taken_for_nuclei_is_told_of(tmp_path, slide, method):
    texture = cv2.GaussianBlur(np.random.default_rng(3).standard_normal(SHAPE), (0, 0), 4)
    stains = np.stack([0.1 * np.exp(0.8 * texture / texture.std()), np.full(SHAPE, 0.3), np.zeros(SHAPE)], axis=-1)
    stains[:60] = 0
    convert(tmp_path, np.rint(245 * 10 ** -(stains @ list(optical_densities.STAINS.values()))).astype(np.uint8))
    settings = {**AUTO, "nuclei": {**AUTO["nuclei"], "method": method}}
    [warning] = calibrate(tmp_path, settings=settings)["warnings"]
    assert "its nuclei hardly differ from what is around them (" in warning
    detect(tmp_path, settings=settings)
    facts = outputs.read_json(tmp_path / "slide.json")
    row = tables.slide_row("P", facts, tmp_path / "tiles.parquet", tmp_path / "nuclei.parquet", max_failed=0.05)
    assert row["Slide_Warnings"].endswith(warning) and (row["Count_Nuclei"] or method == "network")
    assert outputs.read_json(slide[0] / "calibration.json")["warnings"] == []


def test_brown_nuclei_that_are_missed_in_brown_tissue_are_told_of(tmp_path):
    convert(tmp_path, skimage.data.immunohistochemistry(), modality="hdab")
    [warning] = calibrate(tmp_path)["warnings"]
    assert warning.startswith("65% of its tissue is brown") and "missing" in warning


def test_without_dab_no_nucleus_is_positive_or_not(slide):
    folder, image = slide
    facts = outputs.read_json(folder / "slide.json") | {"modality": "he"}
    assert channels.positive_threshold(channels.channels_of(facts), 0.2) == {}


@pytest.mark.parametrize("stains", [(0.2, 0.7), (0.15, 0.7), (0.05, 0.7), (0, 1), (0.2, 0.3)])
def test_brown_nuclei_are_outlined_whatever_haematoxylin_they_show(stains):
    shape = 500, 560
    centres = grid(shape, 41)
    image = plant(shape, centres, brown=range(0, len(centres), 2), brown_stains=stains, stroma=(0.06, 0))
    labels, facts = outline(image, mpp=0.5)
    assert facts["modality"] == "hdab", facts["modality_reason"]
    assert labels.max() == len(centres) == len(set(labels[tuple(centres.T)]) - {0})


def test_haematoxylin_on_tinted_glass_is_no_dab(tmp_path):
    image = plant(SHAPE, CENTRES, brown=range(0, len(CENTRES), 3), glass=(225, 220, 170))
    assert convert(tmp_path, image, modality="hdab")["glass"] == pytest.approx([225, 220, 170], abs=1)
    calibrate(tmp_path)
    nuclei, _ = detect(tmp_path)
    found = np.stack([nuclei[f"Nuclei_Location_Center_{axis}"].to_numpy() for axis in "YX"], axis=1)
    planted = np.abs(found[:, None] - CENTRES).max(axis=2).argmin(axis=1)
    assert len(nuclei) == len(CENTRES)
    np.testing.assert_array_equal(nuclei["Nuclei_Positive_DAB"].to_numpy(), planted % 3 == 0)
    density = nuclei["Nuclei_Intensity_MeanIntensity_DAB"].to_numpy()
    assert density[planted % 3 > 0].max() < 0.05 and np.median(density[planted % 3 == 0]) == pytest.approx(DAB, rel=0.2)


@pytest.mark.parametrize("block_px", [128, 300])
def test_nuclei_do_not_depend_on_blocks(slide, monkeypatch, block_px):
    """Borders of blocks run through nuclei at many offsets: none is cut, lost or doubled."""
    folder, image = slide
    (whole,), _ = outlined(folder, image)
    expected = painted([whole], SHAPE)
    monkeypatch.setattr(blocks, "BLOCK_PX", block_px)
    found, _ = outlined(folder, image)
    assert len(found) == np.prod([-(-side // block_px) for side in SHAPE])
    labels = painted(found, SHAPE)
    assert labels.max() == expected.max() == len(CENTRES)
    np.testing.assert_array_equal(label_images.renumber(labels), expected)
    for column in ("Nuclei_AreaShape_Perimeter", "Nuclei_Intensity_MeanIntensity_DAB", "Nuclei_AreaShape_Center_X"):
        values = np.concatenate([block.measurements[column] for block in found if block.count])
        of_whole = label_images.properties(labels)
        order = np.argsort(expected[tuple(np.rint([of_whole.rows, of_whole.columns]).astype(int))])
        np.testing.assert_allclose(values[order], whole.measurements[column], rtol=1e-6)


def test_blocks_number_nuclei_row_by_row_and_in_a_block_by_first_pixel(slide, monkeypatch):
    folder, image = slide
    monkeypatch.setattr(blocks, "BLOCK_PX", 256)
    found, _ = outlined(folder, image)
    labels = painted(found, SHAPE)
    first_pixels = np.unique(labels, return_index=True)[1][1:]
    rows, columns = np.divmod(first_pixels, SHAPE[1])
    order = list(zip(rows // 256, columns // 256, rows, columns, strict=True))
    assert order == sorted(order)


def test_densities_are_those_of_scikit_image(slide):
    folder, image = slide
    (found,), detection = outlined(folder, image)
    labels = painted([found], SHAPE)
    glass = outputs.read_json(folder / "slide.json")["glass"]
    assert glass == [245, 245, 245]
    stains = np.moveaxis(6 * rgb2hed(np.minimum(image / np.array(glass), 1)), -1, 0)
    ring = expand_labels(labels, detection.ring_px)
    ring[labels > 0] = 0
    assert detection.ring_px == 4
    for name, density in zip(("Hematoxylin", "Eosin", "DAB"), stains, strict=True):
        for prefix, objects in (("Nuclei", labels), ("Cytoplasm", ring)):
            expected = np.bincount(objects.ravel(), density.ravel())[1:] / np.bincount(objects.ravel())[1:]
            values = found.measurements[f"{prefix}_Intensity_MeanIntensity_{name}"]
            np.testing.assert_allclose(values, expected, atol=1e-5)
    brown = found.measurements["Nuclei_Intensity_MeanIntensity_DAB"] > 0.2
    inside, around = (found.measurements[f"{part}_Intensity_MeanIntensity_DAB"] for part in ("Nuclei", "Cytoplasm"))
    assert brown.sum() == pytest.approx(len(CENTRES) / 2, abs=1) and (inside[brown] > 3 * around[brown]).all()


LARGE = (2300, 760)  # two blocks
POOL = {"engine": "pool", "mode": "paths", "dask": "processes"}
TILED = {"compression": "deflate", "tile": (64, 64)}
KEPT = {"compression": "jpeg", "compressionargs": {"level": 95}, "tile": (64, 64)}


@pytest.fixture(scope="module")
def large():
    """Return the picture of a slide of two blocks, with nuclei on the border between them and a corner of white."""
    image = plant(LARGE, grid(LARGE, 41))
    image[:320, :320] = 255
    return image


def outcome(folder, image, source, levels, conversion, detection):
    """Convert, calibrate and detect a slide; return the bytes of all that must not depend on how."""
    folder.mkdir()
    # Squares of 20 px: blocks, chunks and tiles begin within some.
    options = {"resolution": (25000, 25000), "resolutionunit": "CENTIMETER", **source}
    absent = options.pop("absent", ())
    write_pyramid(folder / "slide.tif", image, levels=levels, **options)
    if absent:
        leave_out_tiles(folder / "slide.tif", absent)
    facts = convert(folder, folder / "slide.tif", **conversion)
    assert (facts["modality"], facts["mpp"], facts["failed_tiles"]) == ("he", [0.4, 0.4], [])
    assert facts["codec"] == conversion.get("codec", "zstd")
    calibrate(folder)
    nuclei, tiles = detect(folder, **detection)
    assert sum(tiles["Tile_Count_Nuclei"].to_pylist()) == len(nuclei) > 600
    names = "nuclei.parquet", "nuclei.geojson", "calibration.json"
    labels = slides.read_label(folder / "S.ome.zarr", "tissue"), slides.read_label(folder / "S.ome.zarr", "nuclei")
    decided = {key: facts[key] for key in ("tissue_area_px", "glass", "modality_reason", "folds", "brown")}
    return [(folder / name).read_bytes() for name in names], [label.tobytes() for label in labels], decided


@pytest.mark.parametrize(
    ("source", "levels", "conversion", "detection"),
    [
        ({"tile": (256, 128)}, 3, {"chunk": 64, "shard": 256}, {"tile": 64}),
        ({"tile": None, "rowsperstrip": 23}, 1, {"codec": "lz4", "version": "0.4"}, {"tile": 333}),
        ({"tile": None, "rowsperstrip": 2300, "compression": None}, 2, {"codec": "none", "shard": 1024}, {}),
        ({"absent": [0, 1, 12, 40]}, 1, {"chunk": 512, "shard": 512}, {"pool": POOL, "workers": 2, "tile": 2048}),
    ],
)
def test_nuclei_and_tissue_do_not_depend_on_tiles_strips_gaps_levels_chunks_codec_and_version(
    large, plain, tmp_path, source, levels, conversion, detection
):
    assert outcome(tmp_path / "S", large, TILED | source, levels, conversion, detection) == plain


@pytest.fixture(scope="module")
def plain(large, tmp_path_factory):
    return outcome(tmp_path_factory.mktemp("plain") / "S", large, TILED, 1, {}, {})


def test_nuclei_and_tissue_do_not_depend_on_whether_jpeg_tiles_are_kept(large, tmp_path):
    found = [
        outcome(tmp_path / conversion["codec"], large, KEPT, levels, conversion, {"tile": tile})
        for conversion, levels, tile in (
            ({"codec": "zstd"}, 1, 512),
            ({"codec": "keep", "version": "0.4"}, 2, 300),
        )
    ]
    assert found[0] == found[1]


def test_a_block_that_cannot_be_read_is_failed_tiles(tmp_path):
    convert(tmp_path, plant(SHAPE, CENTRES))
    calibrate(tmp_path)
    for path in Path(tmp_path / "S.ome.zarr/0/c/0").rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[:100])
    nuclei, tiles = detect(tmp_path)
    assert len(nuclei) == 0 and all(tiles["Tile_Error"].to_pylist())
    assert set(tiles["Tile_Count_Nuclei"].to_pylist()) == {None}
    facts = outputs.read_json(tmp_path / "slide.json")
    paths = tmp_path / "tiles.parquet", tmp_path / "nuclei.parquet"
    row = tables.slide_row("P", facts, *paths, max_failed=0.05)
    assert row["Tiles_Failed"] == len(tiles) and row["Slide_TissueArea_px"]
    assert row["Count_Nuclei"] is row["Nuclei_Per_mm2"] is row["Share_Positive"] is None
    assert row["Slide_Warnings"].endswith("nuclei in 100 % of its tissue could not be measured")


def test_a_pixel_size_that_makes_nuclei_too_wide_is_refused_and_the_column_is_named(slide):
    folder, _ = slide
    record, facts = (outputs.read_json(folder / name) for name in ("calibration.json", "slide.json"))
    with pytest.raises(InputError, match=r"rings \(ring_um\) 2000 px"):
        calibration.block_detection(record, facts, AUTO | {"ring_um": 1000})
    for method, margin in (("classical", 2400), ("network", 2688)):
        by = record["settings"] | {"detection": record["settings"]["detection"] | {"method": method}}
        assert calibration.block_detection(record | {"diameter": 128, "settings": by}, facts, AUTO)
        said = f"at 0.02 µm a pixel, nuclei are 300 px wide .* margin of {margin} px; expected at most 1152.*Column mpp"
        with pytest.raises(InputError, match=said):
            calibration.block_detection(record | {"diameter": 300, "settings": by}, facts | {"mpp": [0.02, 0.02]}, AUTO)


def test_blank_glass_has_no_nuclei_and_says_why(tmp_path):
    image = np.full((300, 400, 3), 245, np.uint8)
    convert(tmp_path, image + np.random.default_rng(1).integers(-2, 3, image.shape).astype(np.uint8))
    record = calibrate(tmp_path, picture=True)
    nuclei, tiles = detect(tmp_path)
    assert record["levels"] is None and len(record["warnings"]) == 1
    assert len(nuclei) == 0 and set(tiles["Tile_Count_Nuclei"].to_pylist()) == {0}


def test_a_threshold_means_peaks_and_the_calibration_shows_them(slide, tmp_path):
    folder, _ = slide
    settings = AUTO | {"nuclei": AUTO["nuclei"] | {"haematoxylin": 0.03}}
    record = calibrate(folder, settings=settings, picture=True)
    nuclei, _ = detect(folder, settings=settings)
    assert "Nuclei_Intensity_Peak" in nuclei.column_names and "Nuclei_AreaShape_Area" not in nuclei.column_names
    assert len(nuclei) == len(CENTRES)
    assert record["settings"]["detection"]["method"] == "peaks"
    assert (folder / "calibration.png").read_bytes().startswith(b"\x89PNG")
    calibrate(folder)


@pytest.mark.parametrize("channels_first", [False, True])
def test_fluorescence_of_16_bits_is_outlined_in_its_dna_channel_and_measured_in_all(channels_first):
    shape, centres = (300, 340), grid((300, 340), 37)
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    dna = sum(np.exp(-((rows - row) ** 2 + (columns - column) ** 2) / 50) for row, column in centres)
    rng = np.random.default_rng(2)
    other = rng.integers(5000, 60000, shape)  # brighter than the nuclei
    dna = (300 + 3000 * dna + rng.normal(0, 20, shape)).clip(0)
    planes = (dna, other) if channels_first else (other, dna)
    names = ("DAPI", "Cy3") if channels_first else ("Cy3", "DAPI")
    image = np.stack(planes, axis=-1).astype(np.uint16)
    facts = {"modality": "fluorescence", "channels": names, "nuclei_channel": "DAPI", "fluorescence": True}
    facts |= {"height": shape[0], "width": shape[1], "mpp": [0.5, 0.5], "tissue_factor": 16}
    slide, tile = channels.channels_of(facts), blocks.Block(0, 0, *shape)
    sampled = sampling.Sampled([calibration.measure_tile(tile, image, channels=slide, mpp=0.5)], [])
    typical = calibration.calibrate(sampled, 0.5)
    levels = calibration.levels_of([tile], typical, read=lambda _: image, channels=slide, **SERIAL)
    record = {**typical._asdict(), "levels": levels._asdict(), "settings": {"detection": {"method": "auto"}}}
    detection = calibration.block_detection(record, facts, AUTO)
    found = blocks.measure_block(tile, read=lambda *_: image, mask=np.ones((19, 22), bool), detection=detection)
    assert found.count == len(centres)
    labels = label_images.decode(found.labels, found.shape)
    window = image[found.origin[0] :, found.origin[1] :][: found.shape[0], : found.shape[1]]
    for number, name in enumerate(names):
        expected = np.bincount(labels.ravel(), window[..., number].ravel())[1:] / np.bincount(labels.ravel())[1:]
        values = found.measurements[f"Nuclei_Intensity_MeanIntensity_{name}"]
        np.testing.assert_allclose(values, expected / 65535)


def test_planes_of_a_fluorescence_slide_go_from_the_file_to_the_table(tmp_path):
    shape, centres = (420, 440), grid((420, 440), 37)
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    dna = sum(np.exp(-((rows - row) ** 2 + (columns - column) ** 2) / 50) for row, column in centres)
    rng = np.random.default_rng(3)
    planes = np.stack([rng.integers(500, 900, shape), 300 + 9000 * dna + rng.normal(0, 30, shape)]).clip(0)
    path = tmp_path / "slide.ome.tif"
    metadata = {"axes": "CYX", "Channel": {"Name": ["Cy3", "DAPI"]}, "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5}
    metadata |= {"PhysicalSizeXUnit": "µm", "PhysicalSizeYUnit": "µm"}
    tifffile.imwrite(path, planes.astype(np.uint16), metadata=metadata, tile=(64, 64), photometric="minisblack")
    assert convert(tmp_path, path)["modality"] == "fluorescence"
    calibrate(tmp_path, picture=True)
    nuclei, tiles = detect(tmp_path)
    assert len(nuclei) == len(centres) == sum(tiles["Tile_Count_Nuclei"].to_pylist())
    assert {"Nuclei_Intensity_MeanIntensity_Cy3", "Cytoplasm_Intensity_MeanIntensity_DAPI"} <= set(nuclei.column_names)
    assert nuclei.schema.metadata[b"channel"] == b"DAPI" and not any(tiles["Tile_Mean_R"].to_pylist())
    settings = AUTO | {"nuclei": AUTO["nuclei"] | {"fluorescence": 2000}}
    peaks, _ = detect(tmp_path, settings=settings)
    assert len(peaks) == len(centres) and b"digest" in peaks.schema.metadata
