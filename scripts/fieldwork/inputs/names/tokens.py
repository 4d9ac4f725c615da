"""Find out which part of a name is the well, where several look like one: ``A01_F002_C01``.

A letter with a number could be a well, or count fields (F, S), channels (C, W), time points (T), z planes (Z), plates
(P) or runs (R). All names of a folder are looked at together: a part whose letter is the same in all of them, and one
of these, counts; another part is the well.
"""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

from fieldwork import InputError
from fieldwork.inputs.names.patterns import GUID, groups_of
from fieldwork.wells import normal_well, row_letters

LAYOUTS = ("imagexpress", "metaxpress")  # whose patterns take the last part of a name that looks like a well
_KINDS = {"F": "site", "S": "site", "C": "channel", "W": "channel", "T": "t", "Z": "z", "P": "plate", "R": "run"}
_DOUBTFUL_LETTERS = {"P", "R", "S", "T", "W", "Z"}  # of these, few plates have such a row and no other
_LAST_ROW_OF_384 = "P"
# r02c03, B_02 and wellB02 are no wells in the patterns, but beside a part that is one in a pattern they could be it.
_PART = re.compile(
    r"(?<![A-Za-z0-9])(?:(?i:r(?:ow)?_?(?P<row>\d\d?)_?c(?:ol(?:umn)?)?_?(?P<column>\d\d?))"
    r"|(?P<spaced>[A-P])[ _](?P<digits>\d\d)|(?i:well)?(?:[A-Za-z]|[Aa][A-Fa-f])-?\d{1,4})(?![A-Za-z0-9])"
)
_STRICT = re.compile(r"[A-Z]{1,2}\d\d")
_NAME_THE_LAYOUT = "If it is the well, name the layout in the sheet's column 'layout'; else put"
_GUID = re.compile(GUID)
_BETWEEN = re.compile(r"[ _.-]+")


class _Part(NamedTuple):
    """A part of a name that could be a well or a number of something."""

    text: str
    letter: str  # upper case
    start: int
    end: int

    @property
    def well(self):
        """The well that it would be, or None."""
        try:
            return normal_well(self.text)
        except ValueError:
            return None


def settle_wells(
    paths: Sequence[str],
    matches: Sequence[re.Match | None],
    *,
    is_asked_for: bool,
    plate: str,
    warnings: list[str],
) -> list[dict[str, str] | None]:
    """Return for every match the texts of its groups, with the part of the name that is the well for certain.

    Parameters
    ----------
    paths : list of str
    matches : list of re.Match or None
        Of one of `LAYOUTS`.
    is_asked_for : bool
        The sheet names the layout, so that a single letter with a number is a well.
    plate : str
        The plate's name in the sheet: a part that is this is no well where another one is.
    warnings : list of str
        What was decided is added.

    Raises
    ------
    InputError
        Several parts could be the well; the message names an example.
    """
    settled = [groups_of(match) if match else None for match in matches]
    parts = [_parts_of(path, match) if match else None for path, match in zip(paths, matches, strict=True)]
    used = [number for number, of_path in enumerate(parts) if of_path]
    if not used:
        return settled
    has_index = [bool(matches[number]["site"] or matches[number]["channel"]) for number in used]
    # MetaXpress's own names end in a GUID; the part before site and channel is a well.
    has_guid = all(has_index) and all(_GUID.search(paths[number], matches[number].end("well")) for number in used)
    if all(len(parts[number]) == 1 for number in used):
        wells = [parts[number][0] for number in used]
        explicit = set.intersection(*(set(settled[number]) for number in used))
        loose = _check_alone(wells, has_index, explicit, is_certain=is_asked_for or has_guid, warnings=warnings)
        for number, is_loose in zip(used, loose, strict=True):
            if is_loose:
                settled[number] = None
        return settled
    if has_guid:
        return settled
    longest = max((parts[number] for number in used), key=len)
    rows = [parts[number] for number in used]
    if all(len(row) == len(longest) for row in rows):
        position, doubt = _position_of_well(rows, explicit=[settled[number] for number in used], plate=plate)
    elif all(has_index) and _are_prefixes(rows):
        position, doubt = len(longest) - 1, "several wells have the same of the other"
    else:
        raise _refusal(longest, "the names have different numbers of such parts")
    wells = [row[min(position, len(row) - 1)] for row in rows]
    if len({well.letter for well in wells}) == 1 and any(well.text.islower() for well in wells):  # d1_c1: a day?
        raise _refusal(longest, "the letter is small, and always the same")
    if position < len(longest) - 1:
        _reread([paths[number] for number in used], rows, position, [settled[number] for number in used])
    if position < len(longest) - 1 or doubt:
        warnings.append(_warning_of_choice(paths[parts.index(longest)], longest, position, doubt))
    return settled


