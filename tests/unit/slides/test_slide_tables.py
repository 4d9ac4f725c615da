"""Tables of slides: their rows say what slide.json says, and equal runs give equal rows."""

import numpy as np
import pyarrow.parquet as pq
import pytest

from fieldwork import objects, outputs
from fieldwork.slides import blocks, channels, tables, tiles

FAILED = {"slide": "S", "path": "a/S.svs", "status": "failed", "error": "not a slide"}
CONVERTED = FAILED | {
    **{"status": "ok", "error": "", "height": 1000, "width": 640, "mpp": [0.5, 0.25], "mpp_source": "sheet"},
    **{"objective_power": None, "tissue_area_px": 400, "tissue_area_mm2": 1e-4, "reader": "tifffile", "codec": "zstd"},
    **{"failed_tiles": [[0, 0, 100, 64, "reason"]], "failed_share": 0.01, "warnings": ["one", "two"], "modality": "he"},
    **{"other_series": ["1: other (9 x 9 px)"]},
}


@pytest.fixture
def written(tmp_path):
    """Write the tables of tiles and nuclei of a slide of one tile with one nucleus, and return their paths."""
    tile = tiles.Tile(0, 0, 1000, 640)
    measured = tiles.MeasuredTile(tile, np.array([[1, 2]]), np.array([5.0]), tissue=1.0, focus=1.0)
    outputs.write_parquet(tables.tiles_table("S", [measured]), tmp_path / "tiles.parquet")
    outputs.write_parquet(tables.nuclei_table("S", [measured], mpp=None), tmp_path / "nuclei.parquet")
    return tmp_path / "tiles.parquet", tmp_path / "nuclei.parquet"


def test_the_time_that_a_conversion_took_is_in_no_table():
    first, second = (
        tables.slide_row("P", FAILED | {"seconds": s}, "none", "none", max_failed=0.05) for s in (1.5, 2.5)
    )
    assert first == second
    assert list(first) == tables.SLIDE_COLUMNS and not any("econds" in column for column in first)
    assert first["PathName_Slide"] == "a" and first["Slide_Error"] == "not a slide"


def test_a_row_says_what_is_known_of_a_slide(written):
    row = tables.slide_row("P", CONVERTED, *written, max_failed=0.05)
    assert list(row) == tables.SLIDE_COLUMNS
    assert (row["Slide_Status"], row["Count_Nuclei"], row["Tiles_Failed"]) == ("ok", 1, 1)
    assert (row["Slide_MPP_Y"], row["Slide_MPP_X"], row["Slide_MPP_Source"]) == (0.5, 0.25, "sheet")
    assert row["Share_Positive"] is None
    assert (row["Slide_FailedShare"], row["Slide_Warnings"], row["Nuclei_Per_mm2"]) == (0.01, "one; two", 1e4)


def test_a_slide_that_lost_too_much_has_its_share_and_no_nuclei(written):
    lost = CONVERTED | {"status": "failed", "error": "10 % of its pixels cannot be decoded", "failed_share": 0.1}
    row = tables.slide_row("P", lost, *written, max_failed=0.05)
    assert list(row) == tables.SLIDE_COLUMNS
    assert (row["Slide_Status"], row["Slide_Error"]) == ("failed", "10 % of its pixels cannot be decoded")
    assert (row["Slide_FailedShare"], row["Slide_Width"], row["Tiles_Failed"]) == (0.1, 640, 1)
    assert row["Count_Nuclei"] is None and row["Slide_TissueArea_px"] is None


@pytest.mark.parametrize("max_failed", [0.1, 0.3])
def test_nuclei_per_area_are_those_of_the_tissue_that_was_measured(tmp_path, max_failed):
    """Of four tiles, of which one is glass, one fails: a quarter of the tissue; a nucleus of it is in the table."""
    shares, counts = (1.0, 0.5, 0.5, 0.0), (6, 3, 1, 0)
    measured = [
        tiles.MeasuredTile(tiles.Tile(0, 100 * number, 100, 100), tissue=share, focus=1.0, outlined=count)
        for number, (share, count) in enumerate(zip(shares, counts, strict=True))
    ]
    measured[2] = measured[2]._replace(error="nuclei of the block: damaged", focus=None)
    outputs.write_parquet(tables.tiles_table("S", measured), tmp_path / "tiles.parquet")
    centres = tiles.MeasuredTile(tiles.Tile(0, 0, 100, 400), np.arange(20).reshape(10, 2), np.ones(10))
    outputs.write_parquet(tables.nuclei_table("S", [centres], mpp=None), tmp_path / "nuclei.parquet")
    facts = CONVERTED | {"failed_tiles": [], "tissue_area_px": 20_000, "tissue_area_mm2": 0.0025, "warnings": []}
    paths = tmp_path / "tiles.parquet", tmp_path / "nuclei.parquet"
    row = tables.slide_row("P", facts, *paths, max_failed=max_failed)
    assert (row["Tiles_Failed"], row["Slide_TissueArea_px"]) == (1, 20_000)
    assert row["Slide_Warnings"] == "nuclei in 25 % of its tissue could not be measured"
    if max_failed == 0.1:
        assert row["Count_Nuclei"] is row["Nuclei_Per_mm2"] is None
    else:
        assert (row["Count_Nuclei"], row["Nuclei_Per_mm2"]) == (10, pytest.approx(9 / 15_000 / 0.125e-6))


def test_nuclei_of_blocks_become_row_groups_in_their_order(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "ROW_GROUP_NUCLEI", 10)
    slide = channels.Channels("he")
    labels = np.zeros((40, 60), np.int32)
    for number in range(7):
        labels[5:9, 8 * number : 8 * number + 4] = number + 1
    image = np.random.default_rng(1).integers(0, 255, (40, 60, 3)).astype(np.uint8)
    measured = objects.measure_arrays(labels, channels.measured_images(image, slide))
    measured |= dict.fromkeys(blocks.ring_columns(slide.measured), np.full(7, np.nan))
    measured["Nuclei_TouchesBorder"] = np.zeros(7, bool)
    schema = tables.nuclei_schema(None, channels=slide, mpp=(0.5, 0.25), made_of={"digest": "d"})
    with tables.nuclei_writer(tmp_path / "nuclei.parquet", "S", schema, mpp=(0.5, 0.25)) as add:
        for first in (1, 8, 15):
            add(first, blocks.BlockNuclei(blocks.Block(0, 0, 40, 60), measurements=measured))
            add(first + 7, blocks.BlockNuclei(blocks.Block(0, 0, 40, 60)))
    assert pq.ParquetFile(tmp_path / "nuclei.parquet").num_row_groups == 3
    table = pq.read_table(tmp_path / "nuclei.parquet")
    assert table["ObjectNumber"].to_pylist() == list(range(1, 22))
    assert table["Nuclei_Location_Center_X_um"].to_pylist() == [0.25 * (8 * number + 1.5) for number in range(7)] * 3
    assert table["Cytoplasm_Intensity_MeanIntensity_DAB"].null_count == 21
    assert table.schema.metadata[b"digest"] == b"d" and b"positive" not in table.schema.metadata
