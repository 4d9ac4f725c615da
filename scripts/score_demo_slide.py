"""Count how many of the demo slide's planted nuclei were found, and fail if they are too few or too many.

Inputs: the planted nuclei, the slide's nuclei. Output: one line with counts, precision and recall.
"""

from fieldwork import processes

processes.prepare()  # before NumPy is imported

import pandas as pd

from fieldwork import outputs, synthetic
from fieldwork.job_log import logged

PAIR_PX = 3  # from a planted centre: half a nucleus's radius
LEAST_SHARE = 0.99  # of precision and recall; a threshold of 0.06 in place of 0.05 lowers recall to that


def main(*, planted, nuclei, score, region):
    planted = pd.read_csv(planted)
    detected = pd.read_parquet(nuclei)[["Nuclei_Location_Center_Y", "Nuclei_Location_Center_X"]].to_numpy()
    offsets = detected - (region["row"], region["column"])
    detected = detected[((offsets >= 0) & (offsets < (region["height"], region["width"]))).all(axis=1)]
    matched = synthetic.match(detected, planted[["Row", "Column"]], within=PAIR_PX)
    precision, recall = matched / max(len(detected), 1), matched / len(planted)
    result = (
        f"Demo slide: {len(planted):,} nuclei planted, {len(detected):,} found there, {matched:,} of them planted "
        f"ones: precision {precision:.1%}, recall {recall:.1%}."
    )
    if min(precision, recall) < LEAST_SHARE:
        raise RuntimeError(f"{result} At least {LEAST_SHARE:.0%} was expected of both")
    with outputs.atomic_file(score) as part:
        part.write_text(f"{result}\n")


if __name__ == "__main__":
    with logged(snakemake.log[0]):
        main(
            planted=snakemake.input.planted,
            nuclei=snakemake.input.nuclei,
            score=snakemake.output.score,
            region=snakemake.params.region,
        )
