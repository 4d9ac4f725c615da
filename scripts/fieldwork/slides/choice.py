"""Choose a reader that can be trusted with a slide: all readers are tried, in processes of their own."""

import json
import os
import signal
import subprocess
import sys
from os import PathLike
from pathlib import Path

import numpy as np

from fieldwork import NOT_READ, processes
from fieldwork.slides import SlideError, SlideNotReadError, metadata
from fieldwork.slides.inside.slide import error_of
from fieldwork.slides.readers import READERS, check_file, open_slide
from fieldwork.surroundings import temporary, unread

# tifffile (2048 x 2048 pixels of JPEG tiles in 19 ms) is as fast as cuCIM (24; OpenSlide 120) and reports what it
# cannot decode. cuCIM returns other tiles' pixels, YCbCr for RGB where Bio-Formats wrote it, or ends the process.
READERS_BY_PREFERENCE = ("tifffile", "cucim", "openslide")

PROBE_S = 60

LARGER_FACTOR = 1.25  # of pixels; where tiles overlap, tags state up to some percent more than there is to see

LARGEST_DIFFERENCE = 2  # grey levels; JPEG 2000 decoders differ by 1

# How files begin that are no slides, by the end of their name; what they are and what to do.
SAVED_AS_TIFF = "save it as TIFF"
NO_SLIDES = {
    ".png": (b"\x89PNG", "a PNG picture", SAVED_AS_TIFF),
    ".jpg": (b"\xff\xd8\xff", "a JPEG picture", SAVED_AS_TIFF),
    ".jpeg": (b"\xff\xd8\xff", "a JPEG picture", SAVED_AS_TIFF),
    ".bmp": (b"BM", "a BMP picture", SAVED_AS_TIFF),
    ".zip": (b"PK", "a ZIP archive", "unpack it"),
}


def choose_reader(
    path: str | PathLike, requested: str = "auto", picture: int | None = None, copies: str | None = None
) -> tuple[str, str]:
    """Choose the reader for a file, by trying all of them in processes of their own.

    OpenSlide is the reference where it knows the vendor, otherwise tifffile, which follows the TIFF tags. The other
    readers are trusted if they agree: the same levels and pixel size, and sampled pixels within 2 grey levels. A
    reader that sees a larger slide than the reference may be right: only a requested reader settles that.

    Parameters
    ----------
    path : str or path-like
        The slide.
    requested : {'auto', 'cucim', 'tifffile', 'openslide'}
        ``auto`` takes the first trusted of tifffile, cuCIM, OpenSlide.
    picture, copies : optional
        As for `readers.open_slide`.

    Returns
    -------
    (str, str)
        The reader, and the reason for it in a sentence.

    Raises
    ------
    SlideNotReadError
        A reader could not be tried, for a reason outside the file: the others are not asked in its place.
    SlideError
        No reader can be trusted, or the requested one cannot; or they see slides of other sizes, none of them by a
        rule. The message has the reasons.
    """
    check_file(path)
    _check_kind(path)
    probes = _probed(path, picture, copies)
    vendor = probes["openslide"]["vendor"]
    reference = _reference_of(probes)
    if picture is None and (larger := _larger_slides(probes, reference)):
        if requested not in (reference, *larger):
            raise SlideError(
                f"{reference} sees a slide of {_size(probes[reference])}, {' and '.join(larger)} one of "
                f"{_size(probes[larger[0]])}; column reader of the sheet of slides decides between them"
            )
        reference = requested
    for probe in probes.values():
        probe["reason"] = probe["reason"] or _disagreement(probe, probes[reference], reference)
    trusted = [name for name in READERS_BY_PREFERENCE if not probes[name]["reason"]]
    if requested not in ("auto", *trusted):
        raise SlideError(f"reader {requested!r}: {probes[requested]['reason']}; {' or '.join(trusted)} can read it")
    chosen = trusted[0] if requested == "auto" else requested
    others = [name for name in trusted if name != chosen]
    why = "it knows the format" if reference == "openslide" and vendor != "generic-tiff" else "it fits the file's tags"
    if others:
        why = f"{' and '.join(others)} agree{'s' * (len(others) == 1)} on levels, pixel size and sampled pixels"
    start = chosen + ", as requested" * (requested != "auto")
    left_out = _reasons(probes)
    return chosen, f"{start}: {why}" + (f"; not trusted: {left_out}" if left_out else "")


