"""Image lists in CellProfiler's LoadData form, with a known answer or a named line."""

from collections import Counter

import pytest

from fieldwork import InputError
from fieldwork.inputs import image_lists, layouts
from fieldwork.inputs.layouts import Image


def written(path, *lines, end="\n"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(end.join([*lines, ""]).encode())
    return path


def test_a_load_data_list(tmp_path):
    path = written(
        tmp_path / "list.csv",
        "FileName_DNA,PathName_DNA,FileName_Actin,PathName_Actin,Metadata_Plate,Metadata_Well,Metadata_Site,Metadata_ZPlane,Metadata_Timepoint",
        '"b, 2.tif",/images,a.tif,/images,P,b2,2,3,4',
        "",
        "c.tif,/images,d.tif,/images,P,A12,1,,",
    )
    scan = image_lists.read_image_list(path, plate="P")
    assert scan == layouts.Scan(
        "image list",
        [
            Image("/images/d.tif", "A12", 1, "Actin", None, None),
            Image("/images/c.tif", "A12", 1, "DNA", None, None),
            Image("/images/a.tif", "B02", 2, "Actin", 4, 3),
            Image("/images/b, 2.tif", "B02", 2, "DNA", 4, 3),
        ],
        [], [], [], [],
    )  # fmt: skip
    assert layouts.nuclei_channel(scan.images) == "DNA"


def test_bbbc021s_own_list(tmp_path, monkeypatch):
    lines = [
        "TableNumber,ImageNumber,Image_FileName_DAPI,Image_PathName_DAPI,Image_FileName_Tubulin,Image_PathName_Tubulin,"
        "Image_FileName_Actin,Image_PathName_Actin,Image_Metadata_Plate_DAPI,Image_Metadata_Well_DAPI,Replicate,"
        "Image_Metadata_Compound,Image_Metadata_Concentration"
    ]
    for plate in ("Week1_22123", "Week1_22141"):
        for number, well in enumerate(["B02", "B02", "B03", "B02"]):
            files = [f"{well}_{number}_{channel}.tif,Week1/{plate}" for channel in ("w1", "w2", "w4")]
            lines.append(f"4,{number},{','.join(files)},{plate},{well},1,5-fluorouracil,0.003")
    path = written(tmp_path / "lists" / "BBBC021_v1_image.csv", *lines, end="\r\n")
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    monkeypatch.chdir(tmp_path)
    beside = tmp_path / "lists" / "Week1" / "Week1_22141"
    beside.mkdir(parents=True)
    scan = image_lists.read_image_list(path, plate="Week1_22141")
    assert [image[1:3] for image in scan.images if image.channel == "DAPI"] == [
        ("B02", 1), ("B02", 2), ("B02", 3), ("B03", 1),
    ]  # fmt: skip
    assert Counter(image.channel for image in scan.images) == {"DAPI": 4, "Tubulin": 4, "Actin": 4}
    column = "column Image_Metadata_Plate_DAPI"
    assert scan.notes == [f"{path}, {column}: 12 images are not of plate 'Week1_22141' and were left out."]
    first = next(image for image in scan.images if image.channel == "DAPI")
    assert first.path == str(beside / "B02_0_w1.tif")  # the working directory has no such folder
    (tmp_path / "Week1" / "Week1_22141").mkdir(parents=True)
    scan = image_lists.read_image_list(path, plate="Week1_22141")
    first = next(image for image in scan.images if image.channel == "DAPI")
    assert first.path == "Week1/Week1_22141/B02_0_w1.tif"


def test_urls_rows_columns_and_tabs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").mkdir()
    (tmp_path / "lists" / "there").mkdir(parents=True)
    path = written(
        tmp_path / "lists" / "list.TSV",
        "URL_w1\tMetadata_Row\tMetadata_Column",
        "file:///images/a%20b.tif\tB\t2",
        "file:/images/c.tif\t3\t04",
        "file://localhost/images/d.tif\t27\t1",
        "here/e.tif\tb\t2",
        "there/f.tif\tb\t2",
        "C:/g.tif\tb\t2",
    )
    scan = image_lists.read_image_list(path, plate="P")
    by_the_list = str(tmp_path / "lists")
    assert [(image.path, image.well, image.site) for image in scan.images] == [
        ("/images/a b.tif", "B02", 1),
        ("here/e.tif", "B02", 2),
        (f"{by_the_list}/there/f.tif", "B02", 3),
        ("C:/g.tif", "B02", 4),
        ("/images/c.tif", "C04", 1),
        ("/images/d.tif", "AA01", 1),
    ]


def test_images_beside_the_list_and_empty_cells(tmp_path):
    path = written(tmp_path / "list.csv", "FileName_a,FileName_b,Metadata_Well", "1.tif,,B02", "2.tif,sub/3.tif,B02")
    scan = image_lists.read_image_list(path, plate="P")
    assert [(image.path, image.site, image.channel) for image in scan.images] == [
        (str(tmp_path / "1.tif"), 1, "a"),
        (str(tmp_path / "2.tif"), 2, "a"),
        (str(tmp_path / "sub/3.tif"), 2, "b"),
    ]
    assert "1 cells for an image's name are empty" in scan.notes[0]


def test_duplicates_and_plates_of_a_list(tmp_path):
    lines = ["FileName_a,Metadata_Well,Metadata_Site,Metadata_Plate", "10.tif,B02,1,X", "9.tif,B2,1,X"]
    with pytest.raises(InputError, match="1 of 1 images are there twice.*9.tif' and .*10.tif'.*Metadata_Timepoint"):
        image_lists.read_image_list(written(tmp_path / "list.csv", *lines), plate="P")
    more = [f"{number}.tif,B03,{number},X" for number in range(2)]
    scan = image_lists.read_image_list(written(tmp_path / "list.csv", *lines, lines[1], *more), plate="P")
    assert [image.path for image in scan.images] == [str(tmp_path / f"{number}.tif") for number in (9, 0, 1)]
    assert [bool(image.fault) for image in scan.images] == [True, False, False]
    assert scan.duplicates == [str(tmp_path / "10.tif")]
    assert scan.warnings == [
        f"{tmp_path / 'list.csv'}, column Metadata_Plate: found 'X' alone; it is taken for 'P', as the sheet calls it"
    ]
    assert scan.notes[0] == "1 images are listed twice, as the same; they count once."
    path = written(tmp_path / "list.csv", *lines, "1.tif,B02,1,Y")
    with pytest.raises(InputError, match="list.csv, column Metadata_Plate: found the plates 'X', 'Y', expected 'P'"):
        image_lists.read_image_list(path, plate="P")


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "list.csv, line 1: found columns none"),
        (["Metadata_Well", "B02"], "line 1: found columns 'Metadata_Well'. Expected FileName_<Channel>"),
        (["FileName_a|Metadata_Well", "a.tif|B02"], "line 1: .*Metadata_Well'.*Expected FileName_"),
        (["FileName_a,Metadata_Row", "a.tif,B"], "line 1: .*Metadata_Row with Metadata_Column"),
        (["FileName_a,Metadata_Well"], "list.csv: found no image"),
        (["FileName_a,Metadata_Well", ",B02"], "list.csv: found no image"),
        (["FileName_a,Metadata_Well", "a.tif,B02", "a.tif"], "line 3: found 1 cells, expected 2"),
        (["FileName_a,Metadata_Well", "a.tif,B02", "", "a.tif,well"], "line 4, .*_Well: found 'well'"),
        (["FileName_a,Image_Metadata_Well_a", "a.tif,"], "line 2, column Image_Metadata_Well_a: found ''"),
        (["FileName_a,Metadata_Row,Metadata_Column", "a.tif,99,1"], "line 2, .*Metadata_Row: found '99'"),
        (["FileName_a,Metadata_Row,Metadata_Column", "a.tif,2,x"], "line 2, .*_Column: found 'Bx'"),
        (["FileName_a,Metadata_Well,Metadata_Site", "a.tif,B02,"], "line 2, column Metadata_Site: found ''"),
        (["FileName_a,Metadata_Well,Metadata_ZPlane", "a.tif,B02,1.5"], "line 2, .*_ZPlane: found '1.5'"),
        (["FileName_a,Metadata_Well,Metadata_ZPlane", "a.tif,B02,-1"], "line 2, .*_ZPlane: found '-1'"),
        (["FileName_a,Metadata_Well,Metadata_Site", "a.tif,B02,1_0"], "line 2, .*_Site: found '1_0'"),
        (["FileName_a,Metadata_Well,Metadata_Site", "a.tif,B02,1234567890"], "line 2, .*from 0 to 999999999"),
        (["FileName_a,Metadata_Well,Metadata_Timepoint", "a.tif,B02," + "9" * 30], "line 2, .*from 0 to 999999999"),
        (["URL_a,Metadata_Well", "s3://bucket,B02"], "line 2, column URL_a: found 's3://bucket'"),
    ],
)  # fmt: skip
def test_a_wrong_list_names_its_line(tmp_path, lines, message):
    with pytest.raises(InputError, match=message):
        image_lists.read_image_list(written(tmp_path / "list.csv", *lines), plate="P")


