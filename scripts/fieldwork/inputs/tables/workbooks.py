"""Read a worksheet of a workbook: of Excel (.xlsx, .xlsm, .xls) or OpenDocument (.ods)."""

import datetime
import os
import re
import zipfile

from fieldwork import InputError
from fieldwork.inputs.paths import open_file
from fieldwork.inputs.tables import ods, xls, xlsx
from fieldwork.inputs.tables.number_formats import plain_number, shown_number
from fieldwork.inputs.tables.worksheets import cell_name, column_letters, no_facts

_OLD_START = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_MOST_BYTES = 2_000_000_000  # of a workbook's parts when they are unpacked
_FACTS_OF = {"xlsx": xlsx.read_facts, "xls": xls.read_facts, "ods": ods.read_facts}
_DATES = (datetime.date, datetime.time, datetime.timedelta)
_DATE_COLUMN = re.compile("date|time|day|datum|zeit|fecha|hora", re.IGNORECASE)


def kind_of(path: str | os.PathLike, *, name: str) -> str:
    """Return what a file is by its content: ``xlsx``, ``xls`` or ``ods``; an empty text for what is no workbook.

    Parameters
    ----------
    path : path-like
    name : str
        The file's name in messages.

    Raises
    ------
    InputError
        It is a workbook of another kind, or a document.
    """
    try:
        with open_file(path) as stream:
            head = stream.read(len(_OLD_START))
    except OSError:
        return ""  # whoever reads it says why
    if head == _OLD_START:
        return "xls"
    if not head.startswith((b"PK\3\4", b"PK\5\6")):
        return ""
    try:
        with zipfile.ZipFile(path) as archive:
            names, size = set(archive.namelist()), sum(info.file_size for info in archive.infolist())
    except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile):
        raise InputError(f"{name}: is a workbook or a ZIP archive, and damaged; save it again") from None
    kind = ""
    if "xl/workbook.bin" in names:
        raise InputError(f"{name}: is a binary Excel workbook (.xlsb); save it as .xlsx")
    if "word/document.xml" in names:
        raise InputError(f"{name}: is a Word document; save its table as .xlsx")
    if any(part.startswith("Index/") and part.endswith(".iwa") for part in names):
        raise InputError(f"{name}: is an Apple Numbers document; export it as .xlsx")
    if any(part.startswith("xl/") for part in names):
        kind = "xlsx"
    elif "content.xml" in names:
        kind = "ods"
    if kind and size > _MOST_BYTES:
        raise InputError(f"{name}: unpacks to {size:,} bytes, more than a table has; save the table alone")
    return kind


def read_lines(path: str | os.PathLike, kind: str, *, name: str) -> list[tuple[int, list[str]]]:
    """Read the worksheet of a workbook that has content.

    Parameters
    ----------
    path : path-like
    kind : {'xlsx', 'xls', 'ods'}
    name : str
        The file's name in messages.

    Returns
    -------
    list of (int, list of str)
        Number and cells of each row. Numbers are text with all their digits (15), and with what their format adds:
        ``0.1%``, ``007``, ``10 µM``. Dates and times are as in ISO 8601. A cell that is merged over several rows of one
        column counts for each of them.

    Raises
    ------
    InputError
        Names the file, or its cell: several worksheets have content, or none that is shown; rows or columns with
        content are hidden; a cell has an error, a formula without a value, or a number whose format shows something
        else; cells are merged over several columns; some cells of a column are dates, and others none.
    """
    values, facts = _read(path, kind, name)
    for hidden, what in ((facts.hidden_rows, "row"), (facts.hidden_columns, "column")):
        if filled := sorted({cell[what == "column"] for cell in facts.content} & hidden):
            listed = [column_letters(index) if what == "column" else str(index + 1) for index in filled]
            raise InputError(
                f"{name}: the worksheet has hidden {what}s that are not empty ({', '.join(listed[:5])}"
                f"{' ...' * (len(filled) > 5)}); show those that are to count, and delete the others"
            )
    for cell, reason in sorted(facts.without_value.items()):
        raise InputError(f"{name}, line {cell[0] + 1}: cell {cell_name(*cell)} has {reason}; expected a value")
    values = _without_merged(values, facts, name)
    _check_dates(values, name)
    return [
        (row + 1, [_text(value, facts.formats, (row, column), name) for column, value in enumerate(cells)])
        for row, cells in enumerate(values)
    ]