def _check_kind(path):
    """Raise `SlideError` for a picture or an archive that no reader opens, rather than their words for it."""
    start, kind, advice = NO_SLIDES.get(Path(path).suffix.lower(), (b"", "", ""))
    if not start:
        return
    with open(path, "rb") as file:
        if file.read(len(start)) == start:
            raise SlideError(f"no reader can read it: it is {kind}; expected a slide or a TIFF file: {advice}")


def _reference_of(probes):
    """Return the name of the reader that the others must agree with."""
    openslide, tags = probes["openslide"], probes["tifffile"]
    if openslide["vendor"] and openslide["vendor"] != "generic-tiff" and not openslide["reason"]:
        return "openslide"
    if not tags["reason"]:
        return "tifffile"
    if not openslide["reason"]:
        if openslide["shapes"] == tags["shapes"]:
            return "openslide"
        openslide["reason"] = "nothing confirms what it reads"
    raise SlideError("no reader can read it: " + _reasons(probes))


def _larger_slides(probes, reference):
    """Return the readers that see a slide with clearly more pixels, and not one that the reference knows and left."""
    pixels = {
        name: probe["shapes"][0][0] * probe["shapes"][0][1]
        for name, probe in probes.items()
        if not probe["reason"] and (name == reference or probe["shapes"][0] not in probes[reference]["sizes"])
    }
    return [name for name in pixels if pixels[name] > LARGER_FACTOR * pixels[reference]]


def _size(probe):
    height, width = probe["shapes"][0]
    return f"{width} x {height} px"


def _reasons(probes):
    readers = {}
    for name, probe in probes.items():
        if probe["reason"]:
            readers.setdefault(probe["reason"], []).append(name)
    return "; ".join(f"{', '.join(names)}: {reason}" for reason, names in readers.items())


def _disagreement(probe, reference, name):
    """Describe the first difference of a probe from that of the reference reader `name`; empty if they agree."""
    if probe["shapes"] != reference["shapes"]:
        levels, expected = (
            " ".join(f"{width}x{height}" for height, width in shapes)
            for shapes in (probe["shapes"], reference["shapes"])
        )
        return f"levels of {levels} pixels, where {name} sees {expected}"
    if probe["channels"] != reference["channels"]:
        listed = (", ".join(readings["channels"]) for readings in (probe, reference))
        return "channels {}, where {name} sees {}".format(*listed, name=name)
    mpp, expected = probe["mpp"], reference["mpp"]
    if (mpp is None) != (expected is None) or not np.allclose(mpp or 0, expected or 0, rtol=0.01):
        return f"micrometres per pixel (y, x) {mpp}, where {name} has {expected}"
    if missing := set(reference["pixels"]) - set(probe["pixels"]):
        return f"cannot read {len(missing)} of {len(reference['pixels'])} samples that {name} can"
    pairs = [(probe["pixels"][sample].astype(int), pixels) for sample, pixels in reference["pixels"].items()]
    worst = max(np.abs(pixels - expected).max() for pixels, expected in pairs)
    return f"pixels differ from {name}'s by up to {worst} grey levels" if worst > LARGEST_DIFFERENCE else ""


@unread.patient
def _probed(path, picture, copies):
    """Probe a file with all readers; raise SlideNotReadError if one of them failed for a reason outside the file."""
    try:
        probes = _probe_all(path, picture, copies)
    except OSError as error:  # no room for the answers, or no process for a reader
        raise error_of(error, "its readers cannot be tried") from error
    for reason in [probe["reason"] for probe in probes.values() if probe["reason"].startswith(NOT_READ)]:
        raise SlideNotReadError(reason)
    return probes


