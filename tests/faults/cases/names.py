"""Cases of names of image files, and of values in platemaps."""

import os
import unicodedata
from collections.abc import Iterator

from faults import pictures
from faults.catalogue import FieldCase, Good, GoodOrFailed, ReadsBack, ValueCase, random_numbers

ODD = {
    **{f"the sign {sign}": f"a{sign}b" for sign in "!#$%&'()*+,-.:;=?@[]^`|~\"\\"},
    "a blank": "a b",
    "two blanks": "a  b",
    "a blank in front": " a",
    "a command": "$(touch gone)",
    "a command in backticks": "`touch gone`",
    "a variable": "$HOME",
    "an option": "--help",
    "a formula": "=1+1",
    "a formula with a command": "=cmd|' C calc'!A0",
    "a percent format": "%s%n%d",
    "an escaped blank": "a%20b",
    "a pattern": "[!a]*?",
    "two dots": "a..b",
    "a scheme": "s3:a",
    "a drive": "C:\\a",
    "missing": "NA",
    "nothing": "null",
    "no number": "nan",
    "a number": "007",
    "a large number": "1e999",
    "true": "TRUE",
    "a device": "CON",
    "quotes around": '"a"',
    "one quote": '"a',
    "a comma in quotes": '"a,b"',
    "an accent": "é",
    "an accent of its own": unicodedata.normalize("NFD", "é"),
    "an umlaut": "Ä",
    "Chinese": "板",
    "Arabic": "لوحة",
    "an emoji": "🔬",
    "a zero-width blank": "a\u200bb",
    "a right-to-left mark": "a\u202eb",
    "a byte order mark": "a\ufeffb",
    "a hard blank": "a\xa0b",
    "a line separator": "a\u2028b",
    "HTML": "&lt;b&gt;",
    "100 letters": "x" * 100,
    "200 letters": "x" * 200,
}
CONTROLS = {
    "a line feed": "a\nb",
    "a carriage return": "a\rb",
    "both": "a\r\nb",
    "a tab": "a\tb",
    "a bell": "a\x07b",
    "an escape": "a\x1b[31mb",
    "a vertical tab": "a\x0bb",
    "a form feed": "a\x0cb",
    "a unit separator": "a\x1fb",
    "delete": "a\x7fb",
    "a next line": "a\x85b",
}
NOT_FOR_SNAKEMAKE = {
    "braces": "{a}",
    "braces of a wildcard": "{plate}",
    "a brace": "a{b",
    "two braces": "{{a}}",
    "angle brackets": "<b>",
    "a pathvar": "<results>",
    "an angle bracket": "a>b",
    "a script": "<script>alert(1)</script>".replace("/", ""),
    "Latin-1": os.fsdecode(b"caf\xe9"),
    "a byte that is no text": os.fsdecode(b"a\xffb"),
    "half of a letter": os.fsdecode("é".encode()[:1] + b"b"),
    "half of a pair": os.fsdecode(b"\xed\xa0\x80"),
}


def cases() -> Iterator[FieldCase | ValueCase]:
    """Yield every case of a name, and of a value."""
    for name, prefix in {**ODD, **CONTROLS, **NOT_FOR_SNAKEMAKE}.items():
        image = pictures.picture("u16", random_numbers("names", name))
        data = pictures.tiff()(image)
        must = Good(image) if name in ODD else GoodOrFailed(image, r"\{ \} < >|UTF-8|control|line break|name")
        yield FieldCase("Names of files", name, "u16", ".tif", _writer(data), must, prefix)
    for name, value in {**ODD, **CONTROLS}.items():
        if "\n" not in value and value == value.strip() and len(value) <= 100:
            yield ValueCase("Values of platemaps", name, ReadsBack(value))


def _writer(data):
    return lambda path: path.write_bytes(data)
