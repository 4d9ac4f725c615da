"""Facts of the worksheets of OpenDocument spreadsheets (.ods)."""

import re
import zipfile
from xml.etree import ElementTree

from fieldwork.inputs.tables.worksheets import Facts, check_size, no_facts

_SHOWN = re.compile(
    r"(?P<before>[^\d.,+-]*)(?P<number>[+-]?[\d.,'\s]*\d[.,]?(?:E[+-]?\d+)?)(?P<after>\D*)", re.IGNORECASE
)
_NUMBERS = ("float", "currency", "percentage")
_COVERED = ("covered-table-cell", "table-cell")


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
    facts = {}
    with zipfile.ZipFile(path) as archive, archive.open("content.xml") as stream:
        rows, columns = [], []
        for event, element in ElementTree.iterparse(stream, events=("start", "end")):
            tag = element.tag.rpartition("}")[2]
            if event == "start":
                if tag == "table":
                    rows, columns = [], []
            elif tag == "table-row":
                rows.append((_repeated(element, "rows"), _is_hidden(element), _cells_of(element)))
                element.clear()
            elif tag == "table-column":
                columns.append((_repeated(element, "columns"), _is_hidden(element)))
            elif tag == "table":
                facts[_get(element, "name")] = _facts(rows, columns)
    return facts


def _get(element, name, default=None):
    """Return an attribute, whatever its namespace: writers have several for one."""
    return next((value for key, value in element.items() if key.rpartition("}")[2] == name), default)


def _repeated(element, kind):
    return int(_get(element, f"number-{kind}-repeated", 1))


def _is_hidden(element):
    return _get(element, "visibility", "visible") != "visible"


def _cells_of(row):
    """Return of each cell of a row how often it is there, and its facts; None of one without content."""
    cells = []
    for cell in row:
        if cell.tag.rpartition("}")[2] not in _COVERED:
            continue
        kinds = {value for key, value in cell.items() if key.rpartition("}")[2] == "value-type"}
        text = "\n".join("".join(part.itertext()) for part in cell if part.tag.rpartition("}")[2] == "p")
        is_formula = _get(cell, "formula") is not None
        spans = int(_get(cell, "number-rows-spanned", 1)), int(_get(cell, "number-columns-spanned", 1))
        without_value = code = ""
        if "error" in kinds or (is_formula and re.match(r"#\S|Err:\d", text)):
            without_value = f"the error {text}"
        elif is_formula and not kinds and not text:
            without_value = "a formula without its value; open and save the workbook in its program"
        elif kinds.intersection(_NUMBERS):
            code = _format_of(text, is_percent="percentage" in kinds)
        has_content = bool(kinds or text or is_formula)
        cells.append((_repeated(cell, "columns"), (without_value, code, spans) if has_content else None))
    return cells


def _format_of(text, *, is_percent):
    """Return the format, as Excel writes it, that shows a number as it is shown; empty where it adds nothing."""
    if is_percent:
        return "0%"
    if not (match := _SHOWN.fullmatch(text.strip())) or match["after"].startswith("/"):
        return ""
    before, after = (f'"{part}"' if part.strip() else "" for part in (match["before"], match["after"]))
    digits = match["number"]
    zeros = "0" * len(digits) if digits.isdigit() and digits[0] == "0" and len(digits) > 1 else "0"
    return f"{before}{zeros}{after}" if before or after or len(zeros) > 1 else ""


def _facts(rows, columns):
    """Return the facts of a worksheet by its rows and columns, each with how often it is there."""
    facts, row = no_facts(), 0
    height = sum(count for count, _, _ in rows[: _last([any(of for _, of in cells) for _, _, cells in rows])])
    width = max((sum(count for count, _ in cells[: _last([of for _, of in cells])]) for _, _, cells in rows), default=0)
    check_size(height, width)
    for count, is_hidden, cells in rows:
        if row >= height:
            break
        for line in range(row, row + count):
            facts.hidden_rows.update([line] * is_hidden)
            _add_cells(facts, line, cells)
        row += count
    column = 0
    for count, is_hidden in columns:
        if is_hidden:
            facts.hidden_columns.update(range(column, min(column + count, width)))
        column += count
    return facts


def _last(flags):
    """Return the number of items up to the last one that is true."""
    return max((number for number, flag in enumerate(flags, 1) if flag), default=0)


def _add_cells(facts, row, cells):
    column = 0
    for count, of_cell in cells:
        for position in range(column, column + count) if of_cell else ():
            without_value, code, (rows, columns) = of_cell
            facts.content.add((row, position))
            if without_value:
                facts.without_value[row, position] = without_value
            if code:
                facts.formats[row, position] = code
            if rows > 1 or columns > 1:
                facts.merged.append((row, position, row + rows - 1, position + columns - 1))
        column += count
