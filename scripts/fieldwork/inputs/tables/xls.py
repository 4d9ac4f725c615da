"""Facts of the worksheets of old Excel workbooks (.xls)."""

import io

from fieldwork.inputs.tables.worksheets import Facts, no_facts


def read_facts(path: str) -> dict[str, Facts]:
    """Read what worksheets hold beside their values.

    Returns
    -------
    dict of str to Facts
        By the worksheets' names.

    Raises
    ------
    xlrd.XLRDError, and others
        The file is damaged.
    """
    import xlrd  # slow to import, and seldom used

    with xlrd.open_workbook(path, formatting_info=True, logfile=io.StringIO()) as book:
        return {sheet.name: _facts(book, sheet, xlrd) for sheet in book.sheets()}


def _facts(book, sheet, xlrd):
    facts = no_facts()
    facts.hidden_rows.update(row for row, info in sheet.rowinfo_map.items() if info.hidden)
    facts.hidden_columns.update(column for column, info in sheet.colinfo_map.items() if info.hidden)
    facts.merged.extend((top, left, bottom - 1, right - 1) for top, bottom, left, right in sheet.merged_cells)
    for row in range(sheet.nrows):
        for column, cell in enumerate(sheet.row(row)):
            if cell.ctype in (xlrd.XL_CELL_EMPTY, xlrd.XL_CELL_BLANK) or cell.value == "":
                continue
            facts.content.add((row, column))
            if cell.ctype == xlrd.XL_CELL_ERROR:
                facts.without_value[row, column] = f"the error {xlrd.error_text_from_code.get(cell.value, cell.value)}"
            elif cell.ctype == xlrd.XL_CELL_NUMBER:
                code = book.format_map[book.xf_list[cell.xf_index].format_key].format_str
                if code.casefold() != "general":
                    facts.formats[row, column] = code
    return facts
