"""Workbooks say the same as their text would; what a cell shows and its value does not say is read or refused."""

import datetime
import zipfile
from pathlib import Path

import openpyxl
import pytest

from fieldwork import InputError
from fieldwork.inputs import image_lists, platemaps, sheets
from old_workbooks import old_workbook

HEADER = ["Well", "Compound", "Dose"]


def write(path, *rows, change=None):
    """Write a workbook of one worksheet, and change it; return its path."""
    book = openpyxl.Workbook()
    for row in rows:
        book.active.append(row)
    if change:
        change(book.active)
    book.save(path)
    return path


def wells_of(path):
    return {well: list(cells.values()) for well, cells in platemaps.read_platemap(path).items()}


def refused(path, *said):
    with pytest.raises(InputError) as caught:
        platemaps.read_platemap(path)
    message = str(caught.value)
    assert message.startswith(f"{path}") and "\n" not in message
    assert [part for part in said if part not in message] == []


def test_sheets_platemaps_and_lists_are_read_from_workbooks(tmp_path):
    path = tmp_path / "table.xlsx"
    write(path, ["plate", "images", "threshold"], ["007", "folder a", 300], [1, "b", 0.5], [None, None, None])
    rows = sheets.read_sheet("plates", path)
    assert [tuple(row.values()) for row in rows] == [
        (f"{path}, line 2", "007", "folder a", "300"),
        (f"{path}, line 3", "1", "b", "0.5"),
    ]
    assert sheets.read_sheet("slides", write(path, ["slide", "path"], ["S", "s.svs"]))[0]["path"] == "s.svs"
    assert sheets.read_sheet("stacks", write(path, ["Stack", "Path"], ["S", "s.tif"]))[0]["path"] == "s.tif"
    write(path, HEADER, ["a1", "DMSO", None], ["B02", "taxol", 0.1 + 0.2])
    assert wells_of(path) == {"A01": ["DMSO", ""], "B02": ["taxol", "0.3"]}
    write(path, ["FileName_DNA", "Metadata_Well", "Metadata_Site"], ["a.tif", "B02", 1], ["b.tif", "B02", 2.0])
    scan = image_lists.read_image_list(path, plate="P")
    assert [(Path(image.path).name, image.well, image.site) for image in scan.images] == [
        ("a.tif", "B02", 1),
        ("b.tif", "B02", 2),
    ]


@pytest.mark.parametrize(
    ("value", "number_format", "text"),
    [
        *((value, "General", text) for value, text in ((3.0, "3"), (0.1 + 0.2, "0.3"), (12345678901, "12345678901"))),
        *((True, "General", "TRUE"), (1e-6, "0.00E+00", "1e-06"), (2.6, "0", "2.6"), (1234.5, "#,##0.0", "1234.5")),
        *((0.001, "0%", "0.1%"), (0.125, "0.00%", "12.5%"), (7, "000", "007"), (10, '0.0" µM"', "10 µM")),
        *((5, '0.00" nM";-0.00" nM"', "5 nM"), (2, '"B"00', "B02"), (-5, "0_);(0)", "-5"), (0.5, "# ?/?", "0.5")),
        *((5, "#,##0.00\\ [$€-407]", "5 €"), (3, "@", "3"), ("007", "General", "007"), (" a\nb ", "General", "a b")),
        (0, '_-* #,##0.00_-;-* #,##0.00_-;_-* "-"??_-;_-@_-', "0"),
        (datetime.date(2026, 3, 1), "dd.mm.yy", "2026-03-01"),
        (datetime.datetime(2026, 3, 1, 12, 30), "d/m/yy hh:mm", "2026-03-01 12:30:00"),
        (datetime.time(0, 30), "h:mm", "00:30:00"),
        (datetime.timedelta(hours=30), "[h]:mm", "30:00:00"),
    ],
)
def test_a_cell_is_the_text_that_people_see_with_all_its_digits(tmp_path, value, number_format, text):
    def change(worksheet):
        worksheet["B2"].number_format = number_format

    path = write(tmp_path / "map.xlsx", ["well", "note"], ["A01", value], change=change)
    assert wells_of(path) == {"A01": [text]}


