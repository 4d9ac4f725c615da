"""Choose how nuclei are found: by which method, for the configuration, for each plate, and for stacks.

A place is where keys are written: the command line, the configuration's files, a row of the sheet of plates, or
`stack.arguments`. It chooses by its ``method``, or by keys that only one method uses.
"""

import difflib
import functools
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress

from fieldwork import InputError
from fieldwork.inputs import outlining
from fieldwork.inputs.schemas import checker, complaint, read_schema

OWN = "own"  # the kind of every method that is a function of the user's
USED_BY = {
    "diameter": {*outlining.METHODS},
    "contrast": {*outlining.METHODS},
    "model": {"network"},
    "sigma": {"peaks"},
    "min_distance": {"peaks"},
    "threshold": {"peaks"},
    "arguments": {OWN},
    "border": {*outlining.METHODS, OWN},
    "keep_labels": {*outlining.METHODS, OWN},
}
PEAKS_KEYS = ("sigma", "min_distance", "threshold")
# These count as not written: they change nothing, whatever the method.
NEUTRAL = {
    **{"diameter": "auto", "contrast": "auto", "model": outlining.BUILT_IN, "arguments": {}},
    **{"border": "keep", "keep_labels": True},
}
NUMBERS = ("diameter", "contrast", *PEAKS_KEYS)  # keys that rows and stacks may have


def kind_of(method: str) -> str:
    """Return the kind of a method: 'auto' for `outlining.METHODS`, 'peaks', or 'own' for a function of the user's."""
    return "auto" if method in outlining.METHODS else method if method == "peaks" else OWN


def written_method(place: Mapping, *, where: str, prefix: str = "") -> str | None:
    """Return the method that a place chooses.

    Parameters
    ----------
    place : mapping
        Its keys, as written; keys of other things don't matter.
    where : str
        The place, for messages.
    prefix : str
        Before the names of keys, in messages: ``nuclei.``.

    Returns
    -------
    str or None
        Its ``method``; else the one method that uses its keys, which is `OWN` where only its arguments are written, and
        ``auto`` where several of `outlining.METHODS` use them; else None.

    Raises
    ------
    InputError
        Keys of several methods, or keys that the ``method`` does not use; the message names what to delete.
    """
    written = [key for key in USED_BY if key in place and str(place[key]).lower() != str(NEUTRAL.get(key)).lower()]
    if method := place.get("method"):
        user = outlining.detector_of(method) if method in outlining.METHODS else kind_of(method)
        if unused := [key for key in written if user not in USED_BY[key]]:
            names = _listed(f"{prefix}{key}" for key in unused)
            raise InputError(
                f"{where}: {prefix}method is {method}, which does not use {names}: delete {names}, or {prefix}method"
            )
        return method
    users = set().union(*(USED_BY[key] for key in written))
    fitting = users.intersection(*(USED_BY[key] for key in written))
    if written and not fitting:
        if "arguments" not in written:
            users = users - {OWN}
        users -= {"classical"} if "model" in written else {"classical", "network"}
        choices = [
            f"for {'a function of your own' if kind == OWN else kind} delete {_listed(others)}"
            for kind in sorted(users)
            if (others := [f"{prefix}{key}" for key in written if kind not in USED_BY[key]])
        ]
        names = _listed(f"{prefix}{key}" for key in written)
        raise InputError(f"{where}: {names} belong to different methods: {'; '.join(choices)}")
    if fitting and fitting <= {*outlining.METHODS}:
        return "network" if fitting == {"network"} else "auto"
    return next(iter(fitting)) if len(fitting) == 1 else None


def peaks_keys(place: Mapping, *, prefix: str = "") -> str:
    """Return in words the keys by which a place without a ``method`` chooses peaks; an empty text where none does."""
    keys = [] if place.get("method") else [f"{prefix}{key}" for key in PEAKS_KEYS if key in place]
    return _listed(keys)


def detection_of(nuclei: Mapping, place: Mapping, *, where: str, prefix: str = "") -> dict:
    """Return how nuclei are found in a plate or in stacks.

    Parameters
    ----------
    nuclei : mapping
        The section ``nuclei`` of the checked configuration.
    place : mapping
        Keys that come before those of the section; those of the section that the method does not use are passed over.
    where, prefix : str
        As for `written_method`, of `place`.

    Returns
    -------
    dict
        ``method``. For those of `outlining.METHODS` also ``diameter`` and ``contrast`` (None: to be measured), and
        where the network is used ``model`` (a path, None: the built-in one); for peaks the other arguments of
        `nuclei.detect_nuclei`; for a function of the user's ``function`` (its name) and ``arguments``.

    Raises
    ------
    InputError
        As `written_method`; or arguments are written, but no function.
    """
    method = written_method(place, where=where, prefix=prefix) or nuclei["method"]
    keys = {**nuclei, **place}
    if method == "auto" and not place.get("method") and nuclei["method"] in outlining.METHODS:
        method = nuclei["method"]  # all of these use the place's keys
    if method in outlining.METHODS:
        sizes = {key: None if keys[key] == "auto" else float(keys[key]) for key in ("diameter", "contrast")}
        return {"method": method, **sizes, **model_of(nuclei, method)}
    if method == "peaks":
        return {"method": method, **peaks_arguments(keys)}
    if method == OWN:
        raise InputError(
            f"{where}: nuclei.arguments are those of a function of your own: name it as nuclei.method, or delete them"
        )
    return {"method": method, "function": method, "arguments": keys["arguments"]}