def test_a_list_that_cannot_be_read(tmp_path):
    with pytest.raises(InputError, match="nowhere.csv: cannot be read: No such file"):
        image_lists.read_image_list(tmp_path / "nowhere.csv", plate="P")
    (tmp_path / "list.csv").write_bytes("FileName_a,Metadata_Well\nä.tif,B02\n".encode("latin-1"))
    with pytest.raises(
        InputError, match="list.csv, line 2: found a byte 0xe4 that is no UTF-8.*save it as CSV in UTF-8"
    ):
        image_lists.read_image_list(tmp_path / "list.csv", plate="P")
    written(tmp_path / "list.csv", "FileName_a,Metadata_Well", "x" * 200_000 + ",B02")
    with pytest.raises(InputError, match="line 2: cannot be read: field larger than"):
        image_lists.read_image_list(tmp_path / "list.csv", plate="P")


HEADER = "FileName_DNA,Metadata_Well,Metadata_Site"
TWO = ["a.tif,A01,1", "b.tif,A01,1", "c.tif,B02,1", "d.tif,B02,1"]


@pytest.mark.parametrize("name", ["Metadata_T", "Metadata_Time", "Metadata_TimePoint", "Metadata_Z", "Metadata_Plane"])
def test_lines_that_are_alike_are_told_apart_by_other_names_of_time_and_plane(tmp_path, name):
    lines = [f"{line},{number % 2}" for number, line in enumerate(TWO)]
    scan = image_lists.read_image_list(written(tmp_path / "list.csv", f"{HEADER},{name}", *lines), plate="P")
    moments = [(image.timepoint, image.z) for image in scan.images]
    assert moments == [(number % 2, None) if "T" in name else (None, number % 2) for number in range(4)]
    assert scan.duplicates == [] and scan.warnings == []