@pytest.mark.parametrize("code", [";;;", '[>1]0" a";0" b"', '0,"k"', "000-0000", "0;-0;;@"])
def test_a_number_whose_format_shows_something_else_is_refused(tmp_path, code):
    def change(worksheet):
        worksheet["B3"].number_format = code

    value = 0 if code == "0;-0;;@" else 1234567
    path = write(tmp_path / "map.xlsx", HEADER, ["A01", "DMSO"], ["A02", value], change=change)
    refused(path, f"line 3: cell B3 holds the number {value}, and its format", "change the cell's format")


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("#N/A", "cell B3 has the error #N/A; expected a value"),
        ("#DIV/0!", "cell B3 has the error #DIV/0!; expected a value"),
        ("=1+1", "cell B3 has a formula without its value; open and save the workbook in Excel"),
    ],
)
def test_errors_and_formulas_without_a_value_are_refused(tmp_path, value, said):
    refused(write(tmp_path / "map.xlsx", HEADER, ["A01", "DMSO"], ["A02", value]), f"line 3: {said}")


WORKSHEET, CALCULATED = "xl/worksheets/sheet1.xml", ("xl/workbook.xml", ' fullCalcOnLoad="1"', "")


@pytest.mark.parametrize(("kind", "value"), [("n", "2.5"), ("str", "taxol"), ("str", "")])
def test_the_value_of_a_formula_counts_if_it_was_calculated(tmp_path, kind, value):
    path = write(tmp_path / "map.xlsx", HEADER, ["A01", "DMSO"], ["A02", "=X1"])
    rewrite(path, (WORKSHEET, '<c r="B3"><f>X1</f><v />', f'<c r="B3" t="{kind}"><f>X1</f><v>{value}</v>'))
    refused(path, "line 3: cell B3 has a formula without its value")  # as of a program that writes 0 for each
    rewrite(path, CALCULATED)
    assert wells_of(path) == {"A01": ["DMSO", ""], "A02": [value, ""]}


def rewrite(path, *changes):
    """Replace texts in parts of a workbook: by what Excel writes, and openpyxl does not."""
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    for name, before, after in changes:
        assert before.encode() in parts[name]
        parts[name] = parts[name].replace(before.encode(), after.encode())
    with zipfile.ZipFile(path, "w") as archive:
        for part, content in parts.items():
            archive.writestr(part, content)


@pytest.mark.parametrize("name", ["hidden rows", "hidden columns"])
def test_hidden_cells_with_content_are_refused_and_those_without_are_not(tmp_path, name):
    rows = name == "hidden rows"

    def hide(index, column):
        def change(worksheet):
            (worksheet.row_dimensions[index] if rows else worksheet.column_dimensions[column]).hidden = True

        return change

    table = HEADER, ["A01", "DMSO"], ["A02", "taxol"]
    refused(
        write(tmp_path / "map.xlsx", *table, change=hide(3, "B")), f"{name} that are not empty ({3 if rows else 'B'})"
    )
    path = write(tmp_path / "map.xlsx", *table, change=hide(9, "H"))
    assert list(wells_of(path)) == ["A01", "A02"]


def test_a_cell_merged_over_rows_counts_for_each_and_one_merged_over_columns_is_refused(tmp_path):
    table = HEADER, ["A01", "DMSO", 1], ["A02", None, 2], ["A03", None, 3]
    path = write(tmp_path / "map.xlsx", *table, change=lambda worksheet: worksheet.merge_cells("B2:B4"))
    assert wells_of(path) == {"A01": ["DMSO", "1"], "A02": ["DMSO", "2"], "A03": ["DMSO", "3"]}
    path = write(tmp_path / "map.xlsx", *table, change=lambda worksheet: worksheet.merge_cells("B2:C2"))
    refused(path, "line 2: cells B2 to C2 are merged over several columns")
    path = write(tmp_path / "map.xlsx", *table, change=lambda worksheet: worksheet.merge_cells("E2:H9"))
    assert list(wells_of(path)) == ["A01", "A02", "A03"]


