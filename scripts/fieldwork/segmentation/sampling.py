"""A sample of images, and the calibration of the plate or the stack that they are from."""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from fieldwork import segmentation
from fieldwork.inputs import outlining

ENOUGH_WITH_NUCLEI = 24  # images; more change a calibration by less than its rounding
FACTOR_DIAMETER = 2  # beyond it, an image's own estimate does not fit
FACTOR_CONTRAST = 4
SHARE_MISFITS = 0.25  # of the images that show something; from there on a warning


class Reading(NamedTuple):
    """What one image of a sample told, or why there is nothing to tell (`error`)."""

    source: Any  # the frame that was read
    error: str | None = None
    form: str | None = None  # its size and type
    sample: segmentation.Sample | None = None


class Sampled(NamedTuple):
    """The images of a sample: those that count, in the order of reading, and the others with the reason why not."""

    used: list[Reading]
    passed_over: list[tuple[Reading, str]]


def failed_reading(source: Any, reason: str) -> Reading:
    """Return what stands for an image that could not be read."""
    return Reading(source, error=reason)


def take(readings: Iterable[Reading], *, usual_form: Callable[[Iterable[str]], str | None]) -> Sampled:
    """Take images in their order until enough of them have nuclei.

    Which ones are taken depends on the order alone, and not on how many are read at the same time.

    Parameters
    ----------
    readings : iterable of Reading
        Of a generator, no more is read than is needed. If images have different forms, all are read, so that the
        majority is that of many.
    usual_form : callable
        Takes the forms of all images that could be read; returns the one that counts, None for all.

    Returns
    -------
    Sampled
    """
    taken, forms, with_nuclei = [], set(), 0
    for reading in readings:
        taken.append(reading)
        if not reading.error:
            forms.add(reading.form)
            with_nuclei += reading.sample.has_nuclei
        if with_nuclei >= ENOUGH_WITH_NUCLEI and len(forms) == 1:
            break
    usual = usual_form(reading.form for reading in taken if not reading.error)
    used, passed_over, with_nuclei = [], [], 0
    for reading in taken:
        if reading.error:
            passed_over.append((reading, reading.error))
        elif usual is not None and reading.form != usual:
            passed_over.append((reading, f"found {reading.form}, the sample's images are {usual}"))
        elif with_nuclei < ENOUGH_WITH_NUCLEI:
            used.append(reading)
            with_nuclei += reading.sample.has_nuclei
    return Sampled(used, passed_over)


def calibrate(
    used: Sequence[Reading], *, diameter: float | None = None, contrast: float | None = None
) -> segmentation.Calibration | None:
    """Calibrate by the images of a sample.

    Parameters
    ----------
    used : list of Reading
    diameter, contrast : float, optional
        Values that the user set.

    Returns
    -------
    segmentation.Calibration or None
        None without any image. Without diameter and contrast where most images show dark nuclei on a bright ground.
    """
    if not used:
        return None
    if are_dark(used):
        return segmentation.calibration_of([reading.sample for reading in used])._replace(diameter=None, contrast=None)
    bright = [reading.sample for reading in used if not reading.sample.is_dark]
    return segmentation.calibration_of(bright, diameter=diameter, contrast=contrast)


def are_dark(used: Sequence[Reading]) -> bool:
    """Return True if, of the images that show nuclei, most show dark ones on a bright ground."""
    dark = sum(reading.sample.is_dark for reading in used)
    bright = sum(reading.sample.has_nuclei and not reading.sample.is_dark for reading in used)
    return dark > bright


def misfit(sample: segmentation.Sample, calibration: segmentation.Calibration | None) -> float:
    """Measure how far an image's own estimate is from a calibration: above 1, it does not fit; 0 where it has none."""
    if not sample.has_nuclei or calibration is None:
        return 0.0
    factors = {"diameter": FACTOR_DIAMETER, "contrast": FACTOR_CONTRAST}
    pairs = [(getattr(sample, name), getattr(calibration, name), factor) for name, factor in factors.items()]
    return max((abs(math.log(own / usual, factor)) for own, usual, factor in pairs if own and usual), default=0.0)


def warning_of(
    sampled: Sampled,
    calibration: segmentation.Calibration | None,
    *,
    noun: str,
    method: str,
    channel: str = "",
    other: str | None = None,
) -> str | None:
    """Describe what is doubtful about a calibration, in one line.

    Parameters
    ----------
    sampled : Sampled
    calibration : segmentation.Calibration or None
        That is used, be it from this sample or another one.
    noun : str
        What an image is: ``fields``, ``frames``.
    method : str
        By which nuclei are found. Peaks need no calibration, but bright nuclei; of what a function of the user's finds,
        nothing is known.
    channel : str
        In which nuclei are looked for.
    other : str, optional
        The plate whose calibration is used.

    Returns
    -------
    str or None
        None where all is well.
    """
    used = sampled.used
    if not used:
        first = "".join(f"; first {reading.source}: {reason}" for reading, reason in sampled.passed_over[:1])
        return f"none of the {len(sampled.passed_over)} {noun} of its sample can be read{first}"
    if method not in (*outlining.METHODS, "peaks"):
        return None
    dark = [reading for reading in used if reading.sample.is_dark]
    if are_dark(used):
        return (
            f"{len(dark)} of the {len(used)} {noun} of its sample show dark nuclei on a bright ground, first "
            f"{dark[0].source}; expected bright nuclei on a dark ground, and method {method} counts no others"
            + f": is {channel} the channel of a DNA stain?"
            * bool(channel)
        )
    if method == "peaks":
        return None
    if other and (calibration is None or None in (calibration.diameter, calibration.contrast)):
        return (
            f"plate {other}, whose calibration it takes, shows no nuclei in its sample, so that none are found here; "
            "name another plate in calibrate_with, or none"
        )
    bright = [reading for reading in used if reading.sample.has_nuclei]
    if not bright:
        return (
            f"no nucleus stands out from the noise ({calibration.noise:g}) in any of the {len(used)} {noun} of its "
            "sample; if they show some, set nuclei.diameter and nuclei.contrast"
        )
    if None in (calibration.diameter, calibration.contrast):
        forms = Counter(reading.form for reading in used)
        if len(forms) > 1 and max(forms.values()) <= len(used) / 2:
            listed = "; ".join(f"{count} of {form}" for form, count in sorted(forms.items()))
            return (
                f"the {noun} of its sample are of several sizes or types, and none is that of most ({listed}), so "
                "that they have no typical nucleus in common; give those of each size and type a line of the sheet"
            )
        return (
            f"the {noun} of its sample have no typical nucleus, so that none are found, although {len(bright)} of "
            f"{len(used)} seem to show some, first {bright[0].source}; set nuclei.diameter and nuclei.contrast"
        )
    odd = [reading for reading in used if reading.sample.is_dark or misfit(reading.sample, calibration) > 1]
    shown = sum(reading.sample.is_dark or reading.sample.has_nuclei for reading in used)
    if not odd or len(odd) < SHARE_MISFITS * shown:
        return None
    first = odd[0].sample
    seen = "dark nuclei on a bright ground" if first.is_dark else f"{first.diameter:g} px and {first.contrast:g}"
    return (
        f"{len(odd)} of the {len(used)} {noun} of its sample do not fit its calibration (nuclei of "
        f"{calibration.diameter:g} px, {calibration.contrast:g} above the background); first {odd[0].source}: {seen}"
    )
