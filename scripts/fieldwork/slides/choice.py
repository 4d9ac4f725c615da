"""Which reader to trust with a slide: all of them are tried, in processes of their own."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from fieldwork import processes
from fieldwork.slides.readers import READERS, SlideError, check_file, open_slide

# tifffile (2048 x 2048 pixels of JPEG tiles in 19 ms) is as fast as cuCIM (24; OpenSlide 120) and says what it cannot
# decode. cuCIM gives other tiles' pixels, YCbCr for RGB where Bio-Formats wrote it, or ends the process.
PREFERENCE = ("tifffile", "cucim", "openslide")

PROBE_SECONDS = 60

SAME = 2  # grey levels; JPEG 2000 decoders differ by 1


def choose_reader(path, requested="auto"):
    """Find the reader that is right for a file, by trying all of them in processes of their own.

    OpenSlide is taken for right where it knows the vendor, otherwise the TIFF tags as tifffile applies them. The
    others are trusted if they agree: the same levels and pixel size, and sampled pixels within 2 grey levels.

    Parameters
    ----------
    path : str or path-like
        The slide.
    requested : {'auto', 'cucim', 'tifffile', 'openslide'}
        ``auto`` takes the first trusted of tifffile, cuCIM, OpenSlide.

    Returns
    -------
    (str, str)
        The reader, and why, in a sentence.

    Raises
    ------
    SlideError
        No reader can be trusted, or not the requested one; with the reason of each.
    """
    check_file(path)
    found = _probe_all(path)
    tags, vendor = found["tifffile"], found["openslide"]["vendor"]
    if vendor and vendor != "generic-tiff" and not found["openslide"]["reason"]:
        right = "openslide"
    elif not tags["reason"]:
        right = "tifffile"
    elif not found["openslide"]["reason"] and found["openslide"]["shapes"] == tags["shapes"]:
        right = "openslide"
    else:
        if not found["openslide"]["reason"]:
            found["openslide"]["reason"] = "nothing confirms what it reads"
        raise SlideError("no reader can read it: " + _reasons(found))
    for each in found.values():
        each["reason"] = each["reason"] or _disagreement(each, found[right], right)
    trusted = [name for name in PREFERENCE if not found[name]["reason"]]
    if requested not in ("auto", *trusted):
        raise SlideError(f"reader {requested!r}: {found[requested]['reason']}; {' or '.join(trusted)} can read it")
    chosen = trusted[0] if requested == "auto" else requested
    others = [name for name in trusted if name != chosen]
    why = "it knows the format" if right == "openslide" and vendor != "generic-tiff" else "it fits the file's tags"
    if others:
        why = f"{' and '.join(others)} agree{'s' * (len(others) == 1)} on levels, pixel size and sampled pixels"
    start = chosen + ", as requested" * (requested != "auto")
    left_out = _reasons(found)
    return chosen, f"{start}: {why}" + (f"; not trusted: {left_out}" if left_out else "")


def _reasons(found):
    return "; ".join(f"{name}: {each['reason']}" for name, each in found.items() if each["reason"])


def _disagreement(one, other, name):
    """Say in what two probes differ, or nothing."""
    if one["shapes"] != other["shapes"]:
        found, expected = ([f"{width}x{height}" for height, width in probe["shapes"]] for probe in (one, other))
        return f"levels of {' '.join(found)} pixels, where {name} sees {' '.join(expected)}"
    if (one["mpp"] is None) != (other["mpp"] is None) or not np.allclose(one["mpp"] or 0, other["mpp"] or 0, rtol=0.01):
        return f"micrometres per pixel (y, x) {one['mpp']}, where {name} has {other['mpp']}"
    if missing := set(other["pixels"]) - set(one["pixels"]):
        return f"cannot read {len(missing)} of {len(other['pixels'])} samples that {name} can"
    pairs = [(one["pixels"][place].astype(int), pixels) for place, pixels in other["pixels"].items()]
    worst = max(np.abs(pixels - expected).max() for pixels, expected in pairs)
    return f"pixels differ from {name}'s by up to {worst} grey levels" if worst > SAME else ""


def _probe_all(path):
    """Probe a file with all readers at once, each in a process of its own: any may crash or hang."""
    paths = [str(Path(__file__).parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    with tempfile.TemporaryDirectory(prefix="fieldwork-") as folder:
        probes = {}
        for reader in READERS:
            command = [
                sys.executable,
                "-m",
                "fieldwork.slides.choice",
                reader,
                os.path.abspath(path),
                f"{folder}/{reader}.npz",
            ]
            probes[reader] = subprocess.Popen(
                command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
            )
        return {reader: _result(process, f"{folder}/{reader}.npz") for reader, process in probes.items()}


def _result(process, answer):
    """Wait for a probe and give what it found; why the reader failed is ``reason``, otherwise empty."""
    found = {"shapes": None, "mpp": None, "vendor": None, "pixels": {}}
    errors = process.communicate()[1].decode(errors="replace").strip()
    if process.returncode == -signal.SIGALRM:
        return found | {"reason": f"took more than {PROBE_SECONDS} s"}
    if process.returncode < 0:
        return found | {"reason": f"killed by {signal.Signals(-process.returncode).name} while reading"}
    if process.returncode:
        return found | {"reason": f"failed: {errors.splitlines()[-1] if errors else process.returncode}"}
    with np.load(answer) as arrays:
        facts = json.loads(str(arrays["facts"]))
        return found | facts | {"pixels": {name: arrays[name] for name in arrays.files if name != "facts"}}


def _probe(reader, path, answer):
    """Read samples of a slide and write what was found."""
    signal.alarm(PROBE_SECONDS)  # ends the process in whatever library it hangs, and when the parent is gone, too
    facts, pixels, failed = {}, {}, []
    try:
        slide = open_slide(path, reader)
        facts |= {"shapes": slide.shapes, "mpp": slide.mpp, "vendor": slide.properties.get("openslide.vendor")}
        for place in _sample_places(slide.shapes):
            try:
                pixels[str(place)] = slide.read(*place, workers=2)
            except SlideError as error:  # one damaged tile is no reason against a reader
                failed.append(str(error))
    except SlideError as error:
        failed.append(str(error))
    facts["reason"] = "" if pixels else failed[0]
    np.savez(answer, facts=json.dumps(facts), **pixels)


def _sample_places(shapes):
    """Give level, y, x, height, width of what is compared: places on level 0, and the lowest level's corner."""
    (rows, columns), side = shapes[0], 128
    yield 0, 0, 0, side, side
    yield 0, rows // 2 - 300, columns // 2 - 300, 600, 600  # over several tiles
    yield 0, rows - side, columns - side, side, side
    yield len(shapes) - 1, 0, 0, side, side


if __name__ == "__main__":
    processes.prepare()
    _probe(*sys.argv[1:])
