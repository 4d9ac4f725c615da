"""What rules ask about measured channels, asked of a plan of files without pixels."""

import math
import os
from pathlib import Path

import numpy as np
import pytest
import tifffile

from fieldwork import InputError
from fieldwork.planning import measurements
from plans import PlateFolder, Wildcards, plan_in, write_sheets

PLATE = PlateFolder("P1", wells=("B02", "C03"))
UNIT = Wildcards(plate="P1", unit="all")


@pytest.fixture(autouse=True)
def in_the_folder(tmp_path, monkeypatch):
    """Work in the plan's folder, as Snakemake does."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FIELDWORK_PLAN_", "")  # what `keep_to_plan` sets is undone
    monkeypatch.delenv("FIELDWORK_PLAN_")


def test_rows_have_the_file_of_every_measured_channel_or_none(tmp_path):
    write_sheets(tmp_path, plates=[PLATE])
    rows = plan_in(tmp_path).measurements.image_rows(UNIT)
    assert [row[:2] for row in rows] == [("B02", 1), ("B02", 2), ("C03", 1), ("C03", 2)]
    for row in rows:
        assert row[5] == (row[4], row[4].replace("_w1", "_w2"))
    Path(rows[2][5][1]).unlink()
    plan = plan_in(tmp_path)
    assert [row[5][1] is None for row in plan.measurements.image_rows(UNIT)] == [False, False, True, False]
    assert plan.measurements.channels(UNIT) == [("DNA", "w1"), ("w2", "w2")]
    assert plan.measurements.nuclei_channel(UNIT) == "DNA" and plan.measurements.table_columns(UNIT)["channels"] == [
        "DNA",
        "w2",
    ]


@pytest.mark.parametrize("fan_out", ["well", "field"])
def test_units_share_out_the_rows(tmp_path, fan_out):
    write_sheets(tmp_path, plates=[PLATE])
    whole_plate = plan_in(tmp_path).measurements.image_rows(UNIT)
    plan = plan_in(tmp_path, fan_out=fan_out)
    units = [Wildcards(plate="P1", unit=unit) for unit in plan.plates.units("P1")]
    assert len(units) > 1
    assert [row for unit in units for row in plan.measurements.image_rows(unit)] == whole_plate


def test_a_changed_image_of_another_channel_changes_the_stamps_and_is_what_snakemake_is_told_of(tmp_path):
    write_sheets(tmp_path, plates=[PLATE])
    plan = plan_in(tmp_path)
    stamps, others = plan.measurements.image_stamps(UNIT), [row[5][1] for row in plan.measurements.image_rows(UNIT)]
    assert len(stamps) == 8
    for row in plan.measurements.image_rows(UNIT):
        os.utime(row[4], (10**9, 10**9))
    os.truncate(others[1], 7)
    os.utime(others[1], (1.5 * 10**9,) * 2)
    for other in (others[0], *others[2:]):
        os.utime(other, (10**9, 10**9))
    changed = plan_in(tmp_path).measurements
    assert changed.image_stamps(UNIT) != stamps and changed.newest_image(UNIT) == [others[1]]
    assert len(plan_in(tmp_path).plates.image_stamps(UNIT)) == 4  # what filters and pictures read


@pytest.mark.parametrize(
    ("config", "channels", "files"),
    [
        ({"measure": {"channels": "none"}}, [], 0),
        ({"measure": {"channels": ["Tubulin"]}, "channels": {"w2": "Tubulin"}}, [("Tubulin", "w2")], 1),
        ({"nuclei": {"method": "peaks"}}, [], 0),
        ({"nuclei": {"channel": "w2"}}, [("DNA", "w2"), ("w1", "w1")], 2),
    ],
)
def test_only_what_is_measured_is_read(tmp_path, config, channels, files):
    write_sheets(tmp_path, plates=[PLATE])
    measurements = plan_in(tmp_path, **config).measurements
    assert measurements.channels(UNIT) == channels
    assert {len(row[5]) for row in measurements.image_rows(UNIT)} == {files}
    assert len(measurements.image_stamps(UNIT)) == (4 if files == 0 else 8)


def test_tables_have_the_channels_of_all_plates_and_a_new_plate_changes_no_unit(tmp_path):
    write_sheets(tmp_path, plates=[PLATE])
    before = plan_in(tmp_path).measurements
    folder = tmp_path / "images/P2"
    folder.mkdir()
    for channel in ("w1", "w10", "w9"):
        (folder / f"P_B02_s1_{channel}.tif").touch()
    with (tmp_path / "config/plates.tsv").open("a") as sheet:
        sheet.write("P2\timages/P2\t\n")
    plan = plan_in(tmp_path).measurements
    assert before.table_columns(UNIT)["channels"] == ["DNA", "w2"]
    assert plan.table_columns(UNIT)["channels"] == ["DNA", "w2", "w9", "w10"]
    assert plan.table_columns(UNIT) == plan.table_columns(Wildcards(plate="P2", unit="all"))
    # Files of one of them may hold planes, which only its jobs see.
    assert before.table_columns(UNIT)["position"] == []
    assert plan.table_columns(UNIT)["position"] == ["Metadata_Timepoint", "Metadata_ZPlane"]
    for ask in ("image_rows", "channels", "image_stamps", "nuclei_channel"):
        assert getattr(plan, ask)(UNIT) == getattr(before, ask)(UNIT)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            {"nuclei": {"method": "peaks"}, "measure": {"channels": "none"}},
            "--config: measure.channels is 'none', but nuclei of method peaks have no outlines",
        ),
        (
            {"nuclei": {"method": "peaks"}, "illumination": "auto"},
            "--config: illumination is 'auto', but nuclei of method peaks have no outlines",
        ),
        (
            {"nuclei": {"method": "peaks"}, "background": 5},
            "--config: background is 5.0, but nuclei of method peaks have no outlines",
        ),
        ({"channels": {"w3": "Actin"}}, "--config: channels names 'w3', which no plate has; their channels are w1, w2"),
        (
            {"channels": {"w1": "A", "w2": "A"}},
            "config/plates.tsv, line 2: plate 'P1': the channels 'w1' and 'w2' are both",
        ),
        (
            {"measure": {"channels": ["w7"]}},
            "config/plates.tsv, line 2: plate 'P1': measure.channels names 'w7', but the channels are DNA",
        ),
        ({"channels": {"w1": "A", "W1": "B"}}, "--config: 'channels' has w1 and W1, which are one token"),
        (
            {"measure": {"groups": ["texture", "textures"]}},
            "--config: 'measure.groups.1' is 'textures'; expected texture, granularity, zernike, radial or correlation",
        ),
        (
            {"measure": {"groups": "texture"}},
            "--config: 'measure.groups' is 'texture'; expected a list of texture, gra",
        ),
        (
            {"measure": {"groups": ["radial", "radial"]}},
            "--config: 'measure.groups' is ['radial', 'radial']; expected a",
        ),
        (
            {"measure": {"groups": ["zernike"]}, "nuclei": {"method": "peaks"}},
            "--config: measure.groups is ['zernike'], but nuclei of method peaks have no outlines",
        ),
        (
            {"measure": {"groups": ["radial"], "channels": "none"}},
            "--config: measure.groups is ['radial'], but measure.channels is none: name the channels there, too",
        ),
        ({"cells": {"expand": 0}}, "--config: 'cells.expand' is 0.0; expected a number above 0 and up to 1000 (px)"),
        ({"cells": {}}, "--config: 'cells' is {}; expected none, {expand: PX}, {watershed: CHANNEL} or the"),
        ({"cells": "expand"}, "--config: 'cells' is 'expand'; expected none, {expand: PX}, {watersh"),
        ({"cells": {"grow": 3}}, "--config: 'cells' is 'grow'; expected the key expand or watershed"),
        (
            {"cells": {"expand": 3, "watershed": "w2"}},
            "expected none, {expand: PX}, {watershed: CHANNEL} or the import",
        ),
        ({"cells": "no_module.my_cells"}, "--config: cells: no_module.my_cells: no module"),
        (
            {"cells": "skimage.segmentation.expand_labels"},
            "--config: cells: skimage.segmentation.expand_labels takes no",
        ),
        ({"cells": {"watershed": "w2"}, "measure": {"channels": "none"}}, "cells is {'watershed': 'w2'}, but measure."),
        (
            {"cells": {"watershed": "w9"}},
            "config/plates.tsv, line 2: plate 'P1': cells.watershed names 'w9', but the measured channels are DNA",
        ),
        (
            {"cells": {"expand": 3}, "nuclei": {"method": "peaks"}},
            "--config: cells is {'expand': 3.0}, but nuclei of method peaks have no outlines",
        ),
        ({"positive": {"w2": 1, "W2": 2}}, "--config: 'positive' has w2 and W2, which are one token"),
        ({"positive": {"w2": "high"}}, "--config: 'positive.w2' is 'high'; expected a number (mean intensity in"),
        ({"positive": {"w2": float("nan")}}, "--config: 'positive.w2' is nan; expected a number (mean intensity in"),
        (
            {"positive": {"w7": 1}},
            "config/plates.tsv, line 2: plate 'P1': positive names 'w7', but the measured channels are DNA (w1), w2. "
            "Expected their names or tokens",
        ),
        (
            {"positive": {"w2": 1}, "measure": {"channels": ["w1"]}},
            "plate 'P1': positive names 'w2', but the measured channels are DNA (w1).",
        ),
        ({"positive": {"w2": 1}, "measure": {"channels": "none"}}, "but measure.channels is none: name the channels"),
        (
            {"positive": {"w2": 1, "Tubulin": 2}, "channels": {"w2": "Tubulin"}},
            "config/plates.tsv, line 2: plate 'P1': positive names Tubulin (w2) twice; delete one of them",
        ),
        (
            {"positive": {"w2": "auto"}},
            "config/plates.tsv, line 2: plate 'P1': positive.w2 is auto, but no well with images is a negative "
            "control; expected 'negative' in the column 'control' of a platemap, or a number in place of auto",
        ),
        (
            {"positive": {"w2": 1}, "nuclei": {"method": "peaks"}},
            "--config: positive is {'w2': 1.0}, but nuclei of method peaks have no outlines",
        ),
    ],
)
def test_channels_that_are_none_are_refused_in_one_line(tmp_path, config, message):
    write_sheets(tmp_path, plates=[PLATE])
    with pytest.raises(InputError) as caught:
        plan_in(tmp_path, **config)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_no_channels_are_no_fault_where_stacks_are_measured_beside_plates_with_peaks(tmp_path):
    write_sheets(tmp_path, plates=[PLATE], stacks=["T1"])
    sheet = tmp_path / "config/plates.tsv"
    header, row = sheet.read_text().splitlines()
    sheet.write_text(f"{header}\tmethod\n{row}\tpeaks\n")
    assert plan_in(tmp_path, measure={"channels": "none"}).stacks.channels(Wildcards(stack="T1")) == []
    with pytest.raises(InputError, match=r"measure.channels is \['w2'\], but nuclei of method peaks have no outlines"):
        plan_in(tmp_path, measure={"channels": ["w2"]})


def test_names_of_two_plates_that_differ_in_case_are_refused_in_one_line(tmp_path):
    write_sheets(tmp_path, plates=[PLATE])
    folder = tmp_path / "images/P2"
    folder.mkdir()
    for channel in ("w1", "W2"):
        (folder / f"B02_s1_{channel}.tif").touch()
    with (tmp_path / "config/plates.tsv").open("a") as sheet:
        sheet.write("P2\timages/P2\t\n")
    own = {"layouts": {"own": r"(?P<well>B\d\d)_s(?P<site>\d)_(?P<channel>[wW]\d)\.tif"}}
    with pytest.raises(InputError) as caught:
        plan_in(tmp_path, **own)
    assert str(caught.value) == (
        "config/plates.tsv, line 3: plate 'P2': its channel W2 is called w2 in plate 'P1'. Give both one name under "
        "the key 'channels': {W2: w2}"
    )
    assert plan_in(tmp_path, channels={"W2": "w2"}, **own).measurements.table_columns(UNIT)["channels"] == ["DNA", "w2"]
    plan_in(tmp_path, measure={"channels": ["DNA"]}, **own)


def test_peaks_look_at_no_other_channel_and_two_of_one_name_are_no_matter(tmp_path):
    write_sheets(tmp_path, plates=[PLATE])
    config = {"nuclei": {"method": "peaks"}, "channels": {"w1": "Nuclei-1", "w2": "Nuclei 1"}}
    measurements = plan_in(tmp_path, **config).measurements
    assert measurements.nuclei_channel(UNIT) == "Nuclei_1" and measurements.table_columns(UNIT)["channels"] == []


def test_many_channels_have_room_and_time(tmp_path):
    write_sheets(tmp_path, plates=[PLATE])
    for image in [*(tmp_path / "images/P1").glob("*_w1*")]:
        for channel in range(3, 17):
            image.with_name(image.name.replace("_w1", f"_w{channel}")).write_bytes(bytes(10**6))
    plan = plan_in(tmp_path)
    assert plan.measurements.unit_memory(UNIT, 2, 1) == plan.plates.unit_memory(UNIT, 2, 1) + 2 * 14
    assert plan.measurements.unit_minutes(UNIT, 1, 2) == plan.plates.unit_minutes(UNIT, 1, 2) + 2
    fork = plan_in(tmp_path, pool={"mode": "fork"})
    assert fork.measurements.unit_memory(UNIT, 2, 1) == fork.plates.unit_memory(UNIT, 2, 1) + 2 * 14 + 3 * 60
    # A worker holds the functions of all channels, and the corrected images, in float32.
    lit = plan_in(tmp_path, illumination="auto")
    assert lit.measurements.unit_memory(UNIT, 2, 1) == lit.plates.unit_memory(UNIT, 2, 1) + 2 * (14 + 5 * 16)
    assert lit.measurements.sample_memory(UNIT, 2, 1) == lit.plates.calibration_memory(UNIT, 2, 1) + 2 * 14 + 3 * 17


def test_a_file_of_many_channels_has_no_room_for_as_many_files(tmp_path):
    write_sheets(tmp_path)
    names = [f"Dye{number}" for number in range(1, 16)] + ["DAPI"]
    for site in (1, 2):
        path = tmp_path / f"s{site}.ome.tif"
        metadata = {"axes": "CYX", "Channel": {"Name": names}}
        tifffile.imwrite(path, np.zeros((16, 250, 2000), np.uint16), photometric="minisblack", metadata=metadata)
    lines = [f"B02,{site},s{site}.ome.tif" + f",s{site}.ome.tif" * 15 for site in (1, 2)]
    head = ",".join(["Metadata_Well", "Metadata_Site", *(f"FileName_{name}" for name in names)])
    (tmp_path / "list.csv").write_text("\n".join([head, *lines, ""]))
    (tmp_path / "config/plates.tsv").write_text("plate\timages\nP1\tlist.csv\n")
    plan = plan_in(tmp_path, illumination="auto")
    assert len(plan.measurements.channels(UNIT)) == 16
    for ask, memory, images in (
        (plan.measurements.unit_memory, plan.plates.unit_memory, 14 + 5 * 16),
        (plan.measurements.sample_memory, plan.plates.calibration_memory, 14 + 3 * 17),
    ):
        assert ask(UNIT, 1, 1) == memory(UNIT, 1, 1) + images  # of 1 MB


@pytest.fixture
def with_package(monkeypatch):
    """Show the plan the package of the groups, whether it is installed here or not."""
    monkeypatch.setattr(measurements, "find_spec", lambda name: name)


def test_groups_and_the_versions_of_their_libraries_are_parameters_of_detection_alone(tmp_path, with_package):
    write_sheets(tmp_path, plates=[PLATE])
    plan = plan_in(tmp_path).measurements
    assert plan.groups(UNIT) == [] and plan.groups_versions(UNIT) == {} and plan.table_columns(UNIT)["groups"] == []
    plan = plan_in(tmp_path, measure={"groups": ["radial", "zernike"]}).measurements
    assert plan.groups(UNIT) == ["zernike", "radial"]  # in one order
    versions = plan.groups_versions(UNIT)
    assert versions.keys() == {"cp-measure", "centrosome", "mahotas", "scipy", "scikit-image"} and versions["scipy"]
    assert plan.table_columns(UNIT)["groups"] == ["zernike", "radial"]


def test_the_metadata_of_a_table_with_groups_names_them_and_their_libraries(tmp_path, with_package):
    write_sheets(tmp_path, plates=[PLATE])
    plain = plan_in(tmp_path).made_of(UNIT)
    made_of = plan_in(tmp_path, measure={"groups": ["zernike"]}).made_of(UNIT)
    assert "groups" not in plain["settings"]["measure"] and "cp-measure" not in plain["libraries"]
    assert made_of["settings"]["measure"].pop("groups") == ["zernike"]
    assert {"cp-measure", "centrosome", "mahotas"} <= made_of["libraries"].keys()
    assert list(made_of["libraries"]) == sorted(made_of["libraries"])
    assert plain["libraries"].items() <= made_of["libraries"].items()
    assert made_of["settings"] == plain["settings"] and made_of["digest"] == plain["digest"]


def test_groups_for_stacks_alone_are_refused(tmp_path, with_package, refused):
    write_sheets(tmp_path, stacks=["S1"])
    message = refused(plan_in, tmp_path, measure={"groups": ["zernike"]})
    assert message.startswith("--config: measure.groups is ['zernike'], but they are measured in the nuclei of plates")


def test_without_channels_the_shapes_moments_are_left_and_peaks_have_no_groups(tmp_path, with_package):
    write_sheets(tmp_path, plates=[PLATE, PlateFolder("P2")])
    sheet = tmp_path / "config/plates.tsv"
    lines = [
        f"{line}\t{word}"
        for line, word in zip(sheet.read_text().splitlines(), ("method", "auto", "peaks"), strict=True)
    ]
    sheet.write_text("\n".join([*lines, ""]))
    plan = plan_in(tmp_path, measure={"groups": ["zernike"], "channels": "none"}).measurements
    peaks = Wildcards(plate="P2", unit="all")
    assert plan.groups(UNIT) == ["zernike"] and plan.groups(peaks) == [] and plan.groups_versions(peaks) == {}
    assert plan.unit_minutes(peaks, 1, 1) == plan_in(tmp_path).measurements.unit_minutes(peaks, 1, 1)


def test_groups_take_time_and_memory_by_channels_and_objects(tmp_path, with_package):
    write_sheets(tmp_path, plates=[PLATE])  # 4 fields of 1 MB in each of 2 channels
    plain = plan_in(tmp_path).measurements
    every = ["texture", "granularity", "zernike", "radial", "correlation"]
    costs = []
    for config in ({}, {"cells": {"expand": 3}}):
        plan = plan_in(tmp_path, measure={"groups": every}, **config).measurements
        more_mb = plan.unit_memory(UNIT, 2, 1) - plain.unit_memory(UNIT, 2, 1)
        costs.append((plan.unit_minutes(UNIT, 1, 1) - plain.unit_minutes(UNIT, 1, 1), more_mb))
    seconds, columns = 4 * (0.08 + 2 * (0.25 + 0.2 + 0.35) + 1.1), 30 + 2 * (52 + 16 + 72) + 10
    assert costs[0] == (math.ceil(10 * seconds / 60) - 1, int(2 * (60 + 70) + 0.003 * 4 * columns))
    assert costs[1] == (math.ceil(30 * seconds / 60) - 1, int(2 * (60 + 70) + 3 * 0.003 * 4 * columns))


@pytest.mark.parametrize("missing", ["cp_measure", "centrosome", "mahotas"])
def test_groups_are_refused_where_their_package_is_not_installed(tmp_path, monkeypatch, refused, missing):
    monkeypatch.setattr(measurements, "find_spec", lambda name: None if name == missing else name)
    write_sheets(tmp_path, plates=[PLATE])
    message = refused(plan_in, tmp_path, measure={"groups": ["texture"]})
    assert message.startswith(
        "--config: measure.groups is ['texture'], but the package cp-measure, which measures them"
    )
    assert f": {missing} is not installed (" in message and message.endswith("or delete measure.groups")
    plan_in(tmp_path)  # without groups nobody asks


def test_a_correlation_without_two_measured_channels_is_refused(tmp_path, with_package, refused):
    write_sheets(tmp_path, plates=[PLATE])
    message = refused(plan_in, tmp_path, measure={"groups": ["correlation"], "channels": ["w2"]})
    assert message.startswith(
        "--config: measure.groups has correlation, which is of two channels, but no plate has two"
    )


def test_columns_of_two_pairs_of_channels_with_one_name_are_refused(tmp_path, with_package, refused):
    write_sheets(tmp_path, plates=[PLATE])
    for image in (tmp_path / "images/P1").glob("*_w1*"):
        for channel in ("w3", "w4"):
            image.with_name(image.name.replace("_w1", f"_{channel}")).touch()
    names = {"channels": {"w1": "A", "w2": "B_C", "w3": "A_B", "w4": "C"}}
    plan_in(tmp_path, measure={"groups": ["texture"]}, **names)
    message = refused(plan_in, tmp_path, measure={"groups": ["correlation"]}, **names)
    assert "its columns of A and B_C, and of A_B and C, would have one name: give one of them another name" in message


def test_tables_have_the_columns_of_all_plates(tmp_path):
    doses = PlateFolder("P2", platemap="well,dose,control\nB02,1,negative\n")
    names = PlateFolder("P3", platemap="well,name,dose\nB02,a,2\n")
    write_sheets(tmp_path, plates=[PLATE, doses, names])
    folder = tmp_path / "images/P4"
    folder.mkdir()
    (folder / "P_B02_T0001F001L01A01Z03C01.tif").touch()
    with (tmp_path / "config/plates.tsv").open("a") as sheet:
        sheet.write("P4\timages/P4\t\n")
    sheet = tmp_path / "config/plates.tsv"
    lines = [
        f"{line}\tmethod" if not number else f"{line}\tauto"
        for number, line in enumerate(sheet.read_text().splitlines())
    ]
    lines[1] = lines[1].replace("auto", "peaks")
    sheet.write_text("\n".join([*lines, ""]))
    columns = plan_in(tmp_path, channels={"C01": "Hoechst"}).measurements.table_columns(UNIT)
    assert columns == {
        "channels": ["DNA", "Hoechst", "w2"],
        "positive": [],
        "cells": False,
        "groups": [],
        "nuclei_channels": ["DNA", "Hoechst"],
        "outlined": True,
        "peaks": True,
        "position": ["Metadata_Timepoint", "Metadata_ZPlane"],
        "platemap": ["Metadata_dose", "Metadata_control", "Metadata_name"],
        "controls": True,
    }


def test_a_dna_stain_by_the_configurations_names_is_where_nuclei_are_looked_for_and_the_log_says_so(tmp_path):
    write_sheets(tmp_path, plates=[PLATE])
    plan = plan_in(tmp_path, channels={"w1": "Tubulin", "w2": "Hoechst"}, measure={"channels": ["Tubulin"]})
    assert plan.plates.channel(UNIT) == "w2" and plan.measurements.nuclei_channel(UNIT) == "Hoechst"
    line = "channels, that of the nuclei first: Hoechst (w2), Tubulin (w1); measured: Tubulin"
    assert plan.measurements.described("P1") == line
    plan.start_run()
    assert line in Path("logs/plates/P1/images.log").read_text().splitlines()


def test_positive_channels_have_the_names_of_columns_and_change_the_merging_alone(tmp_path):
    controls = PlateFolder("P2", wells=("B02",), platemap="well,control\nB02,negative\nB03,negative\n")
    write_sheets(tmp_path, plates=[controls])
    before, config = plan_in(tmp_path).measurements, {"positive": {"W2": "auto", "DNA": "0.25"}}
    unit = Wildcards(plate="P2", unit="all")
    measurements = plan_in(tmp_path, channels={"w2": "Tubulin"}, **config).measurements
    assert measurements.positive(unit) == {"DNA": 0.25, "Tubulin": "auto"}
    assert measurements.table_columns(unit)["positive"] == ["DNA", "Tubulin"] and before.positive(unit) == {}
    for ask in ("image_rows", "channels", "image_stamps", "nuclei_channel"):
        assert getattr(plan_in(tmp_path, **config).measurements, ask)(unit) == getattr(before, ask)(unit)


@pytest.mark.parametrize("platemap", ["well,dose\nB02,1\n", "well,control\nB02,positive\nC02,negative\n"])
def test_auto_is_refused_where_no_well_with_images_is_a_negative_control(tmp_path, platemap):
    write_sheets(tmp_path, plates=[PlateFolder("P1", platemap=platemap)])
    with pytest.raises(InputError, match="no well with images is a negative control; .* of config/P1.csv, or a number"):
        plan_in(tmp_path, positive={"w2": "auto"})


def test_a_plate_with_peaks_among_others_has_no_positive_nuclei(tmp_path):
    write_sheets(tmp_path, plates=[PLATE, PlateFolder("P2")])
    sheet = tmp_path / "config/plates.tsv"
    header, *lines = sheet.read_text().splitlines()
    sheet.write_text(f"{header}\tmethod\n{lines[0]}\tauto\n{lines[1]}\tpeaks\n")
    measurements = plan_in(tmp_path, positive={"w2": 0.5}).measurements
    assert [measurements.positive(Wildcards(plate=name)) for name in ("P1", "P2")] == [{"w2": 0.5}, {}]
    assert measurements.table_columns(UNIT)["positive"] == ["w2"]


def test_cells_are_found_where_nuclei_have_outlines_and_are_kept_with_their_labels(tmp_path):
    write_sheets(tmp_path, plates=[PLATE, PlateFolder("P2")])
    sheet = tmp_path / "config/plates.tsv"
    header, *lines = sheet.read_text().splitlines()
    sheet.write_text(f"{header}\tmethod\n{lines[0]}\tauto\n{lines[1]}\tpeaks\n")
    plan = plan_in(tmp_path, cells={"expand": "8"})
    assert [plan.measurements.cells(Wildcards(plate=name)) for name in ("P1", "P2")] == [{"expand": 8.0}, None]
    assert plan.measurements.table_columns(UNIT)["cells"] and plan.plates.label_stores == ["labels.zarr", "cells.zarr"]
    assert [product for product in plan.plates.further_products("P1") if "zarr" in product] == [
        "labels.zarr/zarr.json",
        "cells.zarr/zarr.json",
    ]
    assert not [product for product in plan.plates.further_products("P2") if "zarr" in product]
    bare = plan_in(tmp_path, cells={"expand": 8}, nuclei={"keep_labels": False}).plates
    assert not bare.keeps_cells and not [product for product in bare.further_products("P1") if "zarr" in product]


def test_illumination_is_found_in_the_calibrations_sample_in_every_measured_channel(tmp_path):
    write_sheets(tmp_path, plates=[PLATE])
    plan = plan_in(tmp_path, illumination="auto", background=2)
    rows = plan.measurements.sample_rows(UNIT)
    assert [row[:5] for row in rows] == plan.plates.sample_rows(UNIT) and len(rows) == 4
    assert all(row[5] == (row[4], row[4].replace("_w1", "_w2")) for row in rows)
    assert len(plan.measurements.sample_stamps(UNIT)) == 8
    assert plan.measurements.illuminated(UNIT) == plan.measurements.illuminated_plates == ["P1"]
    assert plan.measurements.background(UNIT) == 2
    os.truncate(rows[0][5][1], 7)
    assert plan_in(tmp_path).measurements.sample_stamps(UNIT) != plan.measurements.sample_stamps(UNIT)


def test_without_the_key_and_with_peaks_no_image_is_corrected(tmp_path):
    write_sheets(tmp_path, plates=[PLATE, PlateFolder("P2")])
    plan = plan_in(tmp_path).measurements
    assert plan.illuminated(UNIT) == plan.illuminated_plates == [] and plan.background(UNIT) is None
    sheet = tmp_path / "config/plates.tsv"
    first, *rows = sheet.read_text().splitlines()
    sheet.write_text("\n".join([f"{first}\tmethod", f"{rows[0]}\tpeaks", f"{rows[1]}\t", ""]))
    plan = plan_in(tmp_path, illumination="auto", background=2).measurements
    assert plan.illuminated_plates == ["P2"] and plan.illuminated(UNIT) == [] and plan.background(UNIT) is None
    assert plan.background(Wildcards(plate="P2", unit="all")) == 2


def test_the_channel_of_a_watershed_has_its_name_and_cells_need_no_channel_to_expand(tmp_path):
    write_sheets(tmp_path, plates=[PLATE])
    plan = plan_in(tmp_path, cells={"watershed": "W2"}, channels={"w2": "Actin"})
    assert plan.measurements.cells(UNIT) == {"watershed": "Actin"}
    bare = plan_in(tmp_path, cells={"expand": 3}, measure={"channels": "none"}).measurements
    assert bare.cells(UNIT) == {"expand": 3.0} and bare.channels(UNIT) == []


def test_a_changed_module_of_the_function_for_cells_makes_the_units_again(tmp_path):
    write_sheets(tmp_path, plates=[PLATE])
    module = tmp_path / "config/own_cells_plan.py"
    codes = []
    for number in (1, 2):
        module.write_text(f"def cells(nuclei, channels):\n    return {number} * nuclei\n")
        plan = plan_in(tmp_path, cells="own_cells_plan.cells", nuclei={"method": "classical"})
        assert plan.measurements.cells(UNIT) == {"function": "own_cells_plan.cells"}
        codes.append(plan.cells_code(UNIT))
    assert codes[0] != codes[1] and plan_in(tmp_path, cells={"expand": 3}).cells_code(UNIT) == ""
    assert plan_in(tmp_path).cells_code(UNIT) == "" and plan.detection_code(UNIT) == ""


def test_controls_named_in_the_configuration_count_for_positive_nuclei_and_contradictions_are_refused(tmp_path):
    platemap = "well,control,compound\nB02,,dmso\nB03,negative,taxol\n"
    write_sheets(tmp_path, plates=[PlateFolder("P1", wells=("B02",), platemap=platemap)])
    positive = {"positive": {"w2": "auto"}}
    with pytest.raises(InputError, match="positive.w2 is auto, but no well with images is a negative control"):
        plan_in(tmp_path, **positive)
    plan = plan_in(tmp_path, **positive, controls={"negative": ["DMSO"]})
    assert plan.measurements.table_columns(UNIT)["controls"]
    with pytest.raises(InputError, match="config/P1.csv: plate 'P1': the column 'control' has 'negative' in a well of"):
        plan_in(tmp_path, controls={"positive": ["Taxol"]})