def _warning_of_choice(path, parts, position, doubt):
    """Describe which of the parts of a name was taken for the well."""
    chosen = f"in names such as {path!r}, {parts[position].text} is taken for the well"
    if position < len(parts) - 1:
        others = " and ".join(part.text for part in parts[position + 1 :])
        return f"{chosen} and {others} for numbers of something else, as their letters are the same in all names"
    return f"{chosen}, and not {' and '.join(part.text for part in parts[:position])}: {doubt}"


def _parts_of(path, match):
    """Return the parts of a path up to the well that was matched, which is the last; of parts for one well the last."""
    well = _Part(match["well"], match["well"].rstrip("-0123456789").upper(), *match.span("well"))
    parts = [
        _Part(text := _text_of(part), text.rstrip("-0123456789").upper(), *part.span())
        for part in _PART.finditer(path, 0, well.start)
    ]
    parts = [part for part in parts if part.letter in _KINDS or part.well]
    parts.append(well)
    wells = [part.well for part in parts]
    return [part for number, part in enumerate(parts) if not wells[number] or wells[number] not in wells[number + 1 :]]


def _text_of(part):
    """Return a part as a letter with a number."""
    if part["row"]:
        return f"{row_letters(part['row'])}{part['column']}" if int(part["row"]) else part[0]
    return part["spaced"] + part["digits"] if part["spaced"] else re.sub("(?i)^well", "", part[0])


def _is_row_of_wells(parts):
    """Return True for parts at one position that are wells and no numbers of something."""
    letters = {part.letter for part in parts}
    return (len(letters) > 1 or not letters <= _KINDS.keys()) and all(part.well for part in parts)


def _check_alone(wells, has_index, explicit, *, is_certain, warnings):
    """Check names with one part that could be a well; return for each True if it is too little of one.

    `explicit`: which groups all names have: where they have a site, say, F01 counts no sites.
    """
    letters = {well.letter for well in wells}
    strict = [bool(_STRICT.fullmatch(well.text)) for well in wells]
    if is_certain or len(letters) > 1 and not letters <= _KINDS.keys():
        return [False] * len(wells)
    if len(letters) > 1:
        return [not (is_strict or has) for is_strict, has in zip(strict, has_index, strict=True)]
    (letter,) = letters
    if all(strict) and letter in _KINDS and (letter > _LAST_ROW_OF_384 or _KINDS[letter] not in explicit):
        what = f"{wells[0].text!r} could be a well or count something: all names have the letter {letter}"
        if letter in _DOUBTFUL_LETTERS and (letter > _LAST_ROW_OF_384 or not all(has_index)):
            raise _refusal(wells[:1], "it is the only letter, and could count something", if_well=_NAME_THE_LAYOUT)
        warnings.append(f"{what}; it is taken for the well")
    if not all(strict) and all(has_index) and letter in _KINDS:
        raise _refusal(wells[:1], "it is the only letter, and could count something", if_well=_NAME_THE_LAYOUT)
    counts_on = letter not in _KINDS and any(strict)  # A1, ..., A12: one row of a plate
    return [
        not (is_strict or has or counts_on and well.text[0].isupper())
        for is_strict, has, well in zip(strict, has_index, wells, strict=True)
    ]


def _position_of_well(rows, explicit, plate):
    """Return the index of the part that is the well in every row; and, where another part could be it, why it is.

    It is the last part that is no number of something. Every other part that could be the well must be the same in all
    names, or else in several names of different wells; and wells must have several letters (E14_B02, E14_C03, H9_B04).
    """
    columns = list(zip(*rows, strict=True))
    names = set.intersection(*(set(groups) for groups in explicit))
    of_plate = {
        index for index, column in enumerate(columns) if plate.lower() in {part.text.lower() for part in column}
    }
    possible = [index for index, column in enumerate(columns) if _is_row_of_wells(column) and index not in of_plate]
    if possible:
        position = possible[-1]
    elif _KINDS.get(columns[-1][0].letter) in names:  # P01_C03_s1_w1: the channel has a part of its own
        position = len(columns) - 1
    else:
        raise _refusal(rows[0], "each could count something")
    wells = [part.well for part in columns[position]]
    has_several_letters = len({part.letter for part in columns[position]}) > 1
    doubt = ""
    for index, column in enumerate(columns):
        others = [part.well for part in column]
        is_number = index > position and column[0].letter in _KINDS and _KINDS[column[0].letter] not in names
        if index in {position, *of_plate} or not _could_be_wells(column):
            continue
        if is_number:
            if index == position + 1 == len(columns) - 1 and len(set(wells)) > 1 and _is_in_one(others, wells):
                raise _refusal(rows[0], f"no two wells have the same {column[0].letter}, which so counts nothing")
        elif len(set(others)) == 1:
            if not has_several_letters and column[0].letter != _LAST_ROW_OF_384:
                raise _refusal(rows[0], "all names have the same letters there")
            doubt = doubt or ("the other is the same in all names" if _STRICT.fullmatch(column[0].text) else "")
        elif has_several_letters and _is_in_one(wells, others) and not _is_in_one(others, wells):
            doubt = "several wells have the same of the other"
        else:
            raise _refusal(
                rows[0], "several of them differ between the names. If one is a plate, call the plate of the sheet so"
            )
    return position, doubt