def test_a_date_among_other_cells_of_a_column_is_refused(tmp_path):
    date = datetime.date(2026, 9, 2)
    path = write(tmp_path / "map.xlsx", ["well", "gene"], ["A01", "TP53"], ["A02", date])
    refused(path, "line 3: cell B3 (column 'gene') holds the date or time 2026-09-02, and other cells")
    path = write(tmp_path / "map.xlsx", ["well", "Seeding date"], ["A01", "unknown"], ["A02", date])
    assert wells_of(path) == {"A01": ["unknown"], "A02": ["2026-09-02"]}


def test_a_table_may_begin_anywhere_and_end_before_formatted_cells(tmp_path):
    def change(worksheet):
        for row, cells in enumerate([HEADER, ["A01", "DMSO", 1]], 3):
            for column, cell in enumerate(cells, 2):
                worksheet.cell(row, column, cell)
        worksheet["Z40"].number_format = "0.00"
        worksheet["H3"], worksheet["B7"] = " ", "\n"

    assert wells_of(write(tmp_path / "map.xlsx", change=change)) == {"A01": ["DMSO", "1"]}
    refused(write(tmp_path / "map.xlsx", HEADER, ["A01", "DMSO", 1], [], ["Legend"]), "line 4: 'Legend' is no well")
    refused(
        write(tmp_path / "map.xlsx", HEADER, ["A01", "DMSO", 1, "note"]), "line 1: column 4 has no name, and 'note'"
    )


def test_names_of_worksheets_and_leading_blank_rows_change_nothing(tmp_path):
    def change(worksheet):
        worksheet.title = "A & B <µ> 'x'"

    path = write(tmp_path / "map.xlsx", [], [], HEADER, ["A01", "DMSO", 1], change=change)
    assert wells_of(path) == {"A01": ["DMSO", "1"]}
    blank = [("", "")] * 2
    path = write_open_document(
        tmp_path / "map.ods", blank, blank, [*blank, "well", "note"], [*blank, "A1", of_type("float", 7, "007")]
    )
    assert wells_of(path) == {"A01": ["007"]}


def test_one_worksheet_with_content_counts_and_several_are_refused(tmp_path):
    def change(worksheet):
        book = worksheet.parent
        book.create_sheet("empty", 0)
        book.create_sheet("lists", 0).append(["positive"])
        book["lists"].sheet_state = "hidden"
        book["Sheet"].title = "Plate 1"

    path = write(tmp_path / "map.xlsx", HEADER, ["A01", "DMSO", 1], change=change)
    assert wells_of(path) == {"A01": ["DMSO", "1"]}
    book = openpyxl.load_workbook(path)
    book["lists"].sheet_state = "visible"
    book.save(path)
    refused(path, "2 worksheets have content ('lists', 'Plate 1'); expected one")
    book["Plate 1"].sheet_state = book["lists"].sheet_state = "hidden"
    book.save(path)
    refused(path, "only a hidden worksheet has content ('lists', 'Plate 1'); show it")
    openpyxl.Workbook().save(path)
    assert sheets.read_sheet("plates", path) == []


def test_the_content_says_what_a_file_is_and_not_its_name(tmp_path):
    path = write(tmp_path / "map.xlsx", HEADER, ["A01", "DMSO", 1])
    assert wells_of(path.rename(tmp_path / "map.csv")) == {"A01": ["DMSO", "1"]}
    path.write_text("well,compound\nA01,DMSO\n")
    assert wells_of(path) == {"A01": ["DMSO"]}


def test_a_cell_far_away_is_refused_before_its_rectangle_is_read(tmp_path):
    def change(worksheet):
        worksheet["XFD1048576"] = "x"

    refused(write(tmp_path / "map.xlsx", HEADER, ["A01", "DMSO", 1], change=change), "reach as far as XFD1048576")


