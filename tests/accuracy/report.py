"""Print how right the detector is, beside other methods, and write docs/accuracy.md: `make accuracy`."""

import functools
from collections import defaultdict

import cv2
import numpy as np

from accuracy import agreement, annotated, flagged, generated, sets
from accuracy.other_methods import otsu_watershed
from fieldwork.nuclei import detect_nuclei
from fieldwork.segmentation import calibrate, segment_nuclei
from workspace import REPOSITORY

PAGE = REPOSITORY / "docs" / "accuracy.md"
SCORES = {"points_F1": "F1", "precision": "precision", "recall": "recall", "F1@0.5": "F1 at 0.5", "F1@0.7": "F1 at 0.7"}
SCORES |= {"mean_AP": "mean AP"}
CLASSICAL, NETWORK = (functools.partial(segment_nuclei, method=method) for method in ("classical", "network"))
METHODS = {"`classical`": CLASSICAL, "Otsu and watershed": otsu_watershed, "`peaks`": detect_nuclei}
SEEDS = (21, 22)
SCREENS = (1, 2, 3)
REAL_BLURS_PX = (3, 5)  # a tenth of a nucleus's diameter, and a sixth


def table(heads, rows):
    """Return a Markdown table; numbers with decimals have three of them, and None is a dash."""
    cells = [["-" if v is None else f"{v:.3f}" if isinstance(v, float) else str(v) for v in row] for row in rows]
    lines = [heads, ["---"] + ["--:"] * (len(heads) - 1), *cells]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def annotated_table():
    """Score methods on annotated fields."""
    score = annotated.scores().score
    rows = []
    for name, method in METHODS.items():
        values = score(method, annotated.annotated_fields())
        rows.append([name] + [float(values[key]) if key in values else None for key in SCORES])
    return table(["method", *SCORES.values()], rows)


def hand_count_table():
    """Compare the counts of a plate with those by hand."""
    fields = list(annotated.hand_counted_fields())
    calibration = calibrate([image for _, image, _ in fields])
    outlined = {"`classical`": CLASSICAL, "`network`": NETWORK}
    methods = METHODS | {name: functools.partial(method, calibration=calibration) for name, method in outlined.items()}
    rows = []
    for method, detect in methods.items():
        results = [detect(image) for _, image, _ in fields]
        counts = [int(r.max()) if r.shape == f[1].shape else len(r) for r, f in zip(results, fields, strict=True)]
        rows.append([method, *counts, sum(counts)])
    by_hand = [len(points) for _, _, points in fields]
    names = [name.split("_")[1] for name, _, _ in fields]
    return table(["method", *names, "both"], [["by hand", *by_hand, sum(by_hand)], *rows])


def row_of(method, fields):
    """Return a method's count in planted fields, and F1 at two overlaps."""
    pairs = [(method(image), truth) for image, truth in fields]
    weights = [int(labels.max()) + int(truth.max()) for labels, truth in pairs]
    shares = [[agreement.share_of_pairs(*pair, overlap) for pair in pairs] for overlap in (0.5, 0.7)]
    return [sum(int(labels.max()) for labels, _ in pairs), *np.average(shares, axis=1, weights=weights).tolist()]


def planted_table():
    """Compare labels of planted nuclei with the truth."""
    rows = []
    for name, arguments in sets.VARIATIONS.items():
        fields = [generated.planted_field(seed, **arguments) for seed in SEEDS]
        calibration = calibrate([image for image, _ in fields])
        outlined = [functools.partial(method, calibration=calibration) for method in (CLASSICAL, NETWORK)]
        values = [value for method in (*outlined, otsu_watershed) for value in row_of(method, fields)]
        rows.append([name, sum(int(truth.max()) for _, truth in fields), *values])
    names = ("`classical`", "`network`", "Otsu")
    heads = [f"{method}: {head}" for method in names for head in ("count", "F1 at 0.5", "0.7")]
    return table(["fields", "nuclei", *heads], rows)