def _are_prefixes(rows):
    """Return True where several wells of several letters have the same parts before the last, or none."""
    wells, before = [row[-1].well for row in rows], [tuple(part.text for part in row[:-1]) for row in rows]
    numbers = Counter(parts for _, parts in set(zip(wells, before, strict=True)) if parts)
    return (
        _is_row_of_wells([row[-1] for row in rows])
        and len({row[-1].letter for row in rows}) > 1
        and (_is_in_one(wells, before) and min(numbers.values()) > 1)
    )


def _could_be_wells(column):
    """Return True for parts at one position that could be wells, by their letters and numbers alone."""
    letters = {part.letter for part in column}
    is_row = len(letters) > 1 or max(letters) <= _LAST_ROW_OF_384
    return is_row and all(part.well and not part.text[-3:].isdecimal() for part in column)


def _is_in_one(values, others):
    """Return True if names with the same one of the values never differ in the other."""
    return len(set(zip(values, others, strict=True))) == len(set(values))


def _reread(paths, rows, position, settled):
    """Enter what the parts behind the well say into the groups of every name."""
    for column in zip(*(row[position + 1 :] for row in rows), strict=True):
        if column[0].letter not in _KINDS and len({part.text for part in column}) > 1:
            raise _refusal(rows[0], f"it is not known what {column[0].text!r} counts")
    for groups, row in zip(settled, rows, strict=True):
        explicit = set(groups)
        groups["well"] = row[position].text
        for part in row[position + 1 :]:
            kind = _KINDS.get(part.letter)
            if kind is None or kind in explicit:
                continue  # BBBC005: A01_C1_F1_s01_w1, where C counts cells and F is the blur
            if kind in groups:
                raise _refusal(row, f"two parts count the {kind}s")
            groups[kind] = part.text if kind == "channel" else re.sub(r"\D", "", part.text)
    for kind in ("plate", "run"):
        if len(numbers := {groups.pop(kind, None) for groups in settled}) > 1:
            examples = " and ".join(sorted(filter(None, numbers))[:2])
            raise _refusal(rows[0], f"there are several {kind}s, or whatever {kind[0].upper()} counts ({examples})")
    if any("channel" in groups for groups in settled):
        _between(paths, rows, position, lambda groups, text: None, settled, may_vary=False)
    else:
        _between(paths, rows, position, lambda groups, text: groups.update(channel=text), settled, may_vary=True)


def _between(paths, rows, position, enter: Callable, settled, *, may_vary):
    """Read the texts between well and numbers: the only one, or the only one that differs, is the channel."""
    texts = [_texts_of(path, row, position) for path, row in zip(paths, rows, strict=True)]
    if len({len(of_path) for of_path in texts}) > 1:
        raise _refusal(rows[0], "the names have different numbers of texts behind it")
    differing = [index for index, column in enumerate(zip(*texts, strict=True)) if len(set(column)) > 1]
    if len(differing) > may_vary:
        raise _refusal(rows[0], f"it is not known what the text {texts[0][differing[-1]]!r} behind it says")
    channel = differing or ([0] if texts[0] and len(texts[0]) == 1 else [])
    for groups, of_path in zip(settled, texts, strict=True):
        if channel:
            enter(groups, of_path[channel[0]])


def _texts_of(path, row, position):
    """Return the texts of a path behind its well that are no numbers of something."""
    texts, start = [], max(row[position].end, path.rfind("/") + 1)
    for part in row[position + 1 :]:
        if part.start >= start:
            texts += filter(None, _BETWEEN.split(path[start : part.start]))
            start = part.end
    return texts


def _refusal(row, why, *, if_well="Put"):
    parts = " or ".join(repr(part.text) for part in row)
    return InputError(
        f"it is not certain that {parts} is the well: {why}. {if_well} a regex with the named groups well, site and "
        "channel under the config key 'layouts' (config/README.md, Layouts, has some to copy), and its name into the "
        "sheet's column 'layout'; or give an image list (CellProfiler LoadData CSV) instead of the folder."
    )