def test_other_names_count_only_where_they_are_needed_and_are_numbers(tmp_path):
    lines = [f"{number}.tif,A01,{number},{24 * number}" for number in (1, 2)]
    scan = image_lists.read_image_list(written(tmp_path / "list.csv", f"{HEADER},Metadata_Time", *lines), plate="P")
    assert [image.timepoint for image in scan.images] == [None, None]
    lines = [f"{line},10:0{number}" for number, line in enumerate(TWO)]
    with pytest.raises(InputError, match="2 of 2 images are there twice"):
        image_lists.read_image_list(written(tmp_path / "list.csv", f"{HEADER},Metadata_Time", *lines), plate="P")
    more = [f"{number}.tif,C0{number},1,10:00" for number in range(1, 7)]
    path = written(tmp_path / "list.csv", f"{HEADER},Metadata_Time", *lines, *more)
    scan = image_lists.read_image_list(path, plate="P")
    assert "column 'Metadata_Time' could be Timepoint, but has texts such as '10:00' and '10:03'" in scan.warnings[0]
    assert [image.well for image in scan.images if image.fault] == ["A01", "B02"]


def test_fields_of_a_list_have_their_numbers(tmp_path):
    lines = ["a.tif,A01,7", "b.tif,A01,3"]
    path = written(tmp_path / "list.csv", "FileName_DNA,Metadata_Well,Metadata_Field", *lines)
    assert [image.site for image in image_lists.read_image_list(path, plate="P").images] == [3, 7]


def test_whole_numbers_as_pandas_writes_them_beside_empty_cells(tmp_path):
    header = "FileName_DNA,Metadata_Row,Metadata_Column,Metadata_Site,Metadata_Timepoint,Metadata_ZPlane"
    path = written(tmp_path / "list.csv", header, "a.tif,2.0,3.0,1.0,4.0,", "b.tif,B,04,2,,5.0")
    scan = image_lists.read_image_list(path, plate="P")
    assert [image[1:6] for image in scan.images] == [("B03", 1, "DNA", 4, None), ("B04", 2, "DNA", None, 5)]


def test_a_line_without_a_file_is_a_fault(tmp_path):
    path = written(tmp_path / "list.csv", HEADER, "a.tif,A01,1", ",A02,1")
    good, bad = image_lists.read_image_list(path, plate="P").images
    assert good.fault is None and (bad.well, bad.path) == ("A02", "") and bad.fault == f"{path}, line 3 names no file"


