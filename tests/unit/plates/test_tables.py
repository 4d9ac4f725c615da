"""The tables: columns, order, failed and odd fields, and readers of other projects."""

import itertools

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.stats import median_abs_deviation

import merge_units
import sum_timepoints
from fieldwork import InputError, outputs
from fieldwork.detection import plate_flags
from fieldwork.inputs import plates
from fieldwork.plates import fields, nuclei_table, tables

SHAPE = (100, 120)


def field(well, site, count=3, *, timepoint=None, z=None, shape=SHAPE, error=None, name=None, form="{} x {} px"):
    """Return a measured field with nuclei at (row, column) = (10 i + site, i), of intensity 5000 - i."""
    path = name or f"images/{well}_s{site}_t{timepoint}_z{z}.tif"
    if error:
        return fields.Field(well, site, timepoint, z, path, error=error)
    steps = np.arange(count)
    return fields.Field(
        *(well, site, timepoint, z, path),
        shape=shape,
        form=form.format(*shape),
        coordinates=np.stack([10 * steps + site, steps], axis=1),
        intensities=5000.0 - steps,
        quality={"MeanIntensity": 300.5, "MaxIntensity": 9000},
    )


def merge(folder, measured, *, fan_out="plate"):
    """Write a plate's units as detection does, and merge them."""
    units, folder = {}, folder / fan_out
    folder.mkdir()
    for measured_field in measured:
        units.setdefault(plates.FAN_OUT[fan_out](measured_field), []).append(measured_field)
    for unit, members in units.items():
        outputs.write_parquet(nuclei_table.nuclei_of("P1", members), folder / f"{unit}.parquet")
        outputs.write_parquet(tables.fields_of("P1", members), folder / f"{unit}.fields.parquet")
    paths = [folder / f"{unit}.fields.parquet" for unit in units]
    rows, starts = tables.merge_fields(paths, {"method": "peaks", "threshold_abs": 1000.0})
    absent = [column for column in tables.absent_columns(rows) if column not in tables.IN_FILE]
    schema = nuclei_table.nuclei_schema(outlined=False, peaks=True, absent=absent)
    parts = nuclei_table.merge_nuclei([folder / f"{unit}.parquet" for unit in units], starts, rows, schema=schema)
    return pa.concat_tables([schema.empty_table(), *parts]), rows, absent


def test_x_is_the_column_y_the_row_and_numbers_begin_anew_in_each_field():
    nuclei = nuclei_table.nuclei_of("007", [field("B02", 1, 2), field("B02", 2, 0), field("C11", 2, 3)]).to_pandas()
    assert nuclei["Nuclei_Location_Center_X"].tolist() == [0, 1, 0, 1, 2]
    assert nuclei["Nuclei_Location_Center_Y"].tolist() == [1, 11, 2, 12, 22]
    assert nuclei["Nuclei_Intensity_Peak"].tolist() == [5000, 4999, 5000, 4999, 4998]
    assert nuclei["ObjectNumber"].tolist() == [1, 2, 1, 2, 3]
    assert nuclei["Metadata_Well"].tolist() == ["B02"] * 2 + ["C11"] * 3
    assert nuclei["Metadata_Site"].tolist() == [1, 1, 2, 2, 2]
    assert nuclei["Metadata_Plate"].tolist() == ["007"] * 5


def test_a_failed_field_has_a_reason_and_no_numbers():
    good, bad = tables.fields_of("P1", [field("B02", 1), field("B02", 2, error="empty file")]).to_pylist()
    assert (good["Image_Height"], good["Image_Width"], good["Image_Count_Nuclei"]) == (*SHAPE, 3)
    assert (good["Image_Status"], good["Image_Error"]) == ("ok", None)
    assert (good["PathName_DNA"], good["FileName_DNA"]) == ("images", "B02_s1_tNone_zNone.tif")
    assert (good["ImageQuality_MeanIntensity_DNA"], good["ImageQuality_MaxIntensity_DNA"]) == (300.5, 9000)
    assert (bad["Image_Status"], bad["Image_Error"], bad["FileName_DNA"]) == (
        "failed",
        "empty file",
        "B02_s2_tNone_zNone.tif",
    )
    filled = {name for name, value in bad.items() if value is not None}
    assert filled == {name for name in bad if name.startswith("Metadata_")} - set(tables.OPTIONAL) | {
        "FileName_DNA",
        "PathName_DNA",
        "Image_Status",
        "Image_Error",
    }


