"""Count how many of the demo slide's planted nuclei were found, and fail if they are too few or too many.

Inputs: the planted nuclei, the slide's nuclei, and those of the real picture of tissue. Output: a line with counts,
precision and recall, and a line on the real picture.
"""

from fieldwork import processes

processes.prepare()  # before NumPy is imported

import pandas as pd

from fieldwork import outputs, synthetic
from fieldwork.job_log import logged

PAIR_PX = 3  # from a planted centre: half a nucleus's radius
LEAST_SHARE = 0.99  # of precision and recall


def main(*, planted, nuclei, tissue_nuclei, score):
    planted = pd.read_csv(planted)
    detected = pd.read_parquet(nuclei)[["Nuclei_Location_Center_Y", "Nuclei_Location_Center_X"]].to_numpy()
    matched = synthetic.match(detected, planted[["Row", "Column"]], within=PAIR_PX)
    precision, recall = matched / max(len(detected), 1), matched / len(planted)
    result = (
        f"Demo slide: {len(planted):,} nuclei planted, {len(detected):,} found, {matched:,} of them planted ones, "
        f"{len(detected) - matched:,} others: precision {precision:.1%}, recall {recall:.1%}."
    )
    if min(precision, recall) < LEAST_SHARE:
        raise RuntimeError(f"{result} At least {LEAST_SHARE:.0%} was expected of both")
    real = (
        f"Real tissue (immunohistochemistry of scikit-image): {len(pd.read_parquet(tissue_nuclei)):,} nuclei found; "
        "none was planted and nobody has counted them: look at their outlines."
    )
    with outputs.atomic_file(score) as part:
        part.write_text(f"{result}\n{real}\n")


if __name__ == "__main__":
    with logged(snakemake.log[0]):
        main(
            planted=snakemake.input.planted,
            nuclei=snakemake.input.nuclei,
            tissue_nuclei=snakemake.input.tissue,
            score=snakemake.output.score,
        )
