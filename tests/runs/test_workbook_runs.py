"""A run by workbooks makes what a run by text does, and its last lines name what to open next."""

import openpyxl

LINES = [["Plate", "Well Position", "Compound", "Dose_uM"], ["P1", "b2", "DMSO", None], ["P1", "B03", "taxol", 0.3]]
LINES += [["P2", "B02", "poison", 1], ["P1", "C02", "taxol", 3]]


def write(path, rows):
    book = openpyxl.Workbook()
    for row in rows:
        book.active.append(row)
    book.save(path)


def test_workbooks_make_the_tables_that_text_makes(workspace, monkeypatch):
    workspace.plant("P1")
    folder = workspace.path / "config"
    lines = [";".join("" if cell is None else str(cell).replace(".", ",") for cell in row) for row in LINES]
    (folder / "map.txt").write_text("\r\n".join(lines), encoding="utf-16")
    (folder / "plates.tsv").write_text("plate,images,platemap\nP1,images/P1,config/map.txt\n")
    output = workspace.run("tables")
    assert f"view.py --directory {workspace.path}" in output
    tables = workspace.tables()
    assert b"B03,taxol,0.3," in tables["plates/P1/wells.csv"] and b"poison" not in b"".join(tables.values())
    monkeypatch.setenv("HOME", str(workspace.path))
    write(folder / "map.xlsx", LINES)
    write(folder / "sheet.xlsx", [["Plate", "Images", "Platemap"], ["P1", "images/P1", "~/config/map.xlsx"]])
    planned = workspace.planned("tables", "--config", "plates=config/sheet.xlsx")
    assert "merge_units" in planned and "detect_nuclei" not in planned
    workspace.run("tables", "--config", "plates=config/sheet.xlsx")
    assert workspace.tables() == tables