PLATES = {
    "good": [field("B02", 1), field("B02", 2, 5)],
    "no nuclei": [field("B02", 1, 0), field("B02", 2, 0)],
    "all failed": [field("B02", 1, error="text"), field("B02", 2, error="text")],
    "one failed": [field("B02", 1, error="text"), field("B02", 2, 1)],
    "no fields": [],
    "odd ones failed": [*(field("B02", site) for site in range(4)), field("C02", 1, shape=(5, 5))],
}


@pytest.mark.parametrize("measured", PLATES.values(), ids=PLATES)
def test_every_plate_has_tables_of_the_same_columns_and_types(tmp_path, measured):
    nuclei, rows, absent = merge(tmp_path, measured)
    assert absent == ["Metadata_Timepoint", "Metadata_ZPlane"]
    outputs.write_parquet(nuclei, tmp_path / "nuclei.parquet")
    assert pq.read_schema(tmp_path / "nuclei.parquet") == pa.schema(
        [("Metadata_Plate", pa.string()), ("Metadata_Well", pa.string()), ("Metadata_Site", pa.int64())]
        + [(name, pa.int64()) for name in ("ObjectNumber", "Metadata_ImageNumber", "Metadata_ObjectNumber")]
        + [(f"Nuclei_{name}", pa.float64()) for name in ("Location_Center_X", "Location_Center_Y", "Intensity_Peak")]
    )
    assert len(rows) == len(measured)
    assert nuclei.num_rows == sum(row["Image_Count_Nuclei"] or 0 for row in rows)
    assert nuclei_table.nuclei_of("P1", measured).schema == nuclei_table.unit_nuclei_schema()
    assert tables.fields_of("P1", measured).schema == tables.UNIT_FIELDS


def test_70000_nuclei_in_one_field_are_70000_rows_in_order(tmp_path):
    nuclei, (row,), _ = merge(tmp_path, [field("B02", 4, 70_000)])
    assert row["Image_Count_Nuclei"] == nuclei.num_rows == 70_000
    assert nuclei["ObjectNumber"].to_pylist() == list(range(1, 70_001))
    np.testing.assert_array_equal(nuclei["Nuclei_Location_Center_Y"], 10.0 * np.arange(70_000) + 4)


@pytest.mark.parametrize(("timepoint", "z"), [(1, None), (None, 3), (2, 3)])
def test_time_and_z_are_columns_only_where_the_plate_has_them(tmp_path, timepoint, z):
    measured = [field("B02", 1, 2, timepoint=timepoint, z=z), field("B02", 2, error="text")]
    nuclei, rows, absent = merge(tmp_path, measured)
    values = {"Metadata_Timepoint": timepoint, "Metadata_ZPlane": z}
    assert absent == [name for name, value in values.items() if value is None]
    for name, value in values.items():
        assert (name in nuclei.column_names) == (value is not None)
        if value is not None:
            assert nuclei[name].to_pylist() == [value] * 2 and rows[0][name] == value
            assert nuclei.schema.field(name).type == pa.int64()


def test_merging_by_plate_well_or_field_gives_the_same_bytes(tmp_path):
    sites = itertools.product(["B02", "B11", "C03"], [1, 2, 10])
    measured = [field(well, site, 4 * site % 7, z=z) for well, site in sites for z in (1, 2)]
    measured[3] = field("B02", 2, z=2, error="truncated")
    measured[5] = field("B02", 10, 6, z=2, shape=(50, 60))
    written = {}
    for fan_out in plates.FAN_OUT:
        nuclei, rows, _ = merge(tmp_path, measured, fan_out=fan_out)
        paths = [tmp_path / f"{fan_out}.{name}" for name in ("parquet", "csv", "wells.csv")]
        outputs.write_row_groups([nuclei], paths[0], schema=nuclei.schema)
        outputs.write_csv(rows, tables.FIELDS.names, paths[1])
        outputs.write_csv(*tables.wells_of(rows, {}), paths[2])
        written[fan_out] = [path.read_bytes() for path in paths]
    assert [row["Image_Status"] for row in rows].count("failed") == 2 and nuclei.num_rows > 40
    assert written["plate"] == written["well"] == written["field"]


