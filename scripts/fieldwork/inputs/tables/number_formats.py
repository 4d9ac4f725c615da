"""Write numbers of a worksheet as people see them there: 0.001 that is shown as 0.1 % is 0.1%, and 7 may be 007."""

import re

_TOKEN = re.compile(
    r'"(?P<quoted>[^"]*)"|\\(?P<escaped>.)|[_*].|\[\$(?P<currency>[^\]-]*)[^\]]*\]|\[(?P<bracket>[^\]]*)\]'
    r"|(?P<digits>General|[.,]*[0#?][0#?.,]*(?:E[+-]?[0#?]+)?|@)|(?P<other>.)",
    re.IGNORECASE,
)
_FRACTION = re.compile(r"[0#?]\s*/\s*[0#?\d]")
_SIGNIFICANT_DIGITS = 15  # of a number in a spreadsheet: more are noise


def plain_number(number: float) -> str:
    """Return a number as text: 3 for 3.0, and 0.3 for 0.30000000000000004."""
    if float(number).is_integer() and abs(number) < 10**_SIGNIFICANT_DIGITS:
        return str(int(number))
    return f"{number:.{_SIGNIFICANT_DIGITS}g}"


def shown_number(number: float, code: str) -> str | None:
    """Return a number with all its digits, and with the text and the zeros that its format puts around it.

    Parameters
    ----------
    number : float
    code : str
        The format, as Excel writes it: ``0.00``, ``000``, ``0%``, ``0.0" µM"``.

    Returns
    -------
    str or None
        None where the format shows something else than the number.
    """
    section, has_minus = _section_of(code, number)
    if _FRACTION.search(section):
        return plain_number(number)
    before, digits, after = "", None, ""
    for token in _TOKEN.finditer(section):
        if (bracket := token["bracket"]) is not None and re.match("[<>=]", bracket):
            return None  # which text stands there depends on the number
        if token["digits"]:
            if digits is not None:
                return None
            digits = token["digits"]
            continue
        literal = next((token[kind] for kind in ("quoted", "escaped", "currency", "other") if token[kind]), "")
        before, after = (before + literal, after) if digits is None else (before, after + literal)
    if digits is None or (digits.endswith(",") and (before + after).strip()):
        return None
    size = abs(number) * 100 ** (after + before).count("%")
    text = plain_number(size)
    if re.fullmatch("0{2,}", digits) and text.isdigit():
        text = text.zfill(len(digits))
    if has_minus:  # the section has a minus sign of its own, or parentheses
        before, after = (re.sub("[()-]", "", part) for part in (before, after))
    return f"{'-' if number < 0 else ''}{before}{text}{after}".strip()


def _section_of(code, number):
    """Return the part of a format that counts for a number, and whether it is the one for negative numbers."""
    sections = re.findall(r'((?:"[^"]*"|\\.|\[[^\]]*\]|[^;"\\\[])*)(?:;|$)', code)[:-1] or [code]
    if number < 0 and len(sections) > 1:
        return sections[1], True
    if number == 0 and len(sections) > 2 and '"-"' not in sections[2]:  # accounting shows a dash
        return sections[2], False
    return sections[0], False