@pytest.mark.parametrize("name", ["Site", "site", "metadata_site", "Field", "Metadata_FieldID", "Image_FOV"])
def test_sites_have_their_numbers_whatever_the_column_is_called(tmp_path, name):
    path = written(tmp_path / "list.csv", f"FileName_DNA,Metadata_Well,{name}", "a.tif,A01,7", "b.tif,A01,3")
    scan = image_lists.read_image_list(path, plate="P")
    assert [image.site for image in scan.images] == [3, 7] and scan.warnings == []
    assert scan.notes == [f"{path}: column {name} is taken for Metadata_Site."]


def test_a_measured_time_or_focus_is_no_number_of_a_plane(tmp_path):
    path = written(tmp_path / "list.csv", "FileName_DNA,Metadata_Well,time,z", "a.tif,A01,10,70", "b.tif,A01,20,71")
    assert [image[2:6] for image in image_lists.read_image_list(path, plate="P").images] == [
        (1, "DNA", None, None),
        (2, "DNA", None, None),
    ]


CHANNELS = ["a.tif,A01,1,DAPI", "b.tif,A01,1,GFP", "c.tif,B02,1,DAPI", "d.tif,B02,1,GFP"]


@pytest.mark.parametrize("name", ["Metadata_Channel", "Channel", "Metadata_Stain", "Image_Metadata_channel_name"])
@pytest.mark.parametrize("site", ["Metadata_Site", "Metadata_Row"])
def test_a_line_for_every_channel_is_refused(tmp_path, name, site):
    path = written(tmp_path / "list.csv", f"FileName_Image,Metadata_Well,{site},{name}", *CHANNELS)
    with pytest.raises(InputError, match=rf"list.csv: column {name} names a channel in every line \(DAPI, GFP\)"):
        image_lists.read_image_list(path, plate="P")


def test_one_channel_in_all_lines_is_no_fault(tmp_path):
    lines = [line.replace("GFP", "DAPI") for line in CHANNELS]
    path = written(tmp_path / "list.csv", "FileName_Image,Metadata_Well,Metadata_Row,Metadata_Channel", *lines)
    assert len(image_lists.read_image_list(path, plate="P").images) == 4


@pytest.mark.parametrize("wells", [("A01", "A01", "B02"), ("A01", "B02", "C03")])
@pytest.mark.parametrize("name", ["Metadata_Barcode", "Plate", "metadata_plate"])
def test_several_plates_are_told_apart_by_other_names_of_the_plate(tmp_path, name, wells):
    lines = [f"{well}.{plate}.tif,{well},{plate}" for well, plate in zip(wells, ("P1", "P2", "P2"), strict=True)]
    path = written(tmp_path / "list.csv", f"FileName_DNA,Metadata_Well,{name}", *lines)
    scan = image_lists.read_image_list(path, plate="P1")
    assert [image.well for image in scan.images] == ["A01"]
    assert scan.notes[1] == f"{path}, column {name}: 2 images are not of plate 'P1' and were left out."
    with pytest.raises(InputError, match=f"column {name}: found the plates 'P1', 'P2', expected 'P' among them"):
        image_lists.read_image_list(path, plate="P")


def test_sites_that_are_counted_by_lines_are_told_of_where_something_else_tells_the_lines_apart(tmp_path):
    lines = ["a.tif,A01,x,1", "b.tif,A01,x,2"]
    path = written(tmp_path / "list.csv", "FileName_DNA,Metadata_Well,Metadata_Dye,Metadata_Cycle", *lines)
    (warning,) = image_lists.read_image_list(path, plate="P").warnings
    assert "no column Metadata_Site" in warning and "they differ by Metadata_Cycle, which does not count" in warning


def test_sites_that_are_counted_by_lines_are_told_of(tmp_path):
    header = "FileName_DNA,Frame_DNA,Metadata_Well"
    scan = image_lists.read_image_list(written(tmp_path / "l.csv", header, "a.tif,1,A01", "a.tif,0,A01"), plate="P")
    assert [(image.site, image.inside[1]) for image in scan.images] == [(1, 1), (2, 0)]
    (warning,) = scan.warnings
    assert warning.endswith("lines of one well are counted as its sites, in the list's order")
    scan = image_lists.read_image_list(written(tmp_path / "l.csv", header, "a.tif,1,A01", "b.tif,0,A02"), plate="P")
    assert scan.warnings == []


def test_lines_that_name_one_file_and_no_different_field_are_refused_in_a_lists_words(tmp_path):
    header = "FileName_DNA,Frame_DNA,Metadata_Well,Metadata_Site"
    path = written(tmp_path / "l.csv", header, "a.tif,1,A01,1", "a.tif,0,A01,1")
    with pytest.raises(InputError, match="lines name one file, and differ in which part.* Metadata_ZPlane") as caught:
        image_lists.read_image_list(path, plate="P")
    assert "folder" not in str(caught.value) and str(caught.value).count("a.tif'") == 1


