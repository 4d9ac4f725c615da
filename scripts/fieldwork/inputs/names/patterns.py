"""How instruments name files, as regular expressions, and what a match means."""

import re
from collections.abc import Mapping, Sequence

from fieldwork import InputError
from fieldwork.inputs.names.images import Image, index_of
from fieldwork.inputs.schemas import quoted
from fieldwork.wells import normal_well, row_letters

GUID = r"[0-9A-Fa-f]{8}-(?:[0-9A-Fa-f]{4}-){3}[0-9A-Fa-f]{12}"
_WELL = r"(?:[A-Z]|A[A-F])\d\d"  # 1536-well plates end at AF48
# Spellings that could be something else where no site and no channel follow; `tokens` looks at all names of the folder.
_ANY_WELL = r"(?:[A-Pa-p]|[Aa][A-Fa-f])-?\d\d?"
_END = r"(?:\.ome)?\.\w+$"  # the name counts, not the container: images exported as PNG keep their names
THUMBNAIL = re.compile(rf"(?i)_thumb(?:nail)?(?:{GUID})?{_END}")
# MetaXpress has folders for time points and z steps, and folders of dates and numbers above or between them; BBBC006
# has folders BBBC006_v1_images_z_00.
_FOLDERS = r"^(?:(?:TimePoint_(?P<t>\d+)|ZStep_(?P<z>\d+)|(?:[^/]*_)?z_(?P<z_>\d+)|[^/]*)/)*"
_SITE_CHANNEL = r"(?:_s(?P<site>\d+))?(?:_(?P<channel>w\d+))?"

# In order of precedence. The groups are those of the config's `layouts`; "well_" is "well" once more in a pattern, and
# "number" is that of a well, counted row by row.
# The patterns follow real names from:
# bbbc021: BBBC021v1's four families. A GUID has a fixed length: "_w266923EBB-..." can only be channel w2.
# imagexpress, metaxpress: test plates of faim-ipa and plateviewer; CellProfiler#505 (no site or no channel);
# cellpainting-gallery cpg0012 and BBBC006 (wells in lower case).
# cellvoyager: tests of fractal-tasks-core (CV7000, CV8000); cellpainting-gallery, cpg0016 source_10.
# harmony: cellpainting-gallery, cpg0000 source_4; older Operettas count channels in records ("p01rc2-ch1").
# incell: CellProfiler#3725 (both schemes; the second is version 7.2's); Bio-Formats' InCellReader; MoBIE.
# scanr: forum.image.sc/t/14872; Bio-Formats' ScanrReader; fractal-uzh-converters ("B2--W00014": rows of 12).
# cellomics: CellProfiler#505, BBBC001 (AS_09125_050116000001_A01f00d0), ArrayScan (MFGTMP_140206180002_A01f00d0), EVOS
# M7000 (P1_Plate_M_p00_z00_0_A01f00d0). What stands before the well is known: other names only look like these.
# gen5: Agilent's Gen5, of Cytation: well, step (negative: made of others), channel, image in the well, name, reading.
# cq1: Yokogawa's CQ1; wells have numbers. columbus: row, column - field - plane, time point, channel.
_PATTERNS = {
    "bbbc021": rf"{_FOLDERS}(?:Week\d+_(?:\d+_?|4sites)_)?(?P<well>[A-P]\d\d)_s(?P<site>\d)"
    rf"_(?P<channel>w[124]){GUID}{_END}",
    "imagexpress": rf"{_FOLDERS}(?:[^/]*_)?(?P<well>{_WELL}|{_ANY_WELL}(?=_[sw]\d)){_SITE_CHANNEL}"
    rf"(?:{GUID}|_{GUID}|_\[{GUID}\]){_END}",
    "metaxpress": rf"{_FOLDERS}(?:[^/]*_)?(?P<well>{_WELL}|{_ANY_WELL}){_SITE_CHANNEL}{_END}",
    "cellvoyager": rf"(?:^|[/_])(?P<well>{_WELL})_T(?P<t>\d+)F(?P<site>\d+)L\d+A\d+Z(?P<z>\d+)"
    rf"(?P<channel>C\d+){_END}",
    "harmony": r"(?:^|[/_])r(?P<row>\d\d)c(?P<column>\d\d)f(?P<site>\d+)p(?P<z>\d+)-?"
    rf"(?P<channel>(?:rc\d+-)?ch\d+)(?:sk(?P<t>\d+)fk\d+fl\d+|t(?P<t_>\d+)){_END}",
    "incell": r"(?:^|[/_])(?:(?P<well>[A-Z]{1,2}(?: - )?\d+)\((?=fld |wv )(?:fld (?P<site>\d+))?"
    r"(?: ?wv (?P<channel>[^()/]+?))?(?:(?: -)? (?:z (?P<z>\d+)|time (?P<t>\d+) - \d+ ?ms))*\)"
    rf"|(?P<well_>[A-Z]{{1,2}}_\d+)_f(?P<site_>\d+)_c\d+_(?P<channel_>x[^/]*_m[^/]*)"
    rf"_z(?P<z_>\d+)_t(?P<t_>\d+)){_END}",
    "scanr": r"(?:(?:^|/)(?P<well>(?:[A-Z]|A[A-F])\d\d?))?--W(?P<number>\d+)--P(?P<site>\d+)"
    rf"--Z(?P<z>\d+)--T(?P<t>\d+)--(?P<channel>[^/]+?){_END}",
    "cellomics": rf"(?:^|/)(?:[^/]*(?:_\d{{12}}_|_p\d\d(?:_z(?P<z>\d+))?_\d+_))?(?P<well>{_WELL})f(?P<site>\d+)"
    rf"(?P<channel>d\d+){_END}",
    "gen5": r"(?:^|/)(?P<well>(?:[A-P]|A[A-F])\d\d?)_-?\d+_\d+_(?P<site>\d+)(?:Z(?P<z>\d+))?_(?P<channel>[^/]+?)"
    rf"_ ?(?P<t>\d{{3}}){_END}",
    "cq1": rf"(?:^|/)W(?P<number>\d{{4}})F(?P<site>\d+)T(?P<t>\d+)Z(?P<z>\d+)(?P<channel>C\d+){_END}",
    "columbus": r"(?:^|/)(?P<row>\d{3})(?P<column>\d{3})-(?P<site>\d+)-(?P<z>\d{3})(?P<t>\d{3})"
    rf"(?P<channel>\d{{3}}){_END}",
}
LAYOUTS = {name: re.compile(pattern) for name, pattern in _PATTERNS.items()}
_GROUPS = ("well", "row", "column", "site", "channel", "plate", "z", "t")
COLUMNS = {"96": 12, "384": 24, "1536": 48}  # of a plate, by its format


