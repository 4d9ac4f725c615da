"""Further groups of measurements, from image files to a plate's table, without Snakemake."""

import logging
import re

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tifffile
from test_measured_channels import CHANNELS, COUNTS, run, write_plate
from threadpoolctl import threadpool_limits

from fieldwork.detection import measured_tables
from fieldwork.objects import features_of, groups
from fieldwork.plates import nuclei_table
from outlined import squares

pytest.importorskip(
    "cp_measure", reason="cp-measure is not installed: its parts have no wheels for this Python or machine"
)
ALL = list(groups.NAMES)
NAMES = list(CHANNELS)


@pytest.fixture(autouse=True)
def one_thread():
    """Keep BLAS to one thread, as jobs do: a plugin of pytest's imports NumPy before it can be told so."""
    with threadpool_limits(1):
        yield


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """Write a plate of three channels, integers and floats from 0 to 1, all but that of the nuclei with noise."""
    folder = tmp_path_factory.mktemp("images")
    written = write_plate(folder)
    rng = np.random.default_rng(0)
    for path in sorted({*folder.glob("*_w2.tif"), *folder.glob("*_w4.tif")}):  # in w1, nuclei are of one value
        image = tifffile.imread(path)
        image = image + rng.integers(0, 400, image.shape)
        tifffile.imwrite(path, (image / 65535).astype(np.float32) if "w4" in path.name else image.astype(np.uint16))
    return written


def columns_of(names, wanted=ALL, prefix="Nuclei"):
    return groups.columns_of(wanted, names, prefix=prefix)


def is_defined(name):
    """Return True for a column that all nuclei have: Pearson and Costes are not defined in nuclei of one value."""
    return "_Costes_" not in name and not ("_Correlation_Correlation_" in name and "_DNA" in name)


def test_groups_of_nuclei_cells_and_cytoplasm_have_equal_bytes_in_all_fan_outs_and_engines(tmp_path, rows):
    rows = rows[1:4]  # the last two have no nuclei
    ways = {
        "serial": {},
        "pool": {"engine": "pool", "mode": "paths", "units": [rows[:2], rows[2:]]},
        "fork": {"engine": "pool", "mode": "fork"},
        "dask": {"engine": "dask", "mode": "paths", "dask": "threads"},
        "fields": {"units": [[row] for row in rows]},
    }
    tables = {
        way: run(tmp_path / way, rows, groups=ALL, cells={"expand": 3.0}, **options)[2]["nuclei"]
        for way, options in ways.items()
    }
    table = pq.read_table(tables["serial"])
    assert len({path.read_bytes() for path in tables.values()}) == 1 and len(table) == COUNTS["B02"]
    expected = [name for prefix in nuclei_table.PREFIXES for name in columns_of(NAMES, prefix=prefix)]
    measured = [name for name in table.column_names if name in set(expected)]
    assert measured == expected  # in this order
    assert {table.schema.field(name).type for name in expected} == {pa.float64()}
    of_nuclei = [name for name in expected if name.startswith("Nuclei_") and is_defined(name)]
    assert not [name for name in of_nuclei if table[name].null_count]
    features = features_of(table.column_names)
    assert set(expected) - set(features) == {name for name in expected if "_ZernikePhase_" in name}


def test_values_are_those_of_the_library_in_the_images(tmp_path, rows):
    nuclei, _, results = run(tmp_path, rows[-1:], groups=["texture", "correlation"])
    images = {name: tifffile.imread(path) for name, path in zip(NAMES, rows[-1][5], strict=True)}
    expected = groups.measure_groups(squares(COUNTS["C02"]), images, ["texture", "correlation"])
    assert len(expected) == 3 * 52 + 3 * 10
    for name, values in expected.items():
        np.testing.assert_array_equal(nuclei[name], values, err_msg=name)
    assert not {*columns_of(NAMES, ["radial", "granularity", "zernike"])} & {*nuclei.columns}


def test_a_channel_that_is_missing_in_a_field_leaves_its_columns_and_those_of_its_pairs_empty(tmp_path, rows):
    well, site, timepoint, z, path, (actin, dna, _) = rows[-1]
    nuclei, fields, _ = run(tmp_path, [rows[-2], (well, site, timepoint, z, path, (actin, dna, None))], groups=ALL)
    assert [field["Image_Channels_Missing"] for field in fields] == ["", "Tubulin"]
    first, second = nuclei[nuclei.Metadata_Site == 1], nuclei[nuclei.Metadata_Site == 2]
    with_it = set(columns_of(NAMES)) - set(columns_of(["Actin", "DNA"]))
    assert len(with_it) == 52 + 16 + 72 + 2 * 10 and all("_Tubulin" in name for name in with_it)
    for name in columns_of(NAMES):
        if is_defined(name):
            assert first[name].notna().all() and second[name].isna().all() == (name in with_it), name


def test_a_channel_that_a_plates_others_have_in_another_type_leaves_its_columns_empty(tmp_path, rows):
    tubulin = tmp_path / "odd.tif"
    tifffile.imwrite(tubulin, (tifffile.imread(rows[-1][5][2]) // 256).astype(np.uint8))
    odd = (*rows[-1][:5], (*rows[-1][5][:2], str(tubulin)))
    nuclei, fields, _ = run(tmp_path / "out", [*rows[-4:-1], odd], groups=["correlation", "granularity"])
    assert fields[-1]["Image_Channels_Missing"] == "Tubulin"
    second = nuclei[(nuclei.Metadata_Site == 2) & (nuclei.Metadata_Well == "C02")]
    for name in columns_of(NAMES, ["correlation", "granularity"]):
        if is_defined(name):
            assert second[name].isna().all() == ("Tubulin" in name), name


def test_floats_beyond_0_to_1_leave_textures_empty_and_a_warning_counts_the_fields(tmp_path, caplog):
    rows = write_plate(tmp_path / "images")  # Actin: floats of some thousands
    with caplog.at_level(logging.WARNING):
        nuclei, fields, _ = run(tmp_path / "out", rows, groups=["texture", "radial"])
    (line,) = [record.message for record in caplog.records if "measure.groups" in record.message]
    assert re.match(r"plate P1: 6 of 6 fields have no texture of Actin \(measure.groups\), whose .*B02_s1_", line)
    assert line.endswith("found pixels from 50 to 1506; expected 0 to 1")
    assert nuclei.Nuclei_Texture_Contrast_Actin_3_00_256.isna().all()
    assert nuclei.Nuclei_Texture_Contrast_DNA_3_00_256.notna().all()
    assert nuclei.Nuclei_RadialDistribution_FracAtD_Actin_1of4.notna().all()
    assert [field["Image_Status"] for field in fields] == ["ok"] * 6


def test_a_wide_table_has_row_groups_of_fewer_rows(tmp_path, rows, monkeypatch):
    monkeypatch.setattr(measured_tables, "ROW_GROUP_ROWS", 16)
    monkeypatch.setattr(measured_tables, "WIDE_COLUMNS", 60)
    _, _, results = run(tmp_path, rows, groups=["zernike"])  # 120 columns
    file = pq.ParquetFile(results["nuclei"]).metadata
    assert file.num_columns > 105
    at_once = 16 * 60 // file.num_columns
    assert {file.row_group(number).num_rows for number in range(file.num_row_groups - 1)} == {at_once}