ODD = {
    "two of five": ([SHAPE] * 3 + [(100, 121), (121, 100)], [3, 4]),
    "just over half": ([(50, 60)] * 2 + [SHAPE] * 3, [0, 1]),
    "alone": ([SHAPE], []),
    "failed ones take no vote away": ([SHAPE, SHAPE, None, None, None, (50, 60)], [5]),
}


@pytest.mark.parametrize(("shapes", "odd"), ODD.values(), ids=ODD)
def test_odd_shapes_fail_by_an_absolute_majority(tmp_path, shapes, odd):
    measured = [
        field("B02", site, site + 1, shape=shape, error=None if shape else "text") for site, shape in enumerate(shapes)
    ]
    nuclei, rows, _ = merge(tmp_path, measured)
    assert len(rows) == len(shapes)
    wrong = [row for row in rows if (row["Image_Error"] or "").startswith("wrong shape")]
    assert [row["Metadata_Site"] for row in wrong] == odd
    for row in wrong:
        height, width = shapes[row["Metadata_Site"]]
        assert f"found {height} x {width} px" in row["Image_Error"] and "are 100 x 120 px" in row["Image_Error"]
        assert row["Image_Status"] == "failed" and row["Image_Count_Nuclei"] is None
        assert {row[name] for name in tables.QUALITY} == {None}
    good = [site for site, shape in enumerate(shapes) if shape and site not in odd]
    assert nuclei["Metadata_Site"].to_pylist() == [site for site in good for _ in range(site + 1)]


NO_MAJORITY = {
    "a tie": ([SHAPE] * 2 + [(50, 60)] * 2, "2 of 100 x 120 px; 2 of 50 x 60 px"),
    "most common, but only half": (
        [SHAPE] * 2 + [(50, 60), (60, 50)],
        "2 of 100 x 120 px; 1 of 50 x 60 px; 1 of 60 x 50 px",
    ),
    "failed ones have no vote": ([SHAPE, None, None, None, (50, 60)], "1 of 100 x 120 px; 1 of 50 x 60 px"),
    "many": (
        [(side, 9) for side in range(10, 17)],
        "1 of 10 x 9 px; 1 of 11 x 9 px; 1 of 12 x 9 px; 1 of 13 x 9 px, and 3 more forms",
    ),
}


@pytest.mark.parametrize(("shapes", "listed"), NO_MAJORITY.values(), ids=NO_MAJORITY)
def test_without_a_majority_all_images_fail_and_say_what_there_is(tmp_path, shapes, listed):
    measured = [
        field("B02", site, 0, shape=shape, error=None if shape else "text") for site, shape in enumerate(shapes)
    ]
    nuclei, rows, _ = merge(tmp_path, measured)
    assert {row["Image_Status"] for row in rows} == {"failed"} and nuclei.num_rows == 0
    for row, shape in zip(rows, shapes, strict=True):
        if shape:
            assert f"found {shape[0]} x {shape[1]} px" in row["Image_Error"] and f"({listed})" in row["Image_Error"]


def test_files_of_many_numbers_of_planes_are_alike_if_their_planes_are(tmp_path):
    forms = {1: "{} x {} px", 2: "2 planes of {} x {} px", 3: "3 planes of {} x {} px"}
    measured = [
        field("B02", site, 1, z=z if planes > 1 else None, name=f"images/s{site}.tif", form=forms[planes], shape=shape)
        for site, (planes, shape) in enumerate([(1, SHAPE), (2, SHAPE), (3, SHAPE), (2, (50, 60))])
        for z in range(1, planes + 1)
    ]
    _, rows, _ = merge(tmp_path, measured)
    (failed,) = [row for row in rows if row["Image_Status"] == "failed"]
    assert failed["Metadata_Site"] == 3 and "found 2 planes of 50 x 60 px" in failed["Image_Error"]
    assert failed["Image_Error"].endswith("planes of most of the plate's images are 100 x 120 px")