def _probe_all(path, picture, copies):
    """Probe a file with all readers at once, each in a process of its own: any may crash or hang."""
    paths = [str(Path(__file__).parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | processes.ONE_THREAD | {"PYTHONPATH": os.pathsep.join(paths)}
    program = [sys.executable, "-m", "fieldwork.slides.choice"]
    options = json.dumps({"picture": picture, "copies": copies and os.path.abspath(copies)})
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    with temporary.temporary_folder() as folder:
        answers = {reader: f"{folder}/{reader}.npz" for reader in READERS}
        running = {
            reader: subprocess.Popen(
                [*program, reader, os.path.abspath(path), answer, options], env=environment, **streams
            )
            for reader, answer in answers.items()
        }
        return {reader: _result(process, answers[reader]) for reader, process in running.items()}


def _result(process, answer):
    """Wait for a probe and return its answer; ``reason`` is why the reader failed, otherwise empty."""
    nothing = {"shapes": None, "mpp": None, "vendor": None, "channels": [], "sizes": [], "pixels": {}}
    errors = process.communicate()[1].decode(errors="replace").strip()
    if process.returncode == -signal.SIGALRM:
        return nothing | {"reason": f"took more than {PROBE_S} s"}
    if process.returncode == -signal.SIGKILL:
        return nothing | {"reason": f"{NOT_READ}a reader was killed by SIGKILL; memory may be short"}
    if process.returncode < 0:
        return nothing | {"reason": f"killed by {signal.Signals(-process.returncode).name} while reading"}
    if process.returncode:
        if cause := unread.cause_of(RuntimeError(errors)):  # of the reader's process, which could not answer
            return nothing | {"reason": f"{NOT_READ}{cause}"}
        last_line = metadata.shown(errors.splitlines()[-1], "") if errors else ""
        return nothing | {"reason": f"failed: {last_line or process.returncode}"}
    with np.load(answer) as arrays:
        facts = json.loads(str(arrays["facts"]))
        return nothing | facts | {"pixels": {name: arrays[name] for name in arrays.files if name != "facts"}}


def _probe(reader, path, answer, options):
    """Read samples of a slide with one reader, and write the answer of the probe to a file."""
    signal.alarm(PROBE_S)  # ends the process in whatever library it hangs, also when the parent is gone
    facts, pixels, failed = {}, {}, []
    try:
        slide = open_slide(path, reader, **json.loads(options))
        facts |= {"shapes": slide.shapes, "mpp": slide.mpp, "vendor": slide.properties.get("openslide.vendor")}
        facts |= {"channels": [channel.name for channel in slide.channels], "sizes": slide.sizes}
        for sample in _samples(slide.shapes):
            try:
                pixels[str(sample)] = slide.read(*sample, workers=2)
            except SlideNotReadError:
                raise
            except SlideError as error:  # one damaged tile is no reason against a reader
                failed.append(str(error))
    except SlideNotReadError as error:
        failed, pixels = [str(error)], {}
    except SlideError as error:
        failed.append(str(error))
    facts["reason"] = "" if pixels else failed[0]
    np.savez(answer, facts=json.dumps(facts), **pixels)


def _samples(shapes):
    """Yield level, y, x, height, width of the samples: three of level 0, and the lowest level's corner."""
    (rows, columns), side = shapes[0], 128
    yield 0, 0, 0, side, side
    yield 0, rows // 2 - 300, columns // 2 - 300, 600, 600  # over several tiles
    yield 0, rows - side, columns - side, side, side
    yield len(shapes) - 1, 0, 0, side, side


if __name__ == "__main__":
    processes.prepare()  # NumPy, which is imported already, had its one thread from the environment
    _probe(*sys.argv[1:])
