"""What a run says of its plates and stacks in the end: doubts about their nuclei, and what a preview saw."""

import math
import os
import statistics
from pathlib import Path

from fieldwork import InputError, outputs
from fieldwork.inputs import methods

FITTING_SHARE = 0.4  # of a typical nucleus's smoothed height above the ground: a threshold there parts both
FLAGS = {
    **{"out_of_focus": "out of focus", "saturated": "saturated", "unlike_plate": "unlike their plate"},
    **{"background": "with a bright background", "debris": "with debris"},
}
FRAME_FLAGS = {
    "Flag_OutOfFocus": "out of focus",
    "Flag_Saturated": "saturated",
    "Flag_UnlikePlate": "unlike their stack",
}
REMEDIES = {  # by method: what is drawn in the picture, and what to set where it is wrong
    "auto": ("outlines", "diameter (px) or contrast (intensity above the background)"),
    "peaks": ("marks", "threshold, sigma or min_distance"),
    "own": ("outlines", "arguments of your function"),
}


class PlateReport:
    """What is known of a plate when a run ends.

    Parameters
    ----------
    results : path-like
    plate : str
    detection : dict or None
        How nuclei are found now, from `methods.detection_of`: files of another method say nothing about it. None: none
        are looked for.
    """

    kind, noun = "plate", "field"

    def __init__(self, results: str | os.PathLike, plate: str, detection: dict | None) -> None:
        self._folder = Path(results, f"{self.kind}s", plate)
        self.plate = plate
        self._detection = detection
        self._method = methods.kind_of(detection["method"]) if detection else None
        self._damaged = []  # lines on files that cannot be read
        self._summary = self._read("summary.json")
        calibration = self._read("calibration.json")
        is_current = calibration and detection and calibration["settings"]["detection"]["method"] == detection["method"]
        self._calibration = calibration if is_current else {}

    @property
    def flagged(self) -> dict[str, int]:
        """Number of fields by flag."""
        return self._summary.get("flagged", {})

    def warnings(self, *, preview: bool = False) -> list[str]:
        """Return the doubts about the plate, and what was decided for it, one line each.

        Those of tables that are older than the calibration are left out of a preview, which may have other settings.
        """
        light = self._read("illumination/functions.json").get("warnings", [])
        doubts = [
            *self._damaged,
            *self._calibration.get("warnings", []),
            *light,
            *self._doubts_about_peaks(),
            *([] if preview and self._is_calibrated_anew else self._summary.get("notes", [])),
        ]
        return [f"{self.kind} {self.plate}: {doubt}" for doubt in dict.fromkeys(doubts)]

    def preview(self) -> str:
        """Return in one line how many nuclei an image has, and what to set if wrong; empty without a calibration."""
        if not self._calibration:
            return ""
        images = self._calibration[f"{self.noun}s"]
        counts = [image["nuclei"] for image in images if image["nuclei"] is not None]
        median = f"median {statistics.median(counts):g} nuclei a {self.noun}" if counts else f"no good {self.noun}"
        span = f" ({min(counts)} to {max(counts)} in {len(counts)} {self.noun}s of its sample)" if counts else ""
        if errors := [image["error"] for image in images if "error" in image]:
            span += f"; {len(errors)} of its {self.noun}s failed, first: {errors[0]}"
        if passed_over := self._calibration.get("passed_over"):
            span += f"; {len(passed_over)} cannot be used, first: {passed_over[0]['reason']}"
        size = ""
        if self._is_calibrated:
            size = ", typically {diameter:g} px wide and {contrast:g} above the background".format(**self._calibration)
        drawn, remedy = REMEDIES[self._method]
        picture = self._folder / "calibration.png"
        return f"{self.kind} {self.plate}: {median}{span}{size}. If the {drawn} in {picture} are wrong, set {remedy}."

    def _read(self, name):
        """Return what a JSON file of the plate holds; nothing where there is none, or a damaged one."""
        try:
            return outputs.read_json(self._folder / name)
        except FileNotFoundError:
            return {}
        except InputError as error:
            self._damaged.append(str(error))
            return {}

    @property
    def _is_calibrated_anew(self):
        """True where the calibration is newer than the tables."""
        made = [self._folder / name for name in ("summary.json", "calibration.json")]
        return all(map(Path.exists, made)) and made[0].stat().st_mtime_ns < made[1].stat().st_mtime_ns

    @property
    def _is_calibrated(self):
        return None not in (self._calibration.get("diameter"), self._calibration.get("contrast"))

    def _are_current(self, levels):
        """Return True for levels of peaks that were found as they would be now."""
        return bool(levels) and all(
            levels[name] == self._detection[key] for name, key in (("threshold", "threshold_abs"), ("sigma", "sigma"))
        )

    def _doubts_about_peaks(self):
        """Yield where the threshold of peaks does not lie between the ground and the nuclei of the plate."""
        if self._method != "peaks":
            return
        levels = next(filter(self._are_current, [self._summary.get("levels"), self._calibration.get("levels")]), None)
        if not levels:
            return
        ground, threshold, nuclei, fields = (levels[name] for name in ("ground", "threshold", "nuclei", "fields"))
        if self._is_calibrated:
            # The centre of a disc of that diameter keeps this share of its height when it is smoothed.
            share = 1 - math.exp(-((self._calibration["diameter"] / levels["sigma"]) ** 2) / 8)
            height = share * self._calibration["contrast"]
            fitting = float(f"{ground + FITTING_SHARE * height:.3g}")
            advice = (
                f"its typical nucleus is {self._calibration['contrast']:g} above the background (calibration.json); "
                f"a threshold of {fitting:.12g} would fit"
            )
        elif self._calibration:
            height, advice = math.inf, "no nucleus stands out in its sample (calibration.png)"
        else:
            height, advice = math.inf, "`snakemake --cores N preview` measures the threshold that would fit"
        if ground > threshold:
            yield (
                f"its background ({ground:.4g}) lies above the threshold of peaks ({threshold:g}), so that noise is "
                f"counted: {nuclei:,} peaks in {fields} fields; {advice}"
            )
        elif levels["brightest"] <= threshold and not nuclei:
            yield (
                f"its brightest peaks ({levels['brightest']:.4g}) lie below the threshold of peaks ({threshold:g}): no "
                f"nucleus in any of {fields} fields; {advice}"
            )
        elif ground + height < threshold:
            yield (
                f"its typical nuclei ({ground + height:.4g}) lie below the threshold of peaks ({threshold:g}): "
                f"{nuclei:,} nuclei in {fields} fields; {advice}"
            )


class StackReport(PlateReport):
    """The same of a stack."""

    kind, noun = "stack", "frame"