@pytest.mark.parametrize(
    ("positions", "said"),
    [
        ([{}, {}], None),
        ([{"z": 1}, {"z": 2}, {"z": 2}], "2 z planes"),
        ([{"z": 1, "timepoint": 0}, {"z": 3, "timepoint": 1}], "2 time points"),  # one plane at every time point
        (
            [{"timepoint": number} for number in (1, 2, 3)],
            "3 time points, each with a row of its own; the counts of wells add them up; timepoints.csv has",
        ),
    ],
)
def test_counts_of_wells_that_add_up_planes_or_time_points_are_warned_of(tmp_path, positions, said, caplog):
    measured = [field("B02", 1 if position else site, **position) for site, position in enumerate(positions)]
    _, rows, _ = merge(tmp_path, measured)
    merge_units.warn_of_sums("P1", rows)
    assert (said is None and not caplog.text) or f"P1: a field has up to {said}" in caplog.text
    assert len(caplog.records) == (said is not None)


def test_every_well_has_a_row_for_each_of_its_time_points(tmp_path):
    """Write two sites of B02 at three times, one in two planes; C03 at two others; a file of AA01 that is not read."""
    counts = {("B02", 1, 0): 4, ("B02", 1, 2): 6, ("B02", 1, 10): None, ("B02", 2, 0): 1, ("B02", 2, 10): None}
    counts |= {("C03", 1, 2): 0, ("C03", 1, 7): 9, ("AA01", 1, None): None, ("AA01", 2, 10): 3}
    measured = [
        field(well, site, count, timepoint=timepoint, error=None if count is not None else "empty file")
        for (well, site, timepoint), count in counts.items()
    ]
    measured += [field("AA01", 3, count, timepoint=2, z=z) for z, count in ((1, 20), (2, 30))]
    _, rows, _ = merge(tmp_path, measured)
    schema = tables.fields_schema([], left_out=[])
    outputs.write_parquet(pa.Table.from_pylist(rows, schema), tmp_path / "fields.parquet")
    sum_timepoints.main(fields_table=tmp_path / "fields.parquet", timepoints_table=tmp_path / "timepoints.csv")
    assert (tmp_path / "timepoints.csv").read_text().splitlines() == [
        "Metadata_Plate,Metadata_Well,Metadata_Timepoint,Fields_Total,Fields_Failed,Count_Nuclei,Mean_Count_Nuclei",
        "P1,B02,0,2,0,5,2.5",
        "P1,B02,2,1,0,6,6.0",
        "P1,B02,10,2,2,,",
        "P1,C03,2,1,0,0,0.0",
        "P1,C03,7,1,0,9,9.0",
        "P1,AA01,,1,1,,",
        "P1,AA01,2,2,0,50,25.0",
        "P1,AA01,10,1,0,3,3.0",
    ]


def test_a_field_whose_background_lies_above_the_threshold_of_peaks_fails(tmp_path):
    measured = [
        field("B02", site, 3)._replace(levels=fields.Levels(ground, 9000.0)) for site, ground in enumerate((999, 1001))
    ]
    nuclei, (good, failed), _ = merge(tmp_path, measured)
    assert good["Image_Status"] == "ok" and nuclei["Metadata_Site"].to_pylist() == [0, 0, 0]
    assert failed["Image_Status"] == "failed" and failed["Image_Count_Nuclei"] is None
    assert "the background (1001) lies above the threshold of peaks (1000)" in failed["Image_Error"]


@pytest.mark.parametrize("place", [0, 2, 3])
@pytest.mark.parametrize(("usual", "odd"), [(1, 3), (3, 1)])
def test_a_file_of_another_number_of_planes_is_one_failed_row(tmp_path, usual, odd, place):
    counts, form = [usual] * 4, {1: "{} x {} px", 3: "3 planes of {} x {} px"}
    counts[place] = odd
    measured = [
        field("B02", site, 2, z=z if planes > 1 else None, name=f"images/s{site}.tif", form=form[planes])
        for site, planes in enumerate(counts)
        for z in range(1, planes + 1)
    ]
    nuclei, rows, _ = merge(tmp_path, measured)
    assert len(rows) == 3 * usual + 1 and nuclei.num_rows == 2 * 3 * usual
    (failed,) = [row for row in rows if row["Image_Status"] == "failed"]
    assert failed["Metadata_Site"] == place and failed["Metadata_ZPlane"] is None
    assert "3 planes of 100 x 120 px" in failed["Image_Error"] and failed["Image_Count_Nuclei"] is None
    assert place not in nuclei["Metadata_Site"].to_pylist()