def empty_table():
    """Count objects in fields without nuclei: the most in a field of that kind."""
    most = defaultdict(dict)
    for plate, arguments in sets.PLATES.items():
        calibration = calibrate([generated.planted_field(seed, count=60, **arguments)[0] for seed in SEEDS])
        for kind, _, image in generated.empty_fields(SEEDS[0], **arguments):
            counts = [int(method(image, calibration).max()) for method in (CLASSICAL, NETWORK)]
            most[kind][plate] = np.maximum(counts, most[kind].get(plate, 0))
    rows = [[kind, *(" / ".join(map(str, pair)) for pair in counts.values())] for kind, counts in most.items()]
    return table(["field", *sets.PLATES], rows)


def flags_table():
    """Count the fields that are flagged, and those of a kind."""
    rows = []
    for kind, (number, of) in flagged.counts().items():
        rows.append([kind, flagged.FAULTS[kind][0] if kind in flagged.FAULTS else "none", f"{number} of {of}"])
    for seed in SCREENS:
        for kind, (number, of) in zip(("blurred wells", "other wells"), flagged.screen_counts(seed), strict=True):
            flag = "OutOfFocus" if kind == "blurred wells" else "none"
            rows.append([f"{kind} of the planted screen, seed {seed}", flag, f"{number} of {of}"])
    real = {kind: values for blur_px in REAL_BLURS_PX for kind, values in flagged.real_counts(blur_px).items()}
    rows += [[kind, flag, f"{number} of {of}"] for kind, (flag, number, of) in real.items()]
    return table(["fields", "right flag", "flagged"], rows)


def page():
    """Return the text of docs/accuracy.md."""
    return f"""# How right the counts are

`make accuracy` wrote this page; nothing on it is copied from elsewhere. `network`, which `auto` is, and `classical` had
no setting.

## Annotated fields

{annotated.SET}: 271 fluorescence fields with 11,255 nuclei,
256 x 256 to 603 x 1272 px, 8 bits, each calibrating itself. It is the set on which the detectors were developed.
A nucleus is hit by a point inside its mask (F1, precision, recall), or by an outline whose intersection over union
with it is at least 0.5, or 0.7; mean AP is over 0.5, 0.55 ... 0.95. Otsu and watershed is scikit-image's example, at
its best setting for this set; `peaks` is the tutorial's way with its own numbers. Fields of mixed kinds in one plate
share one calibration, and counts are lower then; some labels of the set are specks of some 20 px. The network was
trained on these fields; how right it is on fields that it never saw stands [on its page](network.md#how-right-it-is).

{annotated_table()}
## A plate counted by hand

Two fields of a public plate (MD-MULTISITE-TIF of plateviewer, BSD-2), 1183 x 884 px, 16 bits. Nuclei were marked by
eye on enlarged crops (`tests/accuracy/md_multisite_points.csv`): those that the border cuts, the halves of a division
and bright dead ones count; fragments and debris don't.

{hand_count_table()}
## Generated fields with a known truth

Two fields of a kind, with one calibration (`tests/accuracy/generated.py`). The network saw drawn fields in its
training, of another generator.

{planted_table()}
## Fields without nuclei

The most objects in one field of a kind, with the calibration of a plate that has nuclei: `classical` / `network`.

{empty_table()}
## Flags

Plates of generated fields, a tenth or three tenths of them faulty (`tests/accuracy/flagged.py`): as they are, at
half the exposure, with light that falls by 60 %, small nuclei, an offset of half the range, 8 bits, contrast of
20 times the noise, soft edges. Of faulty fields those count that have the right flag, of good ones those that have any
(but `Flag_UnlikePlate`, which some nuclei of another brightness deserve). The screen is `tests/planted_screen.py`:
four plates, one at half the exposure, wells with 80 to 0 nuclei.

{flags_table()}"""


def main():
    """Print the page and write it, or print where the images come from."""
    cv2.setNumThreads(1)
    if not annotated.is_here():
        print(f"The annotated images are not here: {annotated.FOLDER} is to hold {annotated.SET}.")
        return
    text = page()
    print(text)
    PAGE.write_text(text)


if __name__ == "__main__":
    main()
