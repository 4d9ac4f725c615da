"""Find the nuclei of a field with other settings, as a run with them would: the computation, in a process of its own.

It is done by the functions that the detection job calls. Where diameter or contrast are others than the run's, the
plate is calibrated again by the images of its sample, as a run would.
"""

import functools
import hashlib
import logging
import multiprocessing
import os
import re
import signal
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from fieldwork import InputError, frames, label_images, outputs, segmentation
from fieldwork.detection import calibration as detection_calibration
from fieldwork.detection import illumination, planes
from fieldwork.inputs import methods, outlining
from fieldwork.plates import calibration as plate_calibration
from fieldwork.plates import fields as plate_fields
from fieldwork.plates import images as plate_images
from fieldwork.plates import tables
from fieldwork.segmentation import network, sampling
from fieldwork.viewer import fields
from fieldwork.viewer.results import NotFound, Results, inside, inside_or_none, version_of

log = logging.getLogger(__name__)

TIME_LIMIT_S = 60
ALARM_DELAY_S = 1  # after the limit: the server ends the process before, and says so
# Method -> its settings.
KEYS = {**dict.fromkeys(outlining.METHODS, ("diameter", "contrast")), "peaks": ("sigma", "min_distance", "threshold")}
_VALUE = re.compile(r"auto|-?[0-9]{1,12}(\.[0-9]{1,12})?(e-?[0-9]{1,2})?")


class Busy(RuntimeError):
    """Another computation is going on."""


class TookTooLong(RuntimeError):
    """A computation was ended at the time limit, or its process died."""


class Tuned(NamedTuple):
    """A field with its nuclei, and what they were found with."""

    field: plate_fields.Field
    calibration: segmentation.Calibration | None  # None: of peaks


class Tuner:
    """Does one computation at a time, in a process that is killed at the time limit, and started again when needed."""

    def __init__(self, time_limit_s: float = TIME_LIMIT_S):
        self._time_limit_s = time_limit_s
        self._turn = threading.Lock()
        self._process = self._connection = None

    def tune(self, results: Results, plate: str, number: str, wanted: Mapping[str, str]) -> dict:
        """Find the nuclei of a field with other settings.

        Parameters
        ----------
        results : Results
        plate, number : str
            As for `fields.plane`.
        wanted : mapping of str to str
            ``method``, and every setting of `KEYS` that it has.

        Returns
        -------
        dict
            As from `answer_of`.

        Raises
        ------
        NotFound
            There is no such field, or a setting is none; the message is for the page.
        Busy
            Another computation is going on.
        TookTooLong
            It took longer than the limit, or its process died.
        """
        if not self._turn.acquire(blocking=False):
            raise Busy("another field is being tuned; one at a time")
        try:
            results = Results(results.folder.resolve(), results.directory.resolve())
            return self._ask((results, plate, number, dict(wanted)))
        finally:
            self._turn.release()

    def start(self) -> None:
        """Start the process, unless it is there or at work."""
        if self._turn.acquire(blocking=False):
            try:
                self._start()
            finally:
                self._turn.release()

    def _start(self):
        if self._process is not None and self._process.is_alive():
            return
        context = multiprocessing.get_context("spawn")  # this process has threads, so that it must not fork
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, self._time_limit_s + ALARM_DELAY_S), daemon=True)
        self._process.start()
        theirs.close()  # so that its end is noticed

    def _ask(self, request):
        self._start()
        try:
            self._connection.send(request)
            if not self._connection.poll(self._time_limit_s):
                self.close()
                raise TookTooLong(f"ended after {self._time_limit_s:g} s, the time limit for a field")
            outcome, answer = self._connection.recv()
        except (EOFError, OSError):
            self.close()
            raise TookTooLong("the computation crashed; the terminal may say why") from None
        if outcome == "refused":
            raise NotFound(answer)
        return answer

    def close(self) -> None:
        """End the process, whatever it does."""
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._connection.close()
            self._process = self._connection = None