def _read(path, kind, name):
    """Return the rows and the facts of the worksheet that counts."""
    import python_calamine  # seldom used

    try:
        facts = _FACTS_OF[kind](os.fspath(path))  # first: of damaged files it says more, and nothing on stderr
        with open_file(path) as stream, python_calamine.load_workbook(stream) as book:
            sheets = [item for item in book.sheets_metadata if item.typ == python_calamine.SheetTypeEnum.WorkSheet]
            shown = [item.name for item in sheets if item.visible == python_calamine.SheetVisibleEnum.Visible]
            chosen = _chosen(facts, shown, name)
            values = book.get_sheet_by_name(chosen).to_python(skip_empty_area=False) if chosen else []
    except (InputError, KeyboardInterrupt, SystemExit):
        raise
    except python_calamine.PasswordError:
        raise InputError(f"{name}: is protected by a password; save it without one") from None
    except MemoryError:
        raise
    except BaseException as error:  # both readers raise any error; calamine's panics are no `Exception`
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"{name}: cannot be read as a workbook (.{kind}): {reason}; save it again, or as CSV in UTF-8"
        ) from None
    return values, facts.get(chosen, no_facts())


def _chosen(facts, shown, name):
    """Return the name of the only worksheet with content, of those that are shown; None in an empty workbook."""
    filled = [sheet for sheet in facts if facts[sheet].content]
    of_shown = [sheet for sheet in filled if sheet in shown]
    listed = ", ".join(map(repr, (of_shown or filled)[:5])) + " ..." * (len(of_shown or filled) > 5)
    if len(of_shown) > 1:
        raise InputError(
            f"{name}: {len(of_shown)} worksheets have content ({listed}); expected one: delete the others, or save the "
            "one that counts as a workbook of its own"
        )
    if filled and not of_shown:
        raise InputError(f"{name}: only a hidden worksheet has content ({listed}); show it in Excel, and save")
    return of_shown[0] if of_shown else None


def _without_merged(values, facts, name):
    """Return the rows with a merged cell in each row of its own; refuse cells that are merged over columns."""
    values = [list(cells) for cells in values]
    for top, left, bottom, right in facts.merged:
        if (top, left) not in facts.content:
            continue
        if left != right:
            raise InputError(
                f"{name}, line {top + 1}: cells {cell_name(top, left)} to {cell_name(bottom, right)} are merged over "
                "several columns; expected a cell for each: unmerge them, or delete the line if it is a title"
            )
        values += [[""] * len(values[top])] * (bottom + 1 - len(values))
        for row in range(top + 1, bottom + 1):
            values[row] = [*values[row][:left], values[top][left], *values[row][left + 1 :]]
            if code := facts.formats.get((top, left)):
                facts.formats[row, left] = code
    return values


def _check_dates(values, name):
    """Refuse dates and times among other cells of a column: spreadsheets take SEPT2, 1-5 and 1.5 for dates."""
    filled = [(row, cells) for row, cells in enumerate(values) if any(cell != "" for cell in cells)]
    (_, header), *body = filled or [(0, [])]
    for column, title in enumerate(header):
        cells = [(row, cells[column]) for row, cells in body if cells[column] != ""]
        dates = [(row, cell) for row, cell in cells if isinstance(cell, _DATES)]
        if dates and len(dates) < len(cells) and not _DATE_COLUMN.search(str(title)):
            row, cell = dates[0]
            raise InputError(
                f"{name}, line {row + 1}: cell {cell_name(row, column)} (column {str(title).strip()!r}) holds the date "
                f"or time {_date_text(cell)}, and other cells of the column none; spreadsheets make dates of text such "
                "as SEPT2, 1-5 or 1.5: format the column as text, and write these cells again"
            )


def _date_text(value):
    """Return a date, a time or a duration as text."""
    if isinstance(value, datetime.timedelta):
        minutes, seconds = divmod(round(value.total_seconds()), 60)
        return f"{minutes // 60:02}:{minutes % 60:02}:{seconds:02}"
    if isinstance(value, datetime.datetime):
        return value.isoformat(sep=" ", timespec="seconds")
    return value.isoformat()


def _text(value, formats, cell, name):
    """Return the text of a cell."""
    if isinstance(value, str):
        return value
    if isinstance(value, _DATES):
        return _date_text(value)
    if isinstance(value, bool):
        return str(value).upper()
    code = formats.get(cell)
    text = shown_number(value, code) if code else plain_number(value)
    if text is None:
        raise InputError(
            f"{name}, line {cell[0] + 1}: cell {cell_name(*cell)} holds the number {plain_number(value)}, and its "
            f"format {code!r} shows something else; expected a plain number: change the cell's format"
        )
    return text