def model_of(nuclei: Mapping, method: str) -> dict:
    """Return the ``model`` of one of `outlining.METHODS`, as `detection_of`: nothing where the network is not used.

    Parameters
    ----------
    nuclei : mapping
        The section ``nuclei`` of the checked configuration.
    method : str
    """
    if outlining.detector_of(method) != "network":
        return {}
    return {"model": None if nuclei["model"] == outlining.BUILT_IN else nuclei["model"]}


def of_slides(nuclei: Mapping) -> dict:
    """Return how the nuclei of slides are outlined: as plates, where these are; else by method auto.

    Parameters
    ----------
    nuclei : mapping
        As for `model_of`.

    Returns
    -------
    dict
        ``method``, and where the network is used ``model``, as from `detection_of`.
    """
    method = nuclei["method"] if nuclei["method"] in outlining.METHODS else "auto"
    return {"method": method, **model_of(nuclei, method)}


def keys_of(detection: Mapping) -> dict:
    """Return what `detection_of` returned under the names and with the values of the configuration's keys."""
    defaults = {"diameter": "auto", "contrast": "auto", "model": outlining.BUILT_IN}
    keys = {key: defaults.get(key) if value is None else value for key, value in detection.items() if key != "function"}
    if "threshold_abs" in keys:
        keys["threshold"] = keys.pop("threshold_abs")
    return keys


def peaks_arguments(keys: Mapping) -> dict:
    """Return the keyword arguments of `nuclei.detect_nuclei` that the keys of peaks stand for."""
    return {"sigma": keys["sigma"], "min_distance": keys["min_distance"], "threshold_abs": keys["threshold"]}


def of_plates(nuclei: Mapping, rows: Iterable[dict]) -> dict[str, dict]:
    """Return how the nuclei of each plate are found.

    Parameters
    ----------
    nuclei : mapping
        As for `detection_of`.
    rows : iterable of dict
        From `sheets.read_sheet`.

    Returns
    -------
    dict of str to dict
        Plate -> as from `detection_of`; a plate that is calibrated with another one has the other's diameter and
        contrast.

    Raises
    ------
    InputError
        Names the sheet's line, and what to write or to delete.
    """
    rows = {row["plate"]: row for row in rows}
    own = {
        name: detection_of(nuclei, place_of(row), where=f"{row[None]}: plate '{name}'") for name, row in rows.items()
    }
    return {name: own[name] | _sizes(own[_calibrating(row, rows, own)]) for name, row in rows.items()}


def _sizes(detection):
    return {key: detection[key] for key in ("diameter", "contrast") if key in detection}


def notes_on_rows(rows: Iterable[dict]) -> list[str]:
    """Return a line on the plates whose rows choose peaks by its keys alone; `rows` as for `of_plates`."""
    names = [row["plate"] for row in rows if peaks_keys(row)]
    shown = ", ".join(names[:5]) + ", ..." * (len(names) > 5)
    keys = " or ".join(PEAKS_KEYS)
    return [f"{shown}: rows with {keys} and without a method: nuclei are found by peaks"] if names else []


def place_of(row: dict) -> dict:
    """Return the keys of a row of the sheet of plates that say how nuclei are found, with numbers for text.

    Raises
    ------
    InputError
        Names the sheet's line, the column, the value found and the values expected.
    """
    place = {key: row[key] for key in ("method", *NUMBERS) if key in row}
    for key in place.keys() - {"method"}:
        with suppress(ValueError):
            number = float(place[key])
            # Tables of pandas have 6.0 where other rows have no number.
            place[key] = int(number) if key == "min_distance" and number.is_integer() else number
    for error in _check_place()(place) if place else ():
        raise InputError(f"{row[None]}: {complaint(error)}")
    return place


@functools.cache
def _check_place() -> Callable:
    """Return the `checker` of rows' keys, by the configuration's schema."""
    keys = read_schema("config")["properties"]["nuclei"]["properties"]
    return checker({"type": "object", "properties": {key: keys[key] for key in ("method", *NUMBERS)}})


def _calibrating(row, rows, detections):
    """Return the plate whose calibration a row's plate takes: its own, or another one of the sheet."""
    name, other = row["plate"], row.get("calibrate_with")
    if other is None:
        return name
    where = f"{row[None]}: plate '{name}' has calibrate_with '{other}'"
    if other == name:
        raise InputError(f"{where}, itself; expected another plate's name, or an empty cell")
    if other not in rows:
        near = difflib.get_close_matches(other, rows, n=1, cutoff=0.4)
        hint = f"; did you mean '{near[0]}'?" if near else ""
        raise InputError(f"{where}, which is no plate of the sheet{hint}")
    if third := rows[other].get("calibrate_with"):
        hint = f"write '{third}' here, too" if third != name else "empty one of the two cells"
        raise InputError(f"{where}, which has calibrate_with '{third}' itself: {hint}")
    if kind_of(detections[name]["method"]) != "auto":
        method = detections[name]["method"]
        raise InputError(f"{where}, but its method is {method}, which needs no calibration: delete calibrate_with")
    if kind_of(detections[other]["method"]) != "auto":
        method = detections[other]["method"]
        raise InputError(f"{where}, whose method is {method}: only plates of method auto are calibrated")
    if own := [key for key in ("diameter", "contrast") if row.get(key, "auto") != "auto"]:
        raise InputError(f"{where}, whose values count as they are: delete {_listed(own)}, or calibrate_with")
    return other


def _listed(names):
    """Return names in words: a, b and c."""
    *names, last = [*names] or [""]
    return f"{', '.join(names)} and {last}" if names else last