@pytest.mark.parametrize("along", ["z", "timepoint"])
def test_a_failed_file_keeps_the_time_point_or_z_plane_of_its_name(tmp_path, along):
    """Merge a plate whose names state one axis; one file holds planes along the other axis, and one is too small."""
    named = "timepoint" if along == "z" else "z"
    measured = [field("B02", 1, **{named: number}) for number in (1, 2, 3, 4)]
    form = "3 planes of {} x {} px"
    measured += [field("B02", 1, name="images/s.tif", form=form, **{named: 5, along: plane}) for plane in (1, 2, 3)]
    measured += [field("B02", 1, shape=(5, 5), **{named: 6})]
    _, rows, absent = merge(tmp_path, measured)
    columns = {"timepoint": "Metadata_Timepoint", "z": "Metadata_ZPlane"}
    assert [row[columns[named]] for row in rows] == [1, 2, 3, 4, 5, 6]
    assert [row["Image_Status"] for row in rows] == ["ok"] * 4 + ["failed"] * 2
    assert {row[columns[along]] for row in rows} == {None} and absent == [columns[along]]


def test_rows_come_in_the_order_of_their_numbers_wherever_odd_ones_stand():
    measured = [field("B02", 1, shape=(5, 5)), field("B02", 2), field("B02", 3, shape=(6, 6)), field("B02", 4)]
    measured += [field("B02", 5, error="text"), field("B02", 6), field("B02", 7), field("B02", 8, shape=(5, 5))]
    rows = tables.fields_of("P1", measured).to_pylist()
    numbered = tables.fail_odd_forms([{**row, "Field": number} for number, row in enumerate(rows)])
    assert [row["Field"] for row in numbered] == list(range(8))
    assert [row["Metadata_Site"] for row in numbered] == list(range(1, 9))
    wrong = [(row["Image_Error"] or "").startswith("wrong shape") for row in numbered]
    assert wrong == [True, False, True, False, False, False, False, True]


def test_an_image_in_colours_among_grey_ones_is_odd_though_of_the_same_size(tmp_path):
    red = "{} x {} px in 3 colours, of which red alone shows signal"
    nuclei, rows, _ = merge(tmp_path, [field("B02", 1), field("B02", 2), field("B02", 3, form=red)])
    assert [row["Image_Status"] for row in rows] == ["ok", "ok", "failed"]
    assert "found 100 x 120 px in 3 colours" in rows[2]["Image_Error"] and nuclei.num_rows == 6


def test_an_image_of_another_type_is_odd(tmp_path):
    measured = [field("B02", site, form="{} x {} px of uint16") for site in (1, 2)]
    measured += [field("B02", 3, form="{} x {} px of uint8")]
    _, rows, _ = merge(tmp_path, measured)
    assert [row["Image_Status"] for row in rows] == ["ok", "ok", "failed"]
    assert rows[2]["Image_Error"].startswith(
        "wrong shape or type: found 100 x 120 px of uint8, the plate's images are 100 x"
    )


@pytest.mark.parametrize(("failed", "of", "share"), [(29, 100, 0.29), (57, 100, 0.57), (1, 20, 0.05), (0, 0, 0)])
def test_as_many_failed_fields_as_are_allowed_are_allowed(failed, of, share):
    row = dict.fromkeys(("PathName_DNA", "FileName_DNA", "Metadata_Well", "Metadata_Site", "Image_Error"))
    rows = [{**row, "Image_Status": "failed" if number < failed else "ok"} for number in range(of)]
    policy = {"on_bad_image": "record", "max_failed_fields": share}
    merge_units.check_failures("P1", rows, **policy)
    if of:
        rows[failed]["Image_Status"] = "failed"
        with pytest.raises(
            InputError, match=f"{failed + 1} of {of} fields failed, more than max_failed_fields: {share}"
        ):
            merge_units.check_failures("P1", rows, **policy)