def _serve(connection, alarm_s):
    """Answer requests until the server's end of the connection is closed; end where one takes longer than `alarm_s`."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the server, and that this process
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    while True:
        try:
            request = connection.recv()
        except EOFError:
            return
        try:
            signal.setitimer(signal.ITIMER_REAL, alarm_s)  # a server that was killed ends no process
            os.chdir(request[0].directory)
            connection.send(("tuned", answer_of(tuned(*request))))
        except (NotFound, InputError) as error:
            connection.send(("refused", str(error)))
        except Exception as error:  # whatever a broken file or a lack of memory raises: the page says so
            log.exception("%s", request[1:])
            connection.send(("refused", f"this field cannot be tuned: {type(error).__name__}: {error}"))
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)


def detection_of(wanted: Mapping[str, str]) -> dict:
    """Return how nuclei are found with settings from the browser, as `methods.detection_of` does for a sheet's row.

    Raises
    ------
    NotFound
        A setting is missing, unknown or none.
    """
    method = wanted.get("method")
    if method not in KEYS:  # a function of the user's would be code, named by the browser
        raise NotFound(f"found method {method!r}; expected one of {', '.join(KEYS)}")
    expected = {"method", *KEYS[method]}
    if wanted.keys() != expected or not all(_VALUE.fullmatch(wanted[key]) for key in KEYS[method]):
        raise NotFound(f"expected numbers, or auto, for {', '.join(KEYS[method])}")
    try:
        place = methods.place_of({None: "tuning", **wanted})
        return methods.detection_of({"model": outlining.BUILT_IN, **place}, place, where="tuning")
    except InputError as error:
        raise NotFound(str(error)) from None


def tuned(results: Results, plate: str, number: str, wanted: Mapping[str, str]) -> Tuned:
    """Find the nuclei of a field, as a run would with these settings; arguments as for `Tuner.tune`.

    The images of a calibration's sample have paths that are relative to the working directory, which must be the run's.
    """
    detection = detection_of(wanted)
    row, image = fields.row_of(results, plate, number), fields.plane(results, plate, number)
    settings = fields.settings(results, plate)
    if not settings:
        raise NotFound(f"plate {plate} has no settings.json, as its tables are of an older version; run again")
    correction = _correction(results, plate, settings)
    if outlining.takes_model(detection):
        detection["model"] = _model(results, plate, settings)
    calibration = None
    if detection["method"] != "peaks":
        calibration = _calibration(results, plate, settings, detection, correction)
    position = (row["Metadata_Well"], int(row["Metadata_Site"]), *_moment_of(row))
    path = f"{row['PathName_DNA']}/{row['FileName_DNA']}"
    source = plate_images.FieldImage(*position, path)
    (field,) = plate_fields.measure_field(
        source,
        [plate_images.FieldPlane(*_moment_of(row), image, "", (), source)],
        detection=detection,
        with_quality=False,
        calibration=calibration,
        drop_border=settings["nuclei"].get("border") == "drop",
        with_labels=True,
        plate=plate,
        channel=settings["nuclei"]["channel"],
        correction=correction,
    )
    return Tuned(_checked(field, detection), calibration)


def _moment_of(row):
    return [int(row[name]) if row.get(name) else None for name in ("Metadata_Timepoint", "Metadata_ZPlane")]


def _checked(field, detection):
    """Return the field, or fail it as the table of fields does: its ground may be above the threshold of peaks."""
    if field.error:
        return field
    ground = field.levels.ground
    (row,) = tables.fail_above_threshold([{"Image_Status": "ok", "Image_Ground": ground}], detection)
    return field if row["Image_Status"] == "ok" else field._replace(error=row["Image_Error"], labels=None)


def _correction(results, plate, settings):
    """Return how the run corrected the plate's images."""
    record = None
    if settings["illumination"] == "auto":
        record = inside(results, "plates", plate, "illumination", "functions.json")
    background = None if settings["background"] == "none" else settings["background"]
    return illumination.correction_of(fields.nuclei_channel(results, plate), background, record)


def _model(results, plate, settings):
    """Return the path of the network's model that the run took; None for the built-in one."""
    path = outputs.read_json(_record_of(results, plate))["settings"]["detection"].get("model")
    digest = settings["nuclei"].get("model_digest")
    try:
        now = hashlib.sha256(Path(path or network.BUILT_IN).read_bytes()).hexdigest()[: len(digest or "")]
    except OSError as error:
        raise NotFound(f"plate {plate}: the network's model, {path}, cannot be read: {error.strerror}") from None
    if digest and now != digest:
        raise NotFound(f"plate {plate}: the network's model is another one than when the run took it; run again")
    return path


def _record_of(results, plate):
    path = inside_or_none(results, "plates", plate, "calibration.json")
    if path is None:
        raise NotFound(f"plate {plate} has no calibration: run Snakemake with the target preview, and it gets one")
    return path


def _calibration(results, plate, settings, detection, correction):
    """Return the calibration that a run with these settings would have: the plate's own, or a new one by its sample."""
    path = _record_of(results, plate)
    record = outputs.read_json(path)
    if detection_calibration.overrides(record["settings"]["detection"]) == detection_calibration.overrides(detection):
        return detection_calibration.of_record(record)
    token, z = fields.token_of(results, plate), settings["nuclei"].get("z", "all")
    used = _sample(path, version_of(path), token, z, correction)
    own = sampling.calibrate(used, **detection_calibration.overrides(record["settings"]["detection"]))
    if not record["settings"].get("calibrate_with") and own != detection_calibration.of_record(record):
        raise NotFound(f"plate {plate}: images of its calibration's sample have changed since the run; run again")
    return sampling.calibrate(used, **detection_calibration.overrides(detection))


_samples = {}  # of the last plate: its calibration.json and all that counts -> readings


def _sample(path, *counting):
    """Measure the images by which a plate was calibrated; in a process, those of the last plate are kept."""
    key = (path, *map(repr, counting))
    if key not in _samples:
        _samples.clear()
        _samples[key] = _measured_sample(path, *counting[1:])
    return _samples[key]


def _measured_sample(path, channel, z, correction):
    images = plate_calibration.images_of(outputs.read_json(path), {})
    choose = functools.partial(planes.choose, z=z)
    readings = []
    for image in images:
        try:
            read = plate_calibration.read_middle_plane(image, channel=channel, choose=choose)
        except frames.FrameError as error:
            raise NotFound(f"{image}, of the calibration's sample, cannot be read any more: {error}") from None
        readings.append(plate_calibration.measure_image(image, read, correction=correction))
    return readings


def answer_of(result: Tuned) -> dict[str, Any]:
    """Return what the page shows of a tuned field.

    Parameters
    ----------
    result : Tuned

    Returns
    -------
    dict
        'error', the reason why the field would fail, or None; 'count'; the columns of centres under the tables' names;
        'threshold'; 'diameter' and 'contrast' of a typical nucleus; and of outlines 'outlines', as of `fields.nuclei`.
    """
    field, calibration = result
    coordinates = [] if field.error else field.coordinates.tolist()
    answer = {
        "error": field.error,
        "count": len(coordinates),
        fields.X: [column for _, column in coordinates],
        fields.Y: [row for row, _ in coordinates],
        "threshold": field.threshold,
        "diameter": calibration.diameter if calibration else None,
        "contrast": calibration.contrast if calibration else None,
    }
    if field.labels:
        answer["outlines"] = fields.polygons(label_images.decode(field.labels, field.shape))
    return answer