def config_layouts(layouts: Mapping[str, str]) -> dict[str, re.Pattern]:
    """Compile the config's regexes.

    Raises
    ------
    InputError
        Names the key and what is wrong with it.
    """
    compiled = {}
    for name, pattern in layouts.items():
        if name in LAYOUTS or name == "auto":
            raise InputError(f"layouts.{name}: the name of a built-in layout. Give the regex another name.")
        try:
            compiled[name] = re.compile(pattern)
        except (re.error, TypeError, ValueError, OverflowError, RecursionError) as error:
            raise InputError(
                f"layouts.{name}: {quoted(pattern)} is no regular expression ({error}). Expected one of Python's, "
                "such as (?P<well>[A-P][0-9]{2})_s(?P<site>[0-9]+)_(?P<channel>w[0-9])."
            ) from None
        groups = compiled[name].groupindex.keys()
        position = groups & {"well", "row", "column"}
        if position not in ({"well"}, {"row", "column"}) or not groups <= set(_GROUPS):
            raise InputError(
                f"layouts.{name}: found the named groups {', '.join(groups) or '(none)'} in {pattern!r}. "
                "Expected (?P<well>...), or (?P<row>...) and (?P<column>...); and, where the names have them, "
                f"{', '.join(_GROUPS[3:])}; no others."
            )
    return compiled


def columns_of_numbers(
    matches: Sequence[re.Match | None], layout: str, plate_format: str | None, notes: list[str], warnings: list[str]
) -> int:
    """Return the columns of the plate on which wells with a number and without a name are counted, row by row.

    Parameters
    ----------
    matches : list of re.Match or None
        Of a layout with a group ``number``.
    layout : str
        Its name, for notes.
    plate_format : str, optional
        Wells of the plate, as the sheet says. Else 96, or 384 where a number is above 96.
    notes, warnings : list of str
        What was decided is added.

    Raises
    ------
    InputError
        Wells are counted from 0, or beyond the plate.
    """
    numbers = {int(match["number"]) for match in matches if match and not match.groupdict().get("well")}
    highest = max(numbers, default=0)
    wells = plate_format or ("384" if highest > 96 else "96")
    if not numbers:
        return COLUMNS[wells]
    if 0 in numbers or highest > int(wells):
        wrong = f"a well has the number {0 if 0 in numbers else highest}, expected numbers from 1"
        raise InputError(
            f"layout {layout}: {wrong} to {wells}, counted row by row. The sheet's column 'plate_format' (96, 384 or "
            "1536) says how many wells the plate has; wells that are numbered otherwise need an image list "
            "(CellProfiler LoadData CSV)."
        )
    note = (
        f"layout {layout}: the files have a well number and no well name; the highest is {highest}, so they are "
        f"counted row by row on a plate of {wells} wells"
    )
    if plate_format:
        notes.append(f"{note}, as plate_format says.")
    else:
        notes.append(f"{note}.")
        if highest > 1:
            warnings.append(
                f"{note}; the sheet's column 'plate_format' (96, 384, 1536) makes that sure, and an image list says it "
                "of plates with fewer wells"
            )
    return COLUMNS[wells]


def groups_of(match: re.Match) -> dict[str, str]:
    """Return the texts of a match by the groups' names."""
    return {name.rstrip("_"): text for name, text in match.groupdict().items() if text is not None}


def counts_from_0(groups: Mapping[str, str]) -> bool:
    """Return True where the texts of a pattern's groups are of a row or column 0, which no plate has."""
    texts = [groups.get("row", ""), groups.get("column", ""), re.sub(r"^\D*", "", groups.get("well", ""))]
    return any(text.isdecimal() and not int(text) for text in texts)


def described(groups: Mapping[str, str], path: str, columns: int = 12) -> tuple[str | None, Image]:
    """Convert the texts of a pattern's groups to (plate or None, Image); ValueError where one is no well or number."""
    well = groups.get("well", "")
    if "row" in groups:
        well = row_letters(groups["row"]) + groups["column"]
    elif "number" in groups and not well:
        row, column = divmod(int(groups["number"]) - 1, columns)
        well = f"{row_letters(str(row + 1))}{column + 1}"
    timepoint, z = (index_of(groups[name]) if name in groups else None for name in ("t", "z"))
    site, channel = index_of(groups.get("site", "1")), groups.get("channel", "w1")
    return groups.get("plate"), Image(path, normal_well(well), site, channel, timepoint, z)