def test_wells_count_good_fields_and_where_none_is_good_the_count_is_unknown(tmp_path):
    measured = [field("B02", 1, 4), field("B02", 2, 7), field("B02", 3, error="text")]
    measured += [field("B03", 1, error="text"), field("C02", 1, 0)]
    _, rows, _ = merge(tmp_path, measured)
    platemap = {"C02": {"Metadata_dose": "1e5"}, "B02": {"Metadata_dose": "007"}, "H12": {"Metadata_dose": "9"}}
    wells, columns = tables.wells_of(rows, platemap)
    outputs.write_csv(wells, columns, tmp_path / "wells.csv")
    no_flags = "," * len(plate_flags.JUDGED) + "False"
    assert (tmp_path / "wells.csv").read_bytes().decode().split("\n") == [
        "Metadata_Plate,Metadata_Well,Metadata_dose,Fields_Total,Fields_Failed,Count_Nuclei,Mean_Count_Nuclei,"
        + ",".join(plate_flags.JUDGED),
        "P1,B02,007,3,1,11,5.5" + no_flags,
        "P1,B03,,1,1,," + no_flags,
        "P1,C02,1e5,1,0,0,0.0" + no_flags,
        "",
    ]


def test_a_plate_without_fields_has_a_header_for_its_wells():
    assert tables.wells_of([], {"B02": {"Metadata_dose": "1"}}) == (
        [],
        ["Metadata_Plate", "Metadata_Well", "Metadata_dose", *tables.WELLS, *plate_flags.JUDGED],
    )


def controlled(means, *, column="Metadata_control"):
    """Return rows and columns of wells.csv for wells of (role, mean count or None for a failed well)."""
    rows, platemap = [], {}
    for number, (role, mean) in enumerate(means):
        well = f"B{number + 1:02}"
        platemap[well] = {column: role}
        status = "failed" if mean is None else "ok"
        rows += [
            {
                **dict.fromkeys([*plate_flags.JUDGED, "Metadata_Site", "Metadata_Timepoint"]),
                **{"Metadata_Plate": "P1", "Metadata_Well": well, "Image_Count_Nuclei": count, "Image_Status": status},
            }
            for count in ([None] if mean is None else [mean - 1, mean + 1])
        ]
    return tables.wells_of(rows, platemap, excluded=plate_flags.excluded_wells(rows, platemap, []))


def test_robust_z_and_z_prime_are_as_worked_out_by_hand_and_by_scipy():
    negative, positive, sample = [100, 104, 96, 130, 98], [10, 14, 12], [50, 101]
    means = [("Negative", mean) for mean in negative] + [("POSITIVE ", mean) for mean in positive]
    wells, columns = controlled([*means, ("", sample[0]), ("poscon_cp", sample[1]), ("negative", None)])
    assert columns[-2 - len(plate_flags.JUDGED) :] == [*tables.SCORES, *plate_flags.JUDGED]
    # Median 100; distances 0, 4, 4, 30, 2: MAD 4.
    assert median_abs_deviation(negative) == 4
    scores = [row["RobustZ_Count_Nuclei"] for row in wells]
    assert scores[:-1] == pytest.approx([(mean - 100) / (1.4826 * 4) for mean in (*negative, *positive, *sample)])
    by_scipy = (np.array(negative) - np.median(negative)) / median_abs_deviation(negative, scale="normal")
    assert scores[:5] == pytest.approx(by_scipy, rel=1e-5)
    assert scores[-1] is None
    # Means 12 and 105.6; sample variances 8 / 2 and (5.6^2 + 1.6^2 + 9.6^2 + 24.4^2 + 7.6^2) / 4 = 194.8.
    z_prime = 1 - 3 * (2 + 194.8**0.5) / 93.6
    assert [row["ZPrime_Count_Nuclei"] for row in wells] == pytest.approx([z_prime] * len(wells))


