"""The illumination of a plate's channels: found in a sample of its fields, and what correcting it does to nuclei."""

import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fieldwork import InputError, frames, job, label_images, segmentation
from fieldwork.detection import illumination
from fieldwork.figures import counted, plt
from fieldwork.plates.images import FieldImage, FieldPlane
from fieldwork.segmentation import sampling
from fieldwork.segmentation.pixels import rounded

VERSION = 1  # of functions.json
ZONES = ("top left", "top right", "bottom left", "bottom right", "centre")
CORE_SHARE = 1 / 4  # of a typical nucleus's diameter: radius of the part of a nucleus that tells the light
OUTER_SHARE = 1 / 4  # of each side: what is outer in rows and in columns is a corner, what is in neither is the centre
LEFT_OVER = 0.03  # that nuclei in the corners may differ by after the correction, beside chance; else there is none
SURE_DEVIATIONS = 2  # standard deviations that chance may do
MOST_UNCERTAIN = 0.05  # from there on a warning
MOST_CHANCE = 0.05  # standard deviation of corners to centre by chance, from which on nuclei tell nothing
EVEN = "nuclei are even"
MOST_COLUMNS = 4  # of the picture


class Reading(NamedTuple):
    """What one field of the sample told, or why there is nothing to tell (`error`)."""

    source: FieldImage
    error: str | None = None
    sample: segmentation.Sample | None = None  # of the nuclei channel
    cells: dict[str, np.ndarray] = {}  # channel -> from `illumination.cell_sums`
    forms: dict[str, tuple[tuple[int, int], str]] = {}  # channel -> rows and columns, type
    missing: dict[str, str] = {}  # channel -> why there is none


class Nuclei(NamedTuple):
    """The nuclei of one field of the sample, before its illumination is corrected."""

    source: FieldImage
    error: str | None = None
    rows: np.ndarray = np.empty(0)  # (n,) px
    columns: np.ndarray = np.empty(0)
    means: dict[str, np.ndarray] = {}  # channel -> (n,) mean intensities of their cores


def failed_reading(image: FieldImage, reason: str) -> Reading:
    """Return what stands for a field that could not be read."""
    return Reading(image, error=reason)


def failed_nuclei(image: FieldImage, reason: str) -> Nuclei:
    """Return what stands for a field that could not be read again."""
    return Nuclei(image, error=reason)


def channels_in(plane: FieldPlane, nuclei: str) -> dict[str, np.ndarray]:
    """Return the channels of a plane that are corrected: those that are measured, and the nuclei channel."""
    return {nuclei: plane.image, **plane.channels}


