"""Facts of the worksheets of Excel's workbooks (.xlsx, .xlsm): Office Open XML."""

import posixpath
import zipfile
from string import digits
from xml.etree import ElementTree

from fieldwork.inputs.tables.worksheets import Facts, cell_position, check_size, column_number, no_facts

_PERCENT_FORMATS = {9: "0%", 10: "0.00%"}  # of those that Excel does not write into the file; the others add no text


def read_facts(path: str) -> dict[str, Facts]:
    """Read what worksheets hold beside their values.

    Returns
    -------
    dict of str to Facts
        By the worksheets' names.

    Raises
    ------
    ValueError, KeyError, OSError, zipfile.BadZipFile, xml.etree.ElementTree.ParseError
        The file is damaged, or its content reaches too far.
    """
    with zipfile.ZipFile(path) as archive:
        book = _target(archive, "", "officeDocument") or "xl/workbook.xml"
        formats = _formats(archive, _target(archive, book, "styles"))
        facts, root = {}, ElementTree.fromstring(archive.read(book))
        calculation = root.find("{*}calcPr")
        # Programs that do not calculate ask Excel to do so; what they write for the results of formulas may be 0.
        is_stale = calculation is not None and calculation.get("fullCalcOnLoad") in ("1", "true")
        for sheet in root.iterfind("{*}sheets/{*}sheet"):
            number = next((value for key, value in sheet.items() if key.endswith("}id")), None)
            facts[sheet.get("name")] = _facts(archive, _target(archive, book, number), formats, is_stale)
        return facts


def _target(archive, part, wanted):
    """Return the name of a part by the number or the kind of its relation to another one; None if there is none."""
    folder, name = posixpath.split(part)
    try:
        relations = ElementTree.fromstring(archive.read(posixpath.join(folder, "_rels", f"{name}.rels")))
    except KeyError:
        return None
    for relation in relations:
        if wanted in (relation.get("Id"), relation.get("Type", "").rpartition("/")[2]):
            return posixpath.normpath(posixpath.join("/", folder, relation.get("Target", ""))).lstrip("/")
    return None


def _formats(archive, part):
    """Return the format of each style; empty where it adds nothing to a number."""
    if part is None:
        return []
    styles = ElementTree.fromstring(archive.read(part))
    codes = {int(item.get("numFmtId")): item.get("formatCode", "") for item in styles.iterfind("{*}numFmts/{*}numFmt")}
    codes = _PERCENT_FORMATS | codes
    return [codes.get(int(item.get("numFmtId", 0)), "") for item in styles.iterfind("{*}cellXfs/{*}xf")]


def _facts(archive, part, formats, is_stale):
    facts, row = no_facts(), -1
    with archive.open(part) as stream:
        for _, element in ElementTree.iterparse(stream):
            tag = element.tag.rpartition("}")[2]
            if tag == "row":
                row = int(element.get("r", row + 2)) - 1
                _read_row(element, row, facts, formats, is_stale)
                element.clear()
            elif tag == "col" and (element.get("hidden") in ("1", "true") or element.get("width") == "0"):
                facts.hidden_columns.update(range(int(element.get("min")) - 1, int(element.get("max"))))
            elif tag == "mergeCell":
                first, _, last = element.get("ref").partition(":")
                facts.merged.append((*cell_position(first), *cell_position(last or first)))
    rows, columns = (max((cell[axis] for cell in facts.content), default=-1) + 1 for axis in (0, 1))
    check_size(rows, columns)
    return facts


def _read_row(element, row, facts, formats, is_stale):
    """Add the facts of a row's cells."""
    if element.get("hidden") in ("1", "true") or element.get("ht") == "0":
        facts.hidden_rows.add(row)
    column = -1
    for cell in element:
        column = column_number(name.rstrip(digits)) if (name := cell.get("r")) else column + 1
        kind, value, is_formula = cell.get("t", "n"), None, False
        for part in cell:
            if part.tag.endswith("}v"):
                value = part.text
            elif part.tag.endswith("}f"):
                is_formula = True
        if kind == "inlineStr":
            value = "".join(cell.itertext())
        if not value and not is_formula:
            continue
        facts.content.add((row, column))
        if kind == "e":
            facts.without_value[row, column] = f"the error {value}"
        elif is_formula and (is_stale or (not value and kind != "str")):  # a formula's result may be an empty text
            facts.without_value[row, column] = "a formula without its value; open and save the workbook in Excel"
        elif kind == "n" and (code := formats[int(cell.get("s", 0))] if formats else ""):
            facts.formats[row, column] = code