@pytest.mark.parametrize(
    ("means", "z", "z_prime"),
    [
        ([("negative", 9), ("negative", 9), ("negative", 5), ("positive", 3), ("positive", 3)], None, -0.48),  # MAD 0
        ([("negative", 9), ("positive", 3), ("positive", 3)], None, None),
        ([("negative", 9), ("negative", None), ("positive", 3), ("positive", 3)], None, None),
        ([("negative", 9), ("negative", 7), ("positive", 3), ("positive", None)], 1 / 1.4826, None),
        ([("negative", 9), ("negative", 7), ("positive", 8), ("positive", 8)], 1 / 1.4826, None),  # equal means
        ([("sample", 9), ("positive", 3), ("positive", 4)], None, None),
    ],
)
def test_what_controls_do_not_define_is_empty(means, z, z_prime):
    wells, _ = controlled(means)
    assert wells[0]["RobustZ_Count_Nuclei"] == (pytest.approx(z) if z else None)
    assert {row["ZPrime_Count_Nuclei"] for row in wells} == {wells[0]["ZPrime_Count_Nuclei"]}
    assert wells[0]["ZPrime_Count_Nuclei"] == (pytest.approx(z_prime, abs=0.01) if z_prime else None)


def test_only_a_column_control_makes_scores(tmp_path):
    means = [("negative", 9), ("negative", 7), ("positive", 3), ("positive", 5)]
    wells, columns = controlled(means, column="Metadata_controls")
    assert columns[-1 - len(plate_flags.JUDGED)] == "Mean_Count_Nuclei" and not set(tables.SCORES) & set(wells[0])
    wells, columns = controlled(means, column="Metadata_Control")
    outputs.write_csv(wells, columns, tmp_path / "wells.csv")
    assert list(pd.read_csv(tmp_path / "wells.csv").ZPrime_Count_Nuclei) == pytest.approx([1 - 3 * 2 * 2**0.5 / 4] * 4)
    assert tables.wells_of([], {"B02": {"Metadata_control": ""}})[1][-2 - len(plate_flags.JUDGED) :] == [
        *tables.SCORES,
        *plate_flags.JUDGED,
    ]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path, error):
    (tmp_path / "t.csv").write_text("old")
    with pytest.raises(error), outputs.atomic_file(tmp_path / "t.csv") as part:
        part.write_text("half")
        assert (tmp_path / "t.csv").read_text() == "old" and part.parent == tmp_path
        raise error
    assert [path.name for path in tmp_path.iterdir()] == ["t.csv"] and (tmp_path / "t.csv").read_text() == "old"


def test_a_row_that_cannot_be_written_leaves_no_file(tmp_path):
    def rows():
        yield {"a": 1}
        raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        outputs.write_csv(rows(), ["a"], tmp_path / "t.csv")
    assert not list(tmp_path.iterdir())


def test_what_other_processes_write_is_left_alone(tmp_path):
    with outputs.atomic_file(tmp_path / "t.csv") as part:
        pattern = part.name
        part.write_text("1")
    leftover = pattern.replace(pattern.split(".")[-2], "999999")
    assert leftover != pattern
    (tmp_path / leftover).write_text("half")
    (tmp_path / "t.csv.part").write_text("the user's")
    outputs.write_csv([{"a": "x,y"}, {"a": None}], ["a"], tmp_path / "t.csv")
    assert (tmp_path / "t.csv").read_text() == 'a\n"x,y"\n""\n'
    assert {path.name for path in tmp_path.iterdir()} == {"t.csv", "t.csv.part", leftover}


def test_pandas_and_pycytominer_take_the_nuclei_as_they_are(tmp_path):
    from pycytominer import aggregate

    nuclei, _, _ = merge(tmp_path, [field("B02", 1, 3), field("B02", 2, 4), field("C03", 1, 5)])
    outputs.write_parquet(nuclei, tmp_path / "nuclei.parquet")
    table = pd.read_parquet(tmp_path / "nuclei.parquet")
    assert pd.api.types.is_string_dtype(table["Metadata_Plate"]) and table["Metadata_Site"].dtype == "int64"
    profiles = aggregate(table, strata=["Metadata_Plate", "Metadata_Well"])
    assert profiles[["Metadata_Plate", "Metadata_Well"]].values.tolist() == [["P1", "B02"], ["P1", "C03"]]
    assert profiles["Nuclei_Location_Center_X"].tolist() == [1.0, 2.0]  # medians of 0 1 2 0 1 2 3 and of 0 1 2 3 4
    assert profiles["Nuclei_Location_Center_Y"].tolist() == [12.0, 21.0]  # of 1 11 21 2 12 22 32
    assert profiles["Nuclei_Intensity_Peak"].tolist() == [4999.0, 4998.0]