@pytest.mark.parametrize("twice", ["FileName_DNA", "Image_FileName_DNA", "Metadata_Well"])
def test_columns_of_one_name_that_differ_are_refused(tmp_path, twice):
    header = f"FileName_DNA,Metadata_Well,{twice}"
    same = "A01" if "Well" in twice else "a.tif"
    path = written(tmp_path / "list.csv", header, f"a.tif,A01,{same}")
    assert [image.path for image in image_lists.read_image_list(path, plate="P").images] == [str(tmp_path / "a.tif")]
    with pytest.raises(InputError, match=f"line 3: columns .* and {twice} are there twice, and say different things"):
        image_lists.read_image_list(written(path, header, f"a.tif,A01,{same}", "b.tif,A02,c.tif"), plate="P")


SHARED = {
    "two wells": ("", ["a.tif,A01,1", "a.tif,A02,1"], "well A02, site 1"),
    "two sites": ("", ["a.tif,A01,1", "a.tif,A01,2"], "well A01, site 2"),
    "two planes": (",Metadata_ZPlane", ["a.tif,A01,1,0", "a.tif,A01,1,1"], "well A01, site 1, z plane 1"),
    "two wells, one page": (",Frame_DNA", ["a.tif,A01,1,3", "a.tif,A02,1,3"], "well A02, site 1"),
}


@pytest.mark.parametrize("kind", SHARED)
def test_a_file_of_two_fields_is_of_neither(tmp_path, kind):
    columns, lines, position = SHARED[kind]
    path = written(tmp_path / "list.csv", HEADER + columns, *lines, "b.tif,C03,1" + ",0" * bool(columns))
    scan = image_lists.read_image_list(path, plate="P")
    assert [bool(image.fault) for image in scan.images] == [True, True, False]
    assert f"a.tif' 2 times, also for {position};" in scan.images[0].fault and "Frame_DNA" in scan.images[0].fault


def test_pages_of_a_file_may_be_of_several_fields_and_channels(tmp_path):
    header = f"{HEADER},Frame_DNA,FileName_GFP,Frame_GFP"
    path = written(tmp_path / "list.csv", header, "a.tif,A01,1,0,a.tif,1", "a.tif,A02,1,2,a.tif,3")
    images = image_lists.read_image_list(path, plate="P").images
    assert [(image.channel, image.inside[1], image.fault) for image in images] == [
        ("DNA", 0, None), ("GFP", 1, None), ("DNA", 2, None), ("GFP", 3, None),
    ]  # fmt: skip


@pytest.mark.parametrize("cells", [("B", "{}"), ("2", "{}.0"), ("b", "0{}")])
def test_a_row_and_a_column_that_contradict_the_well_are_refused_or_told_of(tmp_path, cells):
    row, column = cells
    head = "FileName_DNA,Metadata_Well,Metadata_Row,Metadata_Column"
    lines = [f"{number}.tif,B{number:02},{row},{column.format(number)}" for number in range(2, 8)]
    path = written(tmp_path / "list.csv", head, *lines)
    assert image_lists.read_image_list(path, plate="P").warnings == []
    wrong = lines[2].replace("B04", "C04")
    path = written(tmp_path / "list.csv", head, *lines[:2], wrong, *lines[3:])
    with pytest.raises(
        InputError, match="contradict Metadata_Well in 1 of 6 lines .*line 4: Metadata_Well 'C04', .*B04"
    ):
        image_lists.read_image_list(path, plate="P")
    others = [f"{number}.tif,A{number - 1:02},{row},{column.format(number)}" for number in range(2, 8)]
    scan = image_lists.read_image_list(written(tmp_path / "list.csv", head, *others), plate="P")
    (warning,) = scan.warnings
    assert "columns Metadata_Row and Metadata_Column are not those of Metadata_Well" in warning
    assert [image.well for image in scan.images] == [f"A{number:02}" for number in range(1, 7)]


def test_rows_and_columns_that_are_no_wells_do_not_count_beside_a_well(tmp_path):
    head = "FileName_DNA,Metadata_Well,Metadata_Row,Metadata_Column"
    path = written(tmp_path / "list.csv", head, "a.tif,A01,0,0", "b.tif,A02,0,1", "c.tif,A03,,")
    assert image_lists.read_image_list(path, plate="P").warnings == []
