"""Compare the outlines of the demo's real plate with those that people drew, and fail if too few of them agree.

Inputs: the label images that people drew, the plate's label images and its fields. Output: one line with counts,
precision and recall.
"""

from fieldwork import processes

processes.prepare()  # before NumPy is imported

from pathlib import Path

import imagecodecs
import numpy as np
import pandas as pd
import zarr
from skimage.metrics import contingency_table

from fieldwork import outputs
from fieldwork.job_log import logged

LEAST_SHARE = 0.9  # of precision and recall; 0.97 and 0.92 are usual on these fields


def main(*, annotated, labels, fields, score):
    outlined = zarr.open_array(Path(labels).parent, mode="r")
    rows = pd.read_csv(fields).FileName_DNA
    row_of = {name: row for row, name in rows.items()}
    n_annotated = n_detected = matched = 0
    for path in annotated:
        truth = imagecodecs.imread(path)
        detected = outlined[row_of[Path(path).name]][: truth.shape[0], : truth.shape[1]]
        n_annotated += len(np.unique(truth[truth > 0]))
        n_detected += len(np.unique(detected[detected > 0]))
        matched += count_overlapping(detected, truth)
    precision, recall = matched / max(n_detected, 1), matched / n_annotated
    result = (
        f"Real plate (six fields of BBBC038): {n_annotated} nuclei outlined by people, {n_detected} found, {matched} "
        f"of them overlap one of theirs by more than half: precision {precision:.1%}, recall {recall:.1%}."
    )
    if min(precision, recall) < LEAST_SHARE:
        raise RuntimeError(f"{result} At least {LEAST_SHARE:.0%} was expected of both")
    with outputs.atomic_file(score) as part:
        part.write_text(f"{result}\n")


def count_overlapping(detected, truth):
    """Count pairs of objects whose intersection is more than half of their union, so that no object is in two pairs."""
    shared = contingency_table(detected, truth, sparse_type="array").toarray()
    union = shared.sum(axis=1, keepdims=True) + shared.sum(axis=0, keepdims=True) - shared
    return int((2 * shared[1:, 1:] > union[1:, 1:]).sum())


if __name__ == "__main__":
    with logged(snakemake.log[0]):
        main(
            annotated=snakemake.input.annotated,
            labels=snakemake.input.labels,
            fields=snakemake.input.fields,
            score=snakemake.output.score,
        )