def measure_field(image: FieldImage, planes: list[FieldPlane], *, nuclei: str, background: float | None) -> Reading:
    """Measure the light in a field of the sample: of several planes, in the middle one.

    Parameters
    ----------
    image : FieldImage
    planes : list of FieldPlane
    nuclei : str
        Name of the nuclei channel.
    background : float or None
        Percentile of each image that is subtracted.
    """
    plane = planes[len(planes) // 2]
    correction = illumination.Correction(nuclei, background)
    cells, forms = {}, {}
    for name, pixels in channels_in(plane, nuclei).items():
        cells[name] = illumination.cell_sums(illumination.correct(pixels, name, correction))
        forms[name] = pixels.shape, pixels.dtype.name
    sample = segmentation.measure_sample(illumination.correct(plane.image, nuclei, correction))
    return Reading(image, sample=sample, cells=cells, forms=forms, missing=plane.missing)


def measure_nuclei(
    image: FieldImage,
    planes: list[FieldPlane],
    *,
    nuclei: str,
    background: float | None,
    calibration: segmentation.Calibration,
    forms: dict[str, tuple[tuple[int, int], str]],
) -> Nuclei:
    """Measure the nuclei of a field of the sample.

    Outlines are those of images as they are, and those of dim nuclei in the corners are tighter than others: their mean
    intensities would be too high by some per cent. So the same part of every nucleus counts, its core.

    Parameters
    ----------
    image, planes, nuclei, background
        As for `measure_field`.
    calibration : segmentation.Calibration
        Of such images.
    forms : dict of str to tuple
        Channel -> size and type of the images that its function is from. Others do not count.
    """
    plane = planes[len(planes) // 2]
    correction = illumination.Correction(nuclei, background)
    channels = {
        name: illumination.correct(pixels, name, correction)
        for name, pixels in channels_in(plane, nuclei).items()
        if (pixels.shape, pixels.dtype.name) == forms.get(name)
    }
    if nuclei not in channels:
        return Nuclei(image)
    labels = segmentation.segment_field(channels[nuclei], calibration, method="classical").labels  # for any plate
    cores, rows, columns, areas = _cores(labels, CORE_SHARE * calibration.diameter)
    means = {
        name: np.bincount(cores.ravel(), pixels.ravel(), len(areas) + 1)[1:] / areas
        for name, pixels in channels.items()
    }
    return Nuclei(image, None, rows, columns, means)


def _cores(labels, radius):
    """Return labels of the pixels within `radius` of the centres of nuclei, and these nuclei's positions and areas."""
    rows, columns, *_ = label_images.properties(labels)
    cores = np.zeros_like(labels)
    y, x = np.nonzero(labels)
    own = labels[y, x]
    near = (y - rows[own - 1]) ** 2 + (x - columns[own - 1]) ** 2 <= max(1, radius) ** 2
    numbers, own = np.unique(own[near], return_inverse=True)  # a crescent has nothing there
    cores[y[near], x[near]] = own + 1
    return cores, rows[numbers - 1], columns[numbers - 1], np.bincount(own, minlength=len(numbers))


def _zones(rows, columns, shape):
    """Return the index of the zone that each position is in, or -1."""
    far = [
        np.where(share < OUTER_SHARE, 0, np.where(share > 1 - OUTER_SHARE, 1, 2))
        for share in ((rows + 0.5) / shape[0], (columns + 0.5) / shape[1])
    ]
    vertical, horizontal = far
    is_corner, is_centre = (vertical < 2) & (horizontal < 2), (vertical == 2) & (horizontal == 2)
    return np.where(is_corner, 2 * vertical + horizontal, np.where(is_centre, 4, -1))


def read_sample(
    images: Sequence[FieldImage], *, measure: Callable, read: Callable, failed: Callable, **pool: Any
) -> Iterable:
    """Yield what `measure` returns of every field of the sample, in their order; options as for `job.collect`."""
    pool |= {"mode": "paths"}  # not all in memory at once
    return job.results_of(measure, job.read_ahead(images, read=read, **pool), read=read, failed=failed, **pool)


class Illumination(NamedTuple):
    """The illumination of one channel."""

    function: np.ndarray | None  # (rows, columns) float32; None where no image could be read
    values: dict  # of functions.json
    form: tuple[tuple[int, int], str] | None = None  # size and type of the images that count


def find(channel: str, readings: Sequence[Reading], *, label: str) -> Illumination:
    """Find the illumination of a channel in the fields of a sample.

    Parameters
    ----------
    channel : str
    readings : list of Reading
    label : str
        The plate, for messages.

    Raises
    ------
    InputError
        The images have no usual size and type, or are too small.
    """
    seen = [reading for reading in readings if channel in reading.forms]
    forms = [_described(*reading.forms[channel]) for reading in seen]
    usual = frames.usual_form(forms)
    passed_over = [
        {"path": reading.source.path, "reason": reading.error or reading.missing[channel]}
        for reading in readings
        if reading.error or channel in reading.missing
    ]
    if not seen:
        return Illumination(None, {"file": None, "digest": None, "fields": 0, "passed_over": passed_over})
    if usual is None:
        raise InputError(
            f"{label}: channel {channel}: of the images of its sample, most have no common size and type (first "
            f"{', '.join(sorted(set(forms))[:3])}), as illumination: auto needs them; set illumination: none"
        )
    passed_over += [
        {"path": reading.source.path, "reason": f"found {form}, the sample's images are {usual}"}
        for reading, form in zip(seen, forms, strict=True)
        if form != usual
    ]
    used = [reading for reading, form in zip(seen, forms, strict=True) if form == usual]
    shape = used[0].forms[channel][0]
    if min(shape) < illumination.LEAST_SIDE_PX:
        raise InputError(
            f"{label}: channel {channel}: its images, {usual}, are too small for illumination: auto, which needs "
            f"{illumination.LEAST_SIDE_PX} px; set illumination: none"
        )
    cells = np.stack([reading.cells[channel] for reading in used])
    light = illumination.light_of(cells)
    function = illumination.function_of(light, shape)
    uncertainty = illumination.uncertainty_of(cells)
    values = {
        "largest": rounded(float(function.max())),
        "by": "nothing: dark images" if light is None else light.source,
        "uncertainty": None if uncertainty is None else rounded(uncertainty),
    }
    return Illumination(function, {"fields": len(used), **values, "passed_over": passed_over}, used[0].forms[channel])


def _described(shape, kind):
    return f"{shape[0]} x {shape[1]} px of {kind}"


def write_functions(illuminations: dict[str, Illumination], folder: Path) -> dict[str, dict]:
    """Write functions into a folder; return what functions.json holds of each channel."""
    channels = {}
    for name, (function, values, _) in illuminations.items():
        if function is not None:
            np.save(folder / f"{name}.npy", function, allow_pickle=False)
            values = {"file": f"{name}.npy", "digest": illumination.digest_of(folder / f"{name}.npy"), **values}
        channels[name] = values
    return channels


def calibration_of(readings: Sequence[Reading]) -> segmentation.Calibration | None:
    """Return the calibration of the images before the correction; None where they show no bright nuclei."""
    used = [sampling.Reading(reading.source, sample=reading.sample) for reading in readings if reading.sample]
    calibration = sampling.calibrate(used)
    return calibration if calibration and None not in (calibration.diameter, calibration.contrast) else None


def confronted(channel: str, by_fields: Illumination, fields: Sequence[Nuclei], *, ground_is_lit: bool) -> Illumination:
    """Return the illumination of a channel with what it does to nuclei; where these contradict it, they decide.

    Parameters
    ----------
    channel : str
    by_fields : Illumination
        From `find`.
    fields : list of Nuclei
    ground_is_lit : bool
        The ground tells the light. False: a background was subtracted, and nuclei may tell it better in any case.

    Returns
    -------
    Illumination
        With more values, and 1 everywhere where nuclei contradict it, or must tell the light and cannot:
        ``not_corrected`` says why. ``nuclei``: numbers in the corners and in the centre; ``corner_to_centre``: mean
        intensity in the corners as a share of that in the centre, before and after, and its standard deviation by
        ``chance``, as nuclei differ; ``spread``: difference between the brightest and the dimmest zone. None where a
        zone has no nucleus.
    """
    function, values, form = by_fields
    own = [field for field in fields if channel in field.means]
    if function is None or not own:
        return by_fields
    rows, columns = (np.concatenate([getattr(field, name) for field in own]) for name in ("rows", "columns"))
    means = np.concatenate([field.means[channel] for field in own])
    effect, light = _effect(function, rows, columns, means), None
    if not ground_is_lit or _contradicts(effect):
        light = illumination.light_of_nuclei(rows, columns, means, function.shape)
        by_nuclei = illumination.function_of(light, function.shape)
        other = _effect(by_nuclei, rows, columns, means)
        if light and _unevenness(other) < _unevenness(effect):
            function, effect = by_nuclei, other
            values = values | {"largest": rounded(float(function.max())), "by": light.source, "uncertainty": None}
    if reason := _reason_against(effect, ground_is_lit, why=_why_not_by(light, len(means), effect)):
        function, corrected = np.ones_like(function), effect
        effect = _effect(function, rows, columns, means)
        if corrected["corner_to_centre"]:  # the light, which is left, is no chance
            effect["corner_to_centre"]["chance"] = corrected["corner_to_centre"]["chance"]
        by = EVEN if reason == EVEN else "it is not corrected"
        values = values | {"largest": 1.0, "by": f"nothing: {by}", "uncertainty": None}
        values = values | ({"not_corrected": reason} if reason != EVEN else {})
    return Illumination(function, values | effect, form)


def _reason_against(effect, ground_is_lit, *, why):
    """Return why a channel is better left as it is, or None; `why` nuclei do not tell the light."""
    shares, spread = effect["corner_to_centre"], effect["spread"]
    if _contradicts(effect):
        compared, pair = "nuclei in the corners would have {after:g} times the intensity of those in the centre", shares
        if abs(shares["after"] - 1) <= _allowed(shares):
            compared, pair = "nuclei of corners and centre would differ by {after:g} of their intensity", spread
        return f"{compared} after a correction, {{before:g}} before, and {why}".format(**pair)
    if ground_is_lit:
        return None
    if not shares or shares["chance"] > MOST_CHANCE:
        return f"without the background, nuclei must tell the light, and {why}, or background: none"
    return EVEN if abs(shares["before"] - 1) <= _allowed(shares) else None


def _why_not_by(light, count, effect):
    """Return why the light of so many nuclei does not leave them even, and what helps."""
    shares = effect["corner_to_centre"]
    if light is None and count < illumination.LEAST_NUCLEI:
        return f"they are too few to tell the light ({count}; {illumination.LEAST_NUCLEI} are needed): more fields help"
    if light is None or not shares:
        return "a part of the image has none, so that they cannot tell the light: more fields help"
    if shares["chance"] > MOST_CHANCE:
        return "they differ too much to tell the light: more fields help"
    return (
        "no smooth light leaves them even: are nuclei others in the corners, or is it another light in some fields? "
        "Correct the images first, and set illumination: none"
    )


def _allowed(shares):
    """Return how far nuclei in the corners may be from those in the centre, as a share."""
    return LEFT_OVER + SURE_DEVIATIONS * shares["chance"]


def _contradicts(effect):
    """Return True if nuclei are less even after a correction than chance would have it, or than before."""
    shares, spread = effect.get("corner_to_centre"), effect.get("spread")
    if not shares:
        return False
    allowed = _allowed(shares)
    is_worse = spread["after"] is not None and spread["after"] > spread["before"] + allowed
    return is_worse or abs(shares["after"] - 1) > allowed


def _unevenness(effect):
    if not effect["corner_to_centre"]:
        return math.inf
    spread = effect["spread"]["after"]
    return abs(effect["corner_to_centre"]["after"] - 1) if spread is None else spread


def _effect(function, rows, columns, means):
    zones = _zones(rows, columns, function.shape)
    pair = {"before": means, "after": means / function[np.rint(rows).astype(int), np.rint(columns).astype(int)]}
    numbers = np.bincount(zones[zones >= 0], minlength=len(ZONES))
    corners, centre = int(numbers[:4].sum()), int(numbers[4])
    nuclei = {"nuclei": {"corners": corners, "centre": centre}}
    totals = {moment: np.bincount(zones[zones >= 0], values[zones >= 0], len(ZONES)) for moment, values in pair.items()}
    if not corners or not centre or not min(min(total[4], total.sum()) for total in totals.values()) > 0:
        return nuclei | {"corner_to_centre": None, "spread": None}
    shares, spreads = {}, {}
    for moment, total in totals.items():
        middle = total[4] / centre
        shares[moment] = rounded(total[:4].sum() / corners / middle)
        spreads[moment] = rounded(np.ptp(total / numbers / middle)) if numbers.all() else None
    after = pair["after"]
    shares["chance"] = rounded(float(after.std() / after.mean()) * math.sqrt(1 / corners + 1 / centre))
    return nuclei | {"corner_to_centre": shares, "spread": spreads}


def warnings_of(channels: dict[str, dict]) -> list[str]:
    """Return what is doubtful about functions, a line each.

    Parameters
    ----------
    channels : dict of str to dict
        Of functions.json.
    """
    warnings = []
    for name, values in channels.items():
        if values["file"] is None:
            warnings.append(f"channel {name}: no image of its sample could be read: it has no illumination function")
            continue
        if reason := values.get("not_corrected"):
            warnings.append(f"channel {name}: its light is not corrected: {reason}")
        elif (shares := values.get("corner_to_centre")) and shares["chance"] > MOST_CHANCE:
            warnings.append(
                f"channel {name}: its light is corrected by the ground alone: nuclei are too few, or differ too much, "
                f"to confirm it (corners to centre {shares['before']:g} before, {shares['after']:g} after)"
            )
        if values["uncertainty"] is not None and values["uncertainty"] > MOST_UNCERTAIN:
            warnings.append(
                f"channel {name}: its illumination function may be off by {100 * values['uncertainty']:.0f} %: its "
                f"{counted(values['fields'], 'field')} are few, or differ too much"
            )
    return warnings


def draw(record: dict, folder: Path, *, title: str) -> plt.Figure:
    """Draw the illumination functions of a plate, with what they do to nuclei.

    Parameters
    ----------
    record : dict
        Of functions.json.
    folder : pathlib.Path
        With the functions.
    title : str
        Of the picture.
    """
    channels = record["channels"]
    columns = min(MOST_COLUMNS, len(channels))
    rows = math.ceil(len(channels) / columns)
    size = max(6, 4.2 * columns), 4 * rows + 0.5
    figure, grid = plt.subplots(rows, columns, figsize=size, squeeze=False, layout="constrained")
    figure.suptitle(title, fontsize=14)
    for axes in grid.flat:
        axes.axis("off")
    for axes, (name, values) in zip(grid.flat, channels.items(), strict=False):
        axes.set_title(f"{name}\n{describe(values)}", fontsize=10)
        if values["file"]:
            function = np.load(folder / values["file"], allow_pickle=False)
            step = 1 + max(function.shape) // 512
            drawn = axes.imshow(function[::step, ::step], cmap="cividis", vmin=1)
            figure.colorbar(drawn, ax=axes, shrink=0.7, label="images are divided by")
    return figure


def describe(values: dict) -> str:
    """Describe a channel's function in words, on two lines.

    Parameters
    ----------
    values : dict
        Of functions.json.
    """
    if values["file"] is None:
        return "no image could be read:\nno function"
    text = f"1 to {values['largest']:g}, by {counted(values['fields'], 'field')}\n"
    shares = values.get("corner_to_centre")
    if not shares:
        return text + "no nuclei to compare"
    return text + f"nuclei, corners to centre: {shares['before']:g} before, {shares['after']:g} after"