@pytest.mark.parametrize("part", ["xl/worksheets/sheet1.xml", "xl/workbook.xml", "[Content_Types].xml", "half"])
def test_a_damaged_workbook_is_refused(tmp_path, part):
    path = write(tmp_path / "map.xlsx", HEADER, ["A01", "DMSO", 1])
    if part == "half":
        path.write_bytes(path.read_bytes()[:2000])
        refused(path, "damaged")
        return
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content[: len(content) // 2] if name == part else content)
    if part == "[Content_Types].xml":
        assert wells_of(path) == {"A01": ["DMSO", "1"]}  # no reader needs it
    else:
        refused(path, "cannot be read as a workbook (.xlsx): ")


OPEN_DOCUMENT = (
    '<?xml version="1.0" encoding="UTF-8"?>'
    '<office:document-content xmlns:office="urn:oasis:names:tc:opendocument:xmlns:office:1.0" '
    'xmlns:table="urn:oasis:names:tc:opendocument:xmlns:table:1.0" '
    'xmlns:text="urn:oasis:names:tc:opendocument:xmlns:text:1.0" '
    'xmlns:calcext="urn:org:documentfoundation:names:experimental:calc:xmlns:calcext:1.0" office:version="1.2">'
    '<office:body><office:spreadsheet><table:table table:name="One"><table:table-column/>{rows}'
    '<table:table-row table:number-rows-repeated="1048000"><table:table-cell table:number-columns-repeated="1024"/>'
    "</table:table-row></table:table></office:spreadsheet></office:body></office:document-content>"
)
MANIFEST = """<manifest:manifest xmlns:manifest="urn:oasis:names:tc:opendocument:xmlns:manifest:1.0">
<manifest:file-entry manifest:full-path="/" manifest:media-type="application/vnd.oasis.opendocument.spreadsheet"/>
</manifest:manifest>"""


def write_open_document(path, *rows):
    """Write a worksheet as LibreOffice does; a cell is a text, or its attributes and what it shows."""
    lines = []
    for row in rows:
        cells = [('office:value-type="string"', cell) if isinstance(cell, str) else cell for cell in row]
        texts = [f"<table:table-cell {facts}><text:p>{text}</text:p></table:table-cell>" for facts, text in cells]
        lines.append(f"<table:table-row>{''.join(texts)}</table:table-row>")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("mimetype", "application/vnd.oasis.opendocument.spreadsheet")
        archive.writestr("META-INF/manifest.xml", MANIFEST)
        archive.writestr("content.xml", OPEN_DOCUMENT.format(rows="".join(lines)))
    return path


def of_type(kind, value, shown):
    return f'office:value-type="{kind}" office:{"date-" * (kind == "date")}value="{value}"', shown


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        *(
            (of_type("float", 3, "3"), "3"),
            (of_type("float", 2.6, "3"), "2.6"),
            (of_type("float", 1234.5, "1,234.50"), "1234.5"),
        ),
        *((of_type("percentage", 0.001, "0.1%"), "0.1%"), (of_type("float", 7, "007"), "007"), ("a", "a")),
        *((of_type("float", 10, "10.0 µM"), "10 µM"), (of_type("float", 0.000001, "1E-06"), "1e-06")),
        (of_type("date", "2026-03-01", "01.03.26"), "2026-03-01"),
    ],
)
def test_cells_of_open_document_are_the_text_that_people_see(tmp_path, cell, text):
    assert wells_of(write_open_document(tmp_path / "map.ods", ["well", "note"], ["A01", cell])) == {"A01": [text]}


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        (('table:formula="of:=NA()" office:value-type="string" calcext:value-type="error"', "#N/A"), "the error #N/A"),
        (('table:formula="of:=1+" office:value-type="float" office:value="0"', "Err:510"), "the error Err:510"),
        (('table:formula="of:=1+1"', ""), "a formula without its value"),
        (('table:number-columns-spanned="2" office:value-type="string"', "a"), "cells B2 to C2 are merged"),
    ],
)
def test_cells_of_open_document_without_a_value_are_refused(tmp_path, cell, said):
    refused(write_open_document(tmp_path / "map.ods", ["well", "note"], ["A01", cell]), "line 2: ", said)


def test_old_workbooks_are_read_by_the_same_rules(tmp_path):
    path = tmp_path / "map.xls"
    path.write_bytes(old_workbook("values"))
    assert wells_of(path) == {"A01": ["DMSO", "0.1%"], "A02": ["taxol", "007"]}
    path.write_bytes(old_workbook("error"))
    refused(path, "line 3: cell B3 has the error #N/A; expected a value")
    path.write_bytes(old_workbook("hidden"))
    refused(path, "hidden rows that are not empty (3)")
    path.write_bytes(old_workbook("values")[:1000])
    refused(path, "cannot be read as a workbook (.xls): ")
